"""Images that somebody looks into: their layers as a read-only overlay, in the mount namespace of the caller.

Containers never need that: their root file systems are mounted in their own namespaces only (docs/adr/0003). This is
for a person. The mount is read-only, nosuid, nodev and noexec: an image's programs run in containers, and what an image
calls a device or a set-user-ID program is nothing to this machine.

The kernel is the memory of it: a mount's source says which image it is, so ``/proc/self/mountinfo`` lists them.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from nsrun.errors import ConflictError, ImageError, describe_errno
from nsrun.host.userns import own_user_namespace
from nsrun.images.digests import is_digest
from nsrun.support import native
from nsrun.support.fds import Fd

__all__ = ["MountedImage", "mount_image", "mounted_digests", "mounted_images", "parse_mounts", "unmount"]

_SOURCE = "nsrun-image:"
_MOUNTINFO = Path("/proc/self/mountinfo")
_DIRECTORY = os.O_PATH | os.O_DIRECTORY
_ESCAPE = re.compile(r"\\([0-7]{3})")
_FLAGS = native.MS_RDONLY | native.MS_NOSUID | native.MS_NODEV | native.MS_NOEXEC
_OPTIONS_LIMIT = os.sysconf("SC_PAGESIZE") - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MountedImage:
    """``digest``: of the image's manifest. ``path``: the mount point."""

    digest: str
    path: str


def mount_image(digest: str, layers: Sequence[Path], target: Path, *, empty: Path) -> None:
    """Mounts the layers (topmost first) on the directory ``target``. ``empty``: an empty directory, as overlayfs wants
    two layers at least. Blocks. Raises ImageError."""
    with ExitStack() as opened:
        try:
            place = opened.enter_context(Fd.open(target, _DIRECTORY))
            fds = [opened.enter_context(Fd.open(layer, _DIRECTORY)).fileno() for layer in (*layers, empty)]
            options = "lowerdir=" + ":".join(f"/proc/self/fd/{fd}" for fd in fds)
            options += ",userxattr" if own_user_namespace() is not None else ""
            if len(options) > _OPTIONS_LIMIT:
                raise ImageError(f"it has more layers ({len(layers)}) than one mount takes")
            native.mount(_SOURCE + digest, f"/proc/self/fd/{place.fileno()}", "overlay", _FLAGS, options)
        except OSError as error:
            hint = "only root may mount" if error.errno == errno.EPERM else None
            raise ImageError(f"{describe_errno(error.errno or 0)}", hint=hint) from error


def unmount(path: str) -> None:
    """Unmounts what is at ``path``, a mount point of ``mounted_images``. Raises ConflictError when somebody is in
    there, ImageError."""
    try:
        native.umount(path, native.UMOUNT_NOFOLLOW)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise ConflictError(
                f'cannot unmount "{path}": somebody uses what is in it', hint=f"fuser -vm {path} tells who"
            ) from None
        hint = "only root may unmount" if error.errno == errno.EPERM else None
        raise ImageError(f'cannot unmount "{path}": {describe_errno(error.errno or 0)}', hint=hint) from error


def mounted_images() -> tuple[MountedImage, ...]:
    """The images that are mounted in this mount namespace, in the order in which they were. Blocks."""
    return parse_mounts(_MOUNTINFO.read_text(errors="surrogateescape"))


def mounted_digests() -> frozenset[str]:
    """Manifest digests of these images: they are in use."""
    return frozenset(mounted.digest for mounted in mounted_images())


def parse_mounts(text: str) -> tuple[MountedImage, ...]:
    """Out of the lines of proc_pid_mountinfo(5). A mount point that was mounted over is its topmost mount's."""
    found: dict[str, MountedImage | None] = {}
    for line in text.splitlines():
        fields, _, rest = line.partition(" - ")
        path = _ESCAPE.sub(lambda match: chr(int(match[1], 8)), fields.split(" ")[4])
        kind, source, *_ = rest.split(" ")
        digest = source.removeprefix(_SOURCE)
        ours = kind == "overlay" and digest != source and is_digest(digest)
        found.pop(path, None)
        found[path] = MountedImage(digest=digest, path=path) if ours else None
    return tuple(mounted for mounted in found.values() if mounted is not None)
