"""Removing trees whose content nobody vouches for: what a container or an image left behind.

Every step goes through a directory's descriptor, so no name is ever resolved twice and no link is ever followed; every
directory's mount is compared with its parent's, so nothing that is mounted into the tree is touched, also when it is a
bind mount of the same file system.
"""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

from nsrun.support.fds import Fd

__all__ = ["remove_tree"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK
_PARENT = os.O_PATH | os.O_DIRECTORY

# Deeper trees are cut and re-hung at their top, so that neither descriptors nor Python's stack run out.
_MAX_DEPTH = 48


def remove_tree(path: Path) -> None:
    """Removes ``path`` and everything below it; fine when it is not there.

    A symbolic link is removed, never followed. A mount point, ``path`` itself or anywhere below it, stops the removal
    with OSError(EBUSY) before anything behind it is touched. Raises OSError.
    """
    try:
        parent = Fd.open(path.parent, _PARENT)
    except FileNotFoundError:
        return
    with parent:
        _remove(parent, path.name, mount=_mount_id(parent))


def _remove(parent: Fd, name: str, *, mount: str) -> None:
    try:
        os.unlink(name, dir_fd=parent.fileno())
        return
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        pass  # unlink(2) of a directory is EISDIR on Linux, EPERM by POSIX
    try:
        top = Fd.open(name, _DIRECTORY, dir_fd=parent.fileno())
    except FileNotFoundError:
        return
    with top:
        _check_mount(top, name, mount)
        _empty(top, top, mount=mount, depth=0)
    _rmdir(parent, name)


def _empty(directory: Fd, top: Fd, *, mount: str, depth: int) -> None:
    """Empties ``directory``. ``top``: where what lies too deep is hung up; its own loop then finds it."""
    while True:
        with os.scandir(directory.fileno()) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        if not found:
            return
        for name, is_directory in found:
            if not is_directory:
                _unlink(directory, name)
            elif depth >= _MAX_DEPTH:
                _hang_up(directory, name, top)
            else:
                _remove_directory(directory, name, top, mount=mount, depth=depth)
        if directory is not top:
            return


def _remove_directory(parent: Fd, name: str, top: Fd, *, mount: str, depth: int) -> None:
    try:
        directory = Fd.open(name, _DIRECTORY, dir_fd=parent.fileno())
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):  # somebody put a link or a file there since we looked
            _unlink(parent, name)
            return
        raise
    with directory:
        _check_mount(directory, name, mount)
        _empty(directory, top, mount=mount, depth=depth + 1)
    _rmdir(parent, name)


def _hang_up(directory: Fd, name: str, top: Fd) -> None:
    os.rename(name, f".deep-{secrets.token_hex(8)}", src_dir_fd=directory.fileno(), dst_dir_fd=top.fileno())


def _unlink(parent: Fd, name: str) -> None:
    try:
        os.unlink(name, dir_fd=parent.fileno())
    except FileNotFoundError:
        pass


def _rmdir(parent: Fd, name: str) -> None:
    try:
        os.rmdir(name, dir_fd=parent.fileno())
    except FileNotFoundError:
        pass


def _check_mount(directory: Fd, name: str, mount: str) -> None:
    if _mount_id(directory) != mount:
        raise OSError(errno.EBUSY, "a file system is mounted there", name)


def _mount_id(directory: Fd) -> str:
    """The kernel's number of the mount that an open directory lies on (proc(5), fdinfo)."""
    with open(f"/proc/self/fdinfo/{directory.fileno()}", encoding="ascii") as info:
        for line in info:
            if line.startswith("mnt_id:"):
                return line.split()[1]
    raise OSError(errno.ENOSYS, "the kernel does not tell mount numbers")
