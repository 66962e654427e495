"""Pinned network namespaces, kept exactly as iproute2 keeps them, so that ``ip netns list`` and ``ip netns exec`` work.

A pin is a file on which the namespace is mounted. It holds the namespace alive without any process. Removing it is lazy
(MNT_DETACH): the kernel takes the namespace, and the links in it, down later and many at once.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from pathlib import Path

from nsrun.errors import NetworkError, describe_errno
from nsrun.network.netlink import RouteSocket
from nsrun.support import native
from nsrun.support.fds import Fd
from nsrun.support.idranges import IdRange

__all__ = ["create_pin", "is_pinned", "open_pin", "remove_pin"]

_UMOUNT_NOFOLLOW = 8


def is_pinned(path: Path) -> bool:
    """Whether a namespace is mounted on the file. False too for what a crash left: an empty file, or none."""
    try:
        return path.lstat().st_dev == os.stat("/proc/thread-self/ns/net").st_dev
    except FileNotFoundError:
        return False


def create_pin(path: Path, ids: IdRange | None = None) -> tuple[Fd, RouteSocket]:
    """A new network namespace, its loopback up, pinned at ``path``; nothing may be pinned there yet. ``ids``: it
    belongs to a user namespace of its own, with these ids of the host's.

    Returns the namespace and a route socket inside it. Raises NetworkError.
    """
    try:
        _prepare_directory(path.parent)
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0))
        except FileExistsError:
            path.unlink()  # left by a crash before the mount; made anew in case it is something else
            os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0))
        namespace, endpoint = native.netns_create(str(path), ids=(ids.first, ids.count) if ids is not None else None)
        return namespace, RouteSocket.adopt(endpoint)
    except OSError as error:
        raise NetworkError(
            f'cannot pin network namespace "{path}": {describe_errno(error.errno or 0)}', hint=_hint(error)
        ) from error


def open_pin(path: Path) -> tuple[Fd, RouteSocket] | None:
    """The namespace pinned at ``path`` and a route socket inside it; None when there is none. Raises NetworkError."""
    try:
        if not is_pinned(path):
            return None
        namespace = Fd.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        endpoint = native.socket_in(namespace.fileno(), socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        return namespace, RouteSocket(endpoint)
    except OSError as error:
        raise NetworkError(f'cannot enter network namespace "{path}": {describe_errno(error.errno or 0)}') from error


def remove_pin(path: Path) -> None:
    """Unmounts and deletes the pin; it need not be there. Raises NetworkError."""
    try:
        while is_pinned(path):  # more than once when somebody bound the namespace over itself
            native.umount(str(path), native.MNT_DETACH | _UMOUNT_NOFOLLOW)
        path.unlink(missing_ok=True)
    except OSError as error:
        raise NetworkError(f'cannot unpin network namespace "{path}": {describe_errno(error.errno or 0)}') from error


def _prepare_directory(directory: Path) -> None:
    """Makes the directory a shared mount of its own, so that pins reach every mount namespace and ``umount`` does too.

    Locked, as iproute2 does: two first users at once would mount it over itself again and again (Debian bug 949235).
    """
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    with Fd.open(directory, os.O_RDONLY | os.O_DIRECTORY) as lock:
        fcntl.flock(lock.fileno(), fcntl.LOCK_EX)
        try:
            native.mount("", str(directory), "none", native.MS_SHARED | native.MS_REC)
        except OSError as error:
            if error.errno != errno.EINVAL:  # EINVAL: not a mount point yet
                raise
            native.mount(str(directory), str(directory), "none", native.MS_BIND | native.MS_REC)
            native.mount("", str(directory), "none", native.MS_SHARED | native.MS_REC)


def _hint(error: OSError) -> str | None:
    if error.errno == errno.EPERM:
        return "run nsrun as root (CAP_SYS_ADMIN)"
    if error.errno in (errno.ENOSPC, errno.EUSERS):
        return "raise the sysctl user.max_net_namespaces"
    return None
