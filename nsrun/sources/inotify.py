"""inotify(7): what the kernel tells about a directory. The standard library has no door to it: this file calls libc."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntFlag

from nsrun.support.fds import Fd

__all__ = ["Event", "Inotify", "Mask"]

HEADER = struct.Struct("iIII")
BUFFER = 64 << 10
"""Many events at a time; one event needs at most 16 + NAME_MAX + 1 bytes."""


class Mask(IntFlag):
    """<sys/inotify.h>."""

    MODIFY = 0x2
    ATTRIB = 0x4
    CLOSE_WRITE = 0x8
    MOVED_FROM = 0x40
    MOVED_TO = 0x80
    CREATE = 0x100
    DELETE = 0x200
    DELETE_SELF = 0x400
    MOVE_SELF = 0x800
    UNMOUNT = 0x2000
    OVERFLOW = 0x4000
    IGNORED = 0x8000
    ONLYDIR = 0x1000000
    ISDIR = 0x40000000


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event. ``name``: the entry of the watched directory it is about, empty when it is the directory itself."""

    watch: int
    mask: Mask
    name: str


class Inotify:
    """One inotify instance; ``close`` ends it and every watch. Raises OSError (EMFILE: too many instances)."""

    def __init__(self) -> None:
        # Watches are added in a thread; the number must not be closed, and given to another file, meanwhile.
        self._lock = threading.Lock()
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = Fd(self._checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)))

    def fileno(self) -> int:
        return self._fd.fileno()

    def add(self, path: str, mask: Mask) -> int:
        """Watches a directory; its number stays the same when it is watched already. Raises OSError."""
        with self._lock:
            return self._checked(self._libc.inotify_add_watch(self.fileno(), os.fsencode(path), ctypes.c_uint32(mask)))

    def remove(self, watch: int) -> None:
        """Ends a watch; nothing happens when it has ended with its directory."""
        with self._lock:
            self._libc.inotify_rm_watch(self._fd.number, watch)

    def read(self) -> Iterator[Event]:
        """The events that are there now; none when there are none. Raises OSError."""
        try:
            data = os.read(self.fileno(), BUFFER)
        except BlockingIOError:
            return
        offset = 0
        while offset < len(data):
            watch, mask, _, length = HEADER.unpack_from(data, offset)
            offset += HEADER.size
            name = data[offset : offset + length].rstrip(b"\0")
            offset += length
            yield Event(watch=watch, mask=Mask(mask), name=os.fsdecode(name))

    def close(self) -> None:
        with self._lock:
            self._fd.close()

    def _checked(self, result: int) -> int:
        if result >= 0:
            return result
        number = ctypes.get_errno() or errno.EIO
        raise OSError(number, os.strerror(number))
