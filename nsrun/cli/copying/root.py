"""Paths below a root, the host's or a container's, resolved by the kernel."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass

from nsrun.cli.copying.places import Shape
from nsrun.support import native
from nsrun.support.fds import Fd

__all__ = ["IN_CONTAINER", "ON_HOST", "Root", "shape_of"]

IN_CONTAINER = native.RESOLVE_IN_ROOT | native.RESOLVE_NO_MAGICLINKS
ON_HOST = 0

_LINKS = 40
"""As many as the kernel follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """``top``: its directory. ``resolve``: how paths are resolved below it, IN_CONTAINER or ON_HOST. ``base``: where
    relative paths begin."""

    top: Fd
    resolve: int
    base: str = "/"

    def open(self, path: str, flags: int = os.O_PATH) -> Fd:
        """What is at a path, links followed. Raises OSError."""
        return native.openat2(self.top.fileno(), self._absolute(path), flags, resolve=self.resolve)

    def find(self, path: str) -> Fd | None:
        """The same; None when there is nothing. Raises OSError."""
        try:
            return self.open(path.rstrip("/") or "/")
        except FileNotFoundError:
            return None

    def parent(self, path: str) -> tuple[Fd, str]:
        """The directory that something at this path is in, and its name there, once links have been followed: also of
        a link to what is not there yet. Raises OSError."""
        path = self._absolute(path).rstrip("/")
        for _ in range(_LINKS):
            directory, _, name = path.rpartition("/")
            if name in ("", ".", ".."):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
            parent = self.open(directory or "/", os.O_RDONLY | os.O_DIRECTORY)
            target = _link(parent, name)
            if target is None:
                return parent, name
            parent.close()
            path = (target if target.startswith("/") else f"{directory}/{target}").rstrip("/")
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)

    def _absolute(self, path: str) -> str:
        return path if path.startswith("/") else f"{self.base.rstrip('/')}/{path}"


def _link(parent: Fd, name: str) -> str | None:
    try:
        return os.readlink(name, dir_fd=parent.fileno())
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):  # no link, or nothing at all
            return None
        raise


def shape_of(found: Fd | None) -> Shape:
    """Raises OSError."""
    if found is None:
        return Shape.NOTHING
    mode = os.fstat(found.fileno()).st_mode
    if stat.S_ISREG(mode):
        return Shape.FILE
    return Shape.DIRECTORY if stat.S_ISDIR(mode) else Shape.OTHER
