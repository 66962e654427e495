"""How much disk a tree takes whose content nobody vouches for: what a container, or a pod in its volumes, wrote.

The tree may change while it is walked. Every directory is opened below a descriptor that was opened before
(RESOLVE_BENEATH), no link is followed and no mount is crossed, so the walk stays where it began.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from nsrun.support import native
from nsrun.support.fds import Fd

__all__ = ["TreeUse", "disk_usage", "tree_use"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK
_RESOLVE = native.RESOLVE_BENEATH | native.RESOLVE_NO_SYMLINKS | native.RESOLVE_NO_XDEV

# A path longer than this gets a descriptor to begin again from: trees may be deeper than PATH_MAX.
_MAX_PATH = 2048
_BLOCK = 512  # st_blocks counts in these, whatever the file system's own blocks are


class TreeUse(NamedTuple):
    """Bytes on the disk, and inodes."""

    bytes: int = 0
    inodes: int = 0


def disk_usage(path: Path) -> int:
    """The bytes of ``tree_use``. Raises OSError."""
    return tree_use(path).bytes


def tree_use(path: Path) -> TreeUse:
    """What ``path`` and everything below it take on their disk; a file with several names counts once. Nothing when it
    is not there; what goes while it is counted does not count. Raises OSError when it may not be read."""
    try:
        top = Fd.open(path, _DIRECTORY)
    except FileNotFoundError:
        return TreeUse()
    linked: set[tuple[int, int]] = set()
    total, inodes = _blocks(os.fstat(top.fileno())), 1
    # An anchor is closed with the last entry that refers to it.
    work: list[tuple[Fd, str]] = [(top, ".")]
    while work:
        anchor, name = work.pop()
        directory = _open(anchor, name)
        if directory is None:
            continue
        for entry, status in _entries(directory):
            if entry.is_dir(follow_symlinks=False):
                work.append(_next(directory, anchor, name, entry.name))
            elif status.st_nlink > 1:
                key = (status.st_dev, status.st_ino)
                if key in linked:
                    continue
                linked.add(key)
            total += _blocks(status)
            inodes += 1
    return TreeUse(bytes=total, inodes=inodes)


def _open(anchor: Fd, name: str) -> Fd | None:
    """None for what is gone, or is no directory of this file system any more."""
    try:
        return native.openat2(anchor.fileno(), name, _DIRECTORY, resolve=_RESOLVE)
    except OSError as error:
        if isinstance(error, PermissionError):
            raise
        return None


def _entries(directory: Fd) -> Iterator[tuple[os.DirEntry[str], os.stat_result]]:
    with os.scandir(directory.fileno()) as entries:
        for entry in entries:
            try:
                yield entry, entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue


def _next(directory: Fd, anchor: Fd, path: str, name: str) -> tuple[Fd, str]:
    below = f"{path}/{name}"
    return (directory, name) if len(below) > _MAX_PATH else (anchor, below)


def _blocks(status: os.stat_result) -> int:
    return status.st_blocks * _BLOCK
