"""Reads a tree as an archive would hold it: entries with their content.

Links are entries and never followed; each directory is entered by the descriptor that was looked at. What is no file,
directory or link is passed over: opening a device can do anything.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

from nsrun.images.entrypath import EntryError
from nsrun.images.limits import DEFAULT_LIMITS
from nsrun.images.tarstream import Entry, Kind
from nsrun.support.fds import Fd
from nsrun.support.idranges import IdRange

__all__ = ["Content", "Tree"]

Content = Iterator[memoryview]

_CHUNK = 1 << 20
_PIECES = 65_536
"""Regions of a sparse file that are kept apart; a file with more is read as a whole."""
_LINKED = 100_000
"""Files with several names that are remembered; of those beyond, each name becomes a file."""
_NOBODY = 65534


@dataclass(slots=True, kw_only=True)
class Tree:
    """A tree to read. ``top``: an O_PATH descriptor of the file or directory. ``users``: owners are told as this user
    namespace numbers them. ``without``: device numbers of file systems that are shown as empty directories, unless the
    tree begins in one. ``passed_over`` is told of what is left out, and why.

    ``_linked``: path of each file that was read under one name and has more."""

    top: Fd
    users: IdRange | None = None
    without: frozenset[int] = frozenset()
    passed_over: Callable[[bytes, str], None] = lambda path, why: None
    _linked: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def entries(self, name: bytes) -> Iterator[tuple[Entry, Content]]:
        """Every entry, directories before what is in them; the top is called ``name``. Content is to be read before the
        next entry is asked for. Raises OSError, EntryError."""
        status = os.fstat(self.top.fileno())
        if not stat.S_ISDIR(status.st_mode):
            yield from self._leaf(self.top, name, status)
            return
        yield self._entry(Kind.DIRECTORY, name, status), iter(())
        with ExitStack() as held:
            directory = held.enter_context(_listable(self.top))
            yield from self._below(directory, name, held, status.st_dev)

    def _below(self, top: Fd, name: bytes, held: ExitStack, device: int) -> Iterator[tuple[Entry, Content]]:
        """Without recursion, which a deep tree would exhaust. ``stack``: open directories with what they still have."""
        stack = [(top, _names(top), name)]
        while stack:
            directory, names, path = stack[-1]
            child = next(names, None)
            if child is None:
                stack.pop()[0].close()
                continue
            where = b"/".join(filter(None, (path, child)))
            try:
                found = Fd.open(os.fsdecode(child), os.O_PATH | os.O_NOFOLLOW, dir_fd=directory.fileno())
            except FileNotFoundError:
                continue  # gone since it was listed
            with found:
                status = os.fstat(found.fileno())
                if not stat.S_ISDIR(status.st_mode):
                    yield from self._leaf(found, where, status)
                    continue
                yield self._entry(Kind.DIRECTORY, where, status), iter(())
                if status.st_dev != device and status.st_dev in self.without:
                    continue
                if len(stack) >= DEFAULT_LIMITS.depth:
                    raise EntryError(f"it is deeper than {DEFAULT_LIMITS.depth} directories")
                below = held.enter_context(_listable(found))
            stack.append((below, _names(below), where))

    def _leaf(self, found: Fd, path: bytes, status: os.stat_result) -> Iterator[tuple[Entry, Content]]:
        if stat.S_ISLNK(status.st_mode):
            target = os.readlink(b"", dir_fd=found.fileno())
            yield self._entry(Kind.SYMLINK, path, status, target=target), iter(())
        elif not stat.S_ISREG(status.st_mode):
            self.passed_over(path, _kind_of(status.st_mode))
        elif first := self._first_name(path, status):
            yield self._entry(Kind.HARD_LINK, path, status, target=first), iter(())
        else:
            # By descriptor: the very file that was looked at.
            with Fd.open(f"/proc/self/fd/{found.fileno()}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY) as file:
                regions = _regions(file.fileno(), status)
                entry = self._entry(Kind.FILE, path, status, size=status.st_size, regions=regions)
                yield entry, _content(file.fileno(), status.st_size, regions)

    def _first_name(self, path: bytes, status: os.stat_result) -> bytes | None:
        """The path that this file was read under before."""
        if status.st_nlink < 2:
            return None
        key = (status.st_dev, status.st_ino)
        if key in self._linked:
            return self._linked[key]
        if len(self._linked) < _LINKED:
            self._linked[key] = path
        return None

    def _entry(
        self,
        kind: Kind,
        path: bytes,
        status: os.stat_result,
        *,
        target: bytes = b"",
        size: int = 0,
        regions: tuple[tuple[int, int], ...] | None = None,
    ) -> Entry:
        return Entry(
            kind=kind,
            path=path,
            target=target,
            mode=stat.S_IMODE(status.st_mode),
            uid=self._id(status.st_uid),
            gid=self._id(status.st_gid),
            size=size,
            stored=size if regions is None else sum(length for _, length in regions),
            mtime=status.st_mtime_ns,
            regions=regions,
        )

    def _id(self, number: int) -> int:
        if self.users is None:
            return number
        inside = number - self.users.first
        return inside if 0 <= inside < self.users.count else _NOBODY


def _listable(directory: Fd) -> Fd:
    return Fd.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory.fileno())


def _names(directory: Fd) -> Iterator[bytes]:
    with os.scandir(directory.fileno()) as listed:
        for entry in listed:
            yield os.fsencode(entry.name)


def _kind_of(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "a FIFO"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"


def _regions(fd: int, status: os.stat_result) -> tuple[tuple[int, int], ...] | None:
    """Where a file with holes has data; None for one without."""
    if status.st_blocks * 512 >= status.st_size:
        return None
    found: list[tuple[int, int]] = []
    end = 0
    try:
        while end < status.st_size:
            start = os.lseek(fd, end, os.SEEK_DATA)
            end = min(os.lseek(fd, start, os.SEEK_HOLE), status.st_size)
            if start >= end or len(found) == _PIECES:
                return None if start < status.st_size else tuple(found)
            found.append((start, end - start))
    except OSError as error:
        if error.errno != errno.ENXIO:  # there is no data beyond
            return None
    return tuple(found)


def _content(fd: int, size: int, regions: tuple[tuple[int, int], ...] | None) -> Content:
    """What the file has at the regions; a file that was cut off meanwhile is filled up with zeros there, and one
    without holes just ends."""
    buffer = memoryview(bytearray(min(_CHUNK, max(size, 1))))
    for start, length in regions if regions is not None else ((0, size),):
        at, end = start, start + length
        while at < end:
            count = os.preadv(fd, [buffer[: end - at]], at)
            if count == 0:
                if regions is None:
                    return
                count = min(len(buffer), end - at)
                buffer[:count] = bytes(count)
            yield buffer[:count]
            at += count
