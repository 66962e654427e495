"""What containers wrote, out of CRI log records, at the speed of memory: the doorway to ``native/logtext.c``. Nothing
else of the native code is loaded for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import nsrun._native as _native

__all__ = ["BOTH", "STDERR", "STDOUT", "LogText"]

STDOUT: Final = 1
STDERR: Final = 2
BOTH: Final = STDOUT | STDERR

_LEAST_ROOM = 1 << 17


class LogText:
    """Turns the records of one log into text, in the order they come.

    ``streams``: of which. ``since``: records of an earlier time are passed over; empty for none. Times as the records
    tell them (``2026-01-01T00:00:00.000000000Z``), so that their order is that of their letters. ``stamps``: each line
    begins with the time of its first record. ``label``: and before that with this.
    """

    def __init__(self, *, streams: int = BOTH, since: bytes = b"", stamps: bool = False, label: bytes = b"") -> None:
        ffi = _native.ffi
        self._since, self._label = ffi.new("char[]", since), ffi.new("char[]", label)
        self._text = ffi.new(
            "struct ns_logtext *",
            {
                "since": self._since,
                "since_length": len(since),
                "label": self._label,
                "label_length": len(label),
                "streams": streams,
                "stamps": stamps,
            },
        )
        self._out = bytearray()

    def render(self, records: memoryview, *, until: bytes = b"") -> Iterator[tuple[int, memoryview]]:
        """Whole lines, each with its newline → how many bytes of them are done with, and their text, which holds good
        until the next is asked for. Ends before the first record that is later than ``until`` (empty: there is no such
        limit), else with the last. What is no record is passed over."""
        ffi, lib, text = _native.ffi, _native.lib, self._text
        self._make_room(len(records))
        last = ffi.new("char[]", until)
        text.until, text.until_length = last, len(until)
        out = memoryview(self._out)
        room = ffi.from_buffer(out)
        at = 0
        while at < len(records):
            lib.ns_logtext(text, ffi.from_buffer(records[at:]), len(records) - at, room, len(out))
            if text.consumed == 0:
                return
            at += text.consumed
            yield text.consumed, out[: text.written]

    def release(self) -> None:
        """Gives memory back until the next ``render``."""
        self._out = bytearray()

    def _make_room(self, length: int) -> None:
        """So that any of the records fits with its label and its time, which is part of it."""
        needed = max(_LEAST_ROOM, length + self._text.label_length)
        if len(self._out) < needed:
            self._out = bytearray(needed)
