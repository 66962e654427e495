"""Logs on their way out: what there is of several, in the order of time."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence

from nsrun.support.logreader import LogReader
from nsrun.support.logtext import LogText

__all__ = ["LogSource", "drain"]

_TIME_MAX = 64
Write = Callable[[memoryview], object]


class LogSource:
    """One log, read and turned into text step by step. ``limit``: bytes of text, None for all there is."""

    def __init__(self, reader: LogReader, text: LogText, *, limit: int | None = None) -> None:
        self.reader = reader
        self._text = text
        self._left = limit
        self._records = memoryview(b"")  # read, and not yet text

    def fill(self) -> bool:
        """Whether there is something to take now."""
        if self._left == 0:
            return False
        if not self._records:
            self._records = self.reader.read()
        return bool(self._records)

    def head(self) -> bytes:
        """The time of the next record."""
        return bytes(self._records[:_TIME_MAX]).partition(b" ")[0]

    def take(self, until: bytes) -> Iterator[memoryview]:
        """The text of some records at least, and of those up to a point in time; empty: of all that were read."""
        records, taken = self._records, 0
        for count, text in self._text.render(records, until=until):
            taken += count
            yield self._cut(text)
        if until and not taken:
            yield from self.take(b"")
        else:
            self._records = records[taken:] if until else memoryview(b"")

    def _cut(self, text: memoryview) -> memoryview:
        if self._left is not None:
            text = text[: self._left]
            self._left -= len(text)
        return text


def drain(sources: Sequence[LogSource], write: Write) -> None:
    """Writes all there is now; of several logs by the times of their records, a line that was begun to its end."""
    heads = [(source.head(), number) for number, source in enumerate(sources) if source.fill()]
    heapq.heapify(heads)
    while heads:
        _, number = heapq.heappop(heads)
        source = sources[number]
        for text in source.take(heads[0][0] if heads else b""):
            write(text)
        if source.fill():
            heapq.heappush(heads, (source.head(), number))
