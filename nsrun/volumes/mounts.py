"""What is mounted below a directory, and how it goes: by descriptors, since containers could write there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from nsrun.host.mountinfo import parse_mountinfo
from nsrun.support import native
from nsrun.support.fds import Fd

__all__ = ["mounted_at", "unmount_below"]


def mounted_at(directory: Path) -> bool:
    """Whether something is mounted there, as the kernel's list says: a server that is gone is not asked."""
    place = os.path.join(os.path.realpath(directory.parent), directory.name)
    return any(mount == place for mount in _points())


def unmount_below(directory: Path) -> None:
    """Detaches every mount below a directory: ours, and whatever else was mounted into the tree, so that removing the
    tree meets none of them. Detaching never touches content. A mount that hides others is gone before these are
    seen. Raises OSError."""
    top = os.path.realpath(directory)
    while points := _mounts_below(top):
        with Fd.open(top, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW) as parent:
            detached = [_detach(parent, point.removeprefix(f"{top}/")) for point in points]
        if not any(detached):
            return  # removing the tree will tell


def _mounts_below(top: str) -> list[str]:
    """Mount points below ``top``, the deepest first."""
    return sorted((point for point in _points() if point.startswith(f"{top}/")), key=len, reverse=True)


def _points() -> list[str]:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return [mount.point for mount in parse_mountinfo(file.read())]


def _detach(top: Fd, path: str) -> bool:
    """The kernel told the path, but parts of it lie in what a container could write: so the directory above is opened
    without following any link, and what is mounted is found by its name there, by umount(2) itself: opening it could
    wait for a server that is gone. False when no mount is there to be seen."""
    resolve = native.RESOLVE_BENEATH | native.RESOLVE_NO_SYMLINKS
    above, _, name = path.rpartition("/")
    try:
        with native.openat2(top.fileno(), above or ".", os.O_PATH | os.O_DIRECTORY, resolve=resolve) as parent:
            flags = native.MNT_DETACH | native.UMOUNT_NOFOLLOW
            native.umount(f"/proc/self/fd/{parent.fileno()}/{name}", flags)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL):
            return False
        raise
    return True
