"""Whether two trees are the same: types, modes, owners, times, contents, links, devices, extended attributes.

Both are walked at once, by descriptors, and no link in them is followed. Blocks: call it in a thread.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack

from nsrun.images.wording import printable
from nsrun.support import native
from nsrun.support.fds import Fd

__all__ = ["differences"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_RESOLVE = native.RESOLVE_BENEATH | native.RESOLVE_NO_SYMLINKS
_CHUNK = 1 << 20
_OF_THE_HOST = ("security.selinux", "system.")


def differences(wanted: int, found: int) -> Iterator[str]:
    """What of the open directory ``found`` is not as in ``wanted``, a clause each. Raises OSError."""
    yield from _node("/", wanted, found, os.fstat(wanted), os.fstat(found))
    directories = ["."]
    while directories:
        path = directories.pop()
        with _open(wanted, path) as one, _open(found, path) as other:
            names, there = set(os.listdir(one.fileno())), set(os.listdir(other.fileno()))
            yield from (f'"{_shown(path, name)}" is missing' for name in sorted(names - there))
            yield from (f'"{_shown(path, name)}" should not be there' for name in sorted(there - names))
            for name in sorted(names & there):
                modes = [os.stat(name, dir_fd=fd.fileno(), follow_symlinks=False).st_mode for fd in (one, other)]
                if stat.S_IFMT(modes[0]) != stat.S_IFMT(modes[1]):
                    yield f'"{_shown(path, name)}" is of another type'
                    continue
                yield from _entry(path, name, one.fileno(), other.fileno())
                if stat.S_ISDIR(modes[0]):
                    directories.append(f"{path}/{name}")


def _entry(path: str, name: str, one: int, other: int) -> Iterator[str]:
    """Two of one type."""
    shown = _shown(path, name)
    wanted = os.stat(name, dir_fd=one, follow_symlinks=False)
    found = os.stat(name, dir_fd=other, follow_symlinks=False)
    kind = stat.S_IFMT(wanted.st_mode)
    if kind == stat.S_IFLNK and os.readlink(name, dir_fd=one) != os.readlink(name, dir_fd=other):
        yield f'"{shown}" leads elsewhere'
    with ExitStack() as opened:
        left = right = -1
        if kind in (stat.S_IFREG, stat.S_IFDIR):
            how = _FILE if kind == stat.S_IFREG else _DIRECTORY
            left, right = (opened.enter_context(Fd.open(name, how, dir_fd=fd)).fileno() for fd in (one, other))
        yield from _node(shown, left, right, wanted, found)


def _node(shown: str, one: int, other: int, wanted: os.stat_result, found: os.stat_result) -> Iterator[str]:
    """``one`` and ``other``: open, or -1 for what cannot be."""
    if (wanted.st_uid, wanted.st_gid) != (found.st_uid, found.st_gid):
        yield f'"{shown}" has another owner'
    if wanted.st_mode != found.st_mode:
        yield f'"{shown}" has the mode {stat.S_IMODE(found.st_mode):o} instead of {stat.S_IMODE(wanted.st_mode):o}'
    if wanted.st_rdev != found.st_rdev:
        yield f'"{shown}" is another device'
    if wanted.st_mtime_ns != found.st_mtime_ns:
        yield f'"{shown}" has another time'
    if one >= 0 and _xattrs(one) != _xattrs(other):
        yield f'"{shown}" has other extended attributes'
    if stat.S_ISDIR(wanted.st_mode):
        return
    if wanted.st_nlink != found.st_nlink:
        yield f'"{shown}" has {found.st_nlink} names instead of {wanted.st_nlink}'
    if stat.S_ISREG(wanted.st_mode) and not (wanted.st_size == found.st_size and _same_content(one, other)):
        yield f'"{shown}" has another content'


def _same_content(one: int, other: int) -> bool:
    while True:
        wanted, found = os.read(one, _CHUNK), os.read(other, _CHUNK)
        if wanted != found or not wanted:
            return wanted == found


def _xattrs(fd: int) -> dict[str, bytes]:
    names = (name for name in os.listxattr(fd) if not name.startswith(_OF_THE_HOST))
    return {name: os.getxattr(fd, name) for name in names}


def _open(root: int, path: str) -> Fd:
    return native.openat2(root, path, _DIRECTORY, resolve=_RESOLVE)


def _shown(path: str, name: str) -> str:
    return printable(f"{path}/{name}".removeprefix("."))
