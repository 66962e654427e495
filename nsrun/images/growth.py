"""A file that one thread writes while others read after it: the bytes of a blob go from the network into its file, and
from there, still in the page cache, to whoever unpacks them. So nobody waits for the slower one, memory stays small
however far they are apart, and what an earlier pull left is read like what comes.
"""

from __future__ import annotations

import os
import threading

from nsrun.support.fds import Fd

__all__ = ["BlobReader", "Growth", "ReadCancelled", "Restarted"]


class Restarted(Exception):
    """What was read so far does not count: the file begins anew."""


class ReadCancelled(Exception):
    """The reader is not wanted any more, or the file will never be whole."""


class Growth:
    """How far the file is. ``size`` bytes of it may be read; it is whole once ``end(whole=True)`` was called."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._size = 0
        self._beginnings = 0
        self._ended: bool | None = None

    @property
    def beginnings(self) -> int:
        """How often the file began anew."""
        return self._beginnings

    def grow(self, size: int) -> None:
        with self._changed:
            self._size = size
            self._changed.notify_all()

    def restart(self) -> None:
        with self._changed:
            self._size = 0
            self._beginnings += 1
            self._changed.notify_all()

    def end(self, *, whole: bool) -> None:
        """Nothing more comes. The first call counts."""
        with self._changed:
            if self._ended is None:
                self._ended = whole
            self._changed.notify_all()

    def beyond(self, offset: int, reader: BlobReader) -> int:
        """Bytes that may be read at ``offset``, waited for; 0 at the end. Raises Restarted, ReadCancelled."""
        with self._changed:
            while True:
                self.check(reader)
                if self._size > offset:
                    return self._size - offset
                if self._ended is not None:
                    if not self._ended:
                        raise ReadCancelled
                    return 0
                self._changed.wait()

    def check(self, reader: BlobReader) -> None:
        """Raises Restarted, ReadCancelled."""
        if reader.cancelled:
            raise ReadCancelled
        if self._beginnings != reader.beginning:
            raise Restarted

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


class BlobReader:
    """Reads a blob's file from its start: one that is whole, or with ``growth`` one under way. Owns ``fd``."""

    def __init__(self, fd: Fd, growth: Growth | None = None) -> None:
        self._fd = fd
        self._growth = growth
        self.beginning = growth.beginnings if growth is not None else 0
        self.cancelled = False
        self.offset = 0

    def read(self, size: int) -> bytes:
        """The next bytes, at most ``size``; empty at the end. Raises OSError, Restarted, ReadCancelled."""
        if self._growth is None:
            if self.cancelled:
                raise ReadCancelled
            data = os.pread(self._fd.fileno(), size, self.offset)
        else:
            there = self._growth.beyond(self.offset, self)
            data = os.pread(self._fd.fileno(), min(size, there), self.offset)
            self._growth.check(self)  # what was cut off meanwhile is no end
        self.offset += len(data)
        return data

    def rewind(self) -> None:
        """Begins anew, after Restarted."""
        self.offset = 0
        if self._growth is not None:
            self.beginning = self._growth.beginnings

    def cancel(self) -> None:
        """Ends a ``read`` of another thread, and all that come."""
        self.cancelled = True
        if self._growth is not None:
            self._growth.wake()

    def close(self) -> None:
        self._fd.close()

    def __enter__(self) -> BlobReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
