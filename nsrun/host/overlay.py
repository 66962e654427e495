"""By what a container's root file system lies over the layers of its image: facts of the kernel and of the file system
that the store is on, tried out.

Overlayfs keeps its marks in ``trusted.*``, which only root of the initial user namespace reads; from Linux 5.11 on it
takes ``userxattr`` in any other (Documentation/filesystems/overlayfs.rst). As upper layer it refuses what has no
``user.*`` attributes, what is remote, and another overlay.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from nsrun.errors import describe_errno
from nsrun.host.userns import UserNamespace
from nsrun.support import native
from nsrun.support.fds import Fd
from nsrun.support.removal import remove_tree

__all__ = ["Overlay", "OverlayFlavour", "choose", "kernels_own", "probe_overlay"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_OPTIONS = b"lowerdir=%0,upperdir=%1,workdir=%2,volatile,redirect_dir=nofollow,index=off,userxattr"
PROGRAM = "fuse-overlayfs"


class OverlayFlavour(StrEnum):
    """The kernel's, with either kind of marks; a program's, by FUSE; or none: the layers are copied."""

    TRUSTED = "overlayfs"
    USER = "overlayfs with userxattr"
    FUSE = "fuse-overlayfs"
    COPY = "copies"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """``refused``: why it is not the kernel's. ``lacking``: why it is not the program's either."""

    flavour: OverlayFlavour
    refused: str = ""
    lacking: str = ""


def kernels_own(users: UserNamespace | None) -> Overlay:
    """What the kernel has for this user namespace."""
    return Overlay(flavour=OverlayFlavour.TRUSTED if users is None else OverlayFlavour.USER)


def choose(refused: str, lacking: str) -> Overlay:
    """The first that is not refused, in a child user namespace."""
    if not refused:
        return Overlay(flavour=OverlayFlavour.USER)
    flavour = OverlayFlavour.COPY if lacking else OverlayFlavour.FUSE
    return Overlay(flavour=flavour, refused=refused, lacking=lacking)


def probe_overlay(store: Path, users: UserNamespace | None) -> Overlay:
    """Mounts one on the file system of ``store``, or of where that will be, in a mount namespace that is gone
    afterwards. Root's is not tried. Blocks."""
    if users is None:
        return kernels_own(users)
    refused = _refused(store)
    return choose(refused, _fuse_lacks() if refused else "")


def _refused(store: Path) -> str:
    """Why the kernel does not mount an overlay that is written to this file system; "" when it does."""
    try:
        place = store / "tmp"
        while not place.is_dir():
            place = place.parent
        directory = Path(tempfile.mkdtemp(prefix="overlay.", dir=place))
    except OSError as error:
        return f'"{store}" cannot be written to: {describe_errno(error.errno or 0)}'
    try:
        with Fd.open(directory, _DIRECTORY) as held:
            fcntl.flock(held.fileno(), fcntl.LOCK_EX)  # else it counts as left over
            return _try(directory)
    finally:
        remove_tree(directory)


def _try(directory: Path) -> str:
    for name in ("lower", "upper", "work", "stage"):
        (directory / name).mkdir()
    try:
        os.setxattr(directory / "upper", "user.overlay.probe", b"y")
    except OSError as error:
        return f"its file system keeps no extended attributes of users: {describe_errno(error.errno or 0)}"
    try:
        with ExitStack() as opened:
            fds = [
                opened.enter_context(Fd.open(directory / name, _DIRECTORY)).fileno()
                for name in ("lower", "upper", "work")
            ]
            native.mounted_overlay(str(directory / "stage"), _OPTIONS, fds).close()
    except OSError as error:
        return f"overlayfs cannot write to its file system: {describe_errno(error.errno or 0)}"
    return ""


def _fuse_lacks() -> str:
    """What fuse-overlayfs needs and is not there; "" for nothing."""
    if shutil.which(PROGRAM) is None:
        return f"{PROGRAM} is not installed"
    try:
        Fd.open("/dev/fuse", os.O_RDWR).close()
    except OSError as error:
        return f"/dev/fuse cannot be opened: {describe_errno(error.errno or 0)}"
    return ""
