"""``fsGroup``: a volume's files belong to a group of the pod's (``pkg/volume/volume_linux.go``).

Files get ``g+rw``, or ``g+r`` in a volume that is read-only; directories ``g+x`` and the set-group-ID bit as well, so
that what is made later belongs to the group too. A link gets the group, and what it leads to is left alone.

The content may be a container's, which may still be running. So every entry is opened below a descriptor that was
opened before, no link is followed, and nothing that is mounted into the volume is entered.
"""

from __future__ import annotations

import errno
import os
import stat

from nsrun.model.security import GroupChangePolicy
from nsrun.support import native
from nsrun.support.fds import Fd

__all__ = ["give_to_group", "shared_mode"]

_FILE, _READ_ONLY_FILE, _ENTER = 0o660, 0o440, 0o110

_RESOLVE = native.RESOLVE_BENEATH | native.RESOLVE_NO_SYMLINKS | native.RESOLVE_NO_XDEV
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK
# What somebody removed, replaced or mounted upon meanwhile is not the volume's any more.
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV})

# A path longer than this gets a descriptor to begin again from: trees may be deeper than PATH_MAX.
_MAX_PATH = 2048


def shared_mode(mode: int, *, directory: bool, read_only: bool = False) -> int:
    """A mode with what the group gets."""
    mode |= _READ_ONLY_FILE if read_only else _FILE
    return mode | _ENTER | stat.S_ISGID if directory else mode


def give_to_group(
    top: Fd, gid: int, *, policy: GroupChangePolicy = GroupChangePolicy.ALWAYS, read_only: bool = False
) -> None:
    """Everything from ``top`` on down. ``top``, opened for reading, comes last: after a crash ON_ROOT_MISMATCH sees
    that there is more to do. Raises OSError."""
    status = os.fstat(top.fileno())
    if policy is GroupChangePolicy.ON_ROOT_MISMATCH and _is_given(status, gid, read_only=read_only):
        return
    # An anchor is closed with the last entry that refers to it.
    work: list[tuple[Fd, str]] = [(top, ".")] if stat.S_ISDIR(status.st_mode) else []
    while work:
        anchor, path = work.pop()
        directory = _open(anchor, path, _DIRECTORY)
        if directory is None:
            continue
        if path != "." or anchor is not top:
            _give(directory, gid, read_only=read_only)
        for name in _give_entries(directory, gid, read_only=read_only):
            below = f"{path}/{name}"
            work.append((directory, name) if len(below) > _MAX_PATH else (anchor, below))
    _give(top, gid, read_only=read_only)


def _is_given(status: os.stat_result, gid: int, *, read_only: bool) -> bool:
    """What the kubelet looks at under OnRootMismatch."""
    mode = stat.S_IMODE(status.st_mode)
    return stat.S_ISDIR(status.st_mode) and (status.st_gid, mode) == (
        gid,
        shared_mode(mode, directory=True, read_only=read_only),
    )


def _give_entries(directory: Fd, gid: int, *, read_only: bool) -> list[str]:
    """Everything in a directory that is none itself; the names of those that are."""
    directories = []
    with os.scandir(directory.fileno()) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                directories.append(entry.name)
                continue
            found = _open(directory, entry.name, os.O_PATH | os.O_NOFOLLOW)
            if found is not None:
                with found:
                    _give(found, gid, read_only=read_only)
    return directories


def _open(anchor: Fd, path: str, flags: int) -> Fd | None:
    try:
        return native.openat2(anchor.fileno(), path, flags, resolve=_RESOLVE)
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise


def _give(found: Fd, gid: int, *, read_only: bool) -> None:
    """By the descriptor's own link in /proc: fchown and fchmod refuse those that were opened O_PATH, as everything is
    whose opening could do something."""
    status = os.fstat(found.fileno())
    itself = f"/proc/self/fd/{found.fileno()}"
    if status.st_gid != gid:
        os.chown(itself, -1, gid)
    if stat.S_ISLNK(status.st_mode):
        return
    mode = stat.S_IMODE(status.st_mode)
    wanted = shared_mode(mode, directory=stat.S_ISDIR(status.st_mode), read_only=read_only)
    if (
        wanted != mode or status.st_gid != gid
    ):  # a change of the group takes set-ID bits away, as the kubelet gives back
        os.chmod(itself, wanted)
