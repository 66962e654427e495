"""The directories of a layer that is being unpacked, found by descriptor.

A path of an archive is the attacker's. Its directory part is resolved by openat2(2) with RESOLVE_IN_ROOT: links in it
are followed, as users of images expect (``lib -> usr/lib``, then ``lib/x``), but as if the layer's directory were "/".
What is then done with the last component is done with the descriptor and the bare name, and follows nothing.
"""

from __future__ import annotations

import os
import stat
from collections import OrderedDict

from nsrun.support import native
from nsrun.support.fds import Fd

__all__ = ["EntryError", "Parents", "is_whiteout", "split_path"]

_RESOLVE = native.RESOLVE_IN_ROOT | native.RESOLVE_NO_MAGICLINKS | native.RESOLVE_NO_XDEV
_OPEN = os.O_RDONLY | os.O_DIRECTORY


class EntryError(ValueError):
    """An entry asks for what no layer may do."""


def split_path(path: bytes, *, depth: int, name: int) -> list[bytes]:
    """The components of an archived path, below the layer's directory: empty for the directory itself.

    Leading slashes and ``.`` mean nothing in a layer; ``..`` is refused, also where it would stay inside: no honest
    archive has it. Raises EntryError.
    """
    parts = [part for part in path.split(b"/") if part and part != b"."]
    if b".." in parts:
        raise EntryError('its path has ".." in it')
    if len(parts) > depth:
        raise EntryError(f"its path is deeper than {depth} directories")
    if len(path) > name and any(len(part) > name for part in parts):
        raise EntryError(f"a name in its path is longer than {name} bytes")
    return parts


def is_whiteout(status: os.stat_result) -> bool:
    """Whether overlayfs takes this for a whiteout: a character device 0:0."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


class Parents:
    """Opens directories of the layer and keeps the last ones open.

    ``open`` returns a borrowed descriptor: good until ``capacity`` others were opened, or ``forget``. ``_known`` maps a
    path to its directory, least recently used first. A descriptor cannot come to mean another place (nothing moves
    directories while a layer is unpacked), but a path can, when a link or a directory on it is replaced: whoever
    replaces one must ``forget``. ``implied``: directories made because something lies in them.
    """

    def __init__(self, root: int, *, opaque: str, capacity: int = 256) -> None:
        self._root = root
        self._opaque = opaque
        self._capacity = capacity
        self._known: OrderedDict[bytes, Fd] = OrderedDict()
        self.implied: list[bytes] = []

    @property
    def root(self) -> int:
        return self._root

    def open(self, path: bytes) -> int:
        """The directory at ``path`` ("" is the layer's own); what is missing on the way is made: 0755, root.

        Raises EntryError when something that is no directory is in the way, OSError.
        """
        known = self._lookup(path)
        if known is not None:
            return known
        try:
            return self.find(path)
        except (FileNotFoundError, NotADirectoryError):
            return self._make(path)

    def find(self, path: bytes) -> int:
        """The same, of a directory that must be there. Raises OSError."""
        known = self._lookup(path)
        if known is not None:
            return known
        directory = self._resolve(path)
        self._known[path] = directory
        if len(self._known) > self._capacity:
            self._known.popitem(last=False)[1].close()
        return directory.fileno()

    def forget(self) -> None:
        """Closes all."""
        while self._known:
            self._known.popitem()[1].close()

    def make_opaque(self, directory: int) -> None:
        """Hides what the layers below have in a directory."""
        os.setxattr(directory, self._opaque, b"y")

    def _resolve(self, path: bytes) -> Fd:
        return native.openat2(self._root, os.fsdecode(path), _OPEN, resolve=_RESOLVE)

    def _lookup(self, path: bytes) -> int | None:
        if not path:
            return self._root
        directory = self._known.get(path)
        if directory is None:
            return None
        self._known.move_to_end(path)
        return directory.fileno()

    def _make(self, path: bytes) -> int:
        parts = path.split(b"/")
        parent = self._root
        for count in range(1, len(parts) + 1):
            parent = self._step(parent, b"/".join(parts[:count]), parts[count - 1])
        return parent

    def _step(self, parent: int, path: bytes, name: bytes) -> int:
        try:
            return self.find(path)
        except FileNotFoundError:
            hidden = False
        except NotADirectoryError:
            hidden = is_whiteout(os.stat(name, dir_fd=parent, follow_symlinks=False))
            if not hidden:
                raise EntryError("its directory is not a directory in this layer") from None
            os.unlink(name, dir_fd=parent)
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
        except FileExistsError:
            raise EntryError("its directory is a link to nothing in this layer") from None
        fd = self.find(path)
        os.fchown(fd, 0, 0)
        os.fchmod(fd, 0o755)
        self.implied.append(path)
        if hidden:
            self.make_opaque(fd)
        return fd
