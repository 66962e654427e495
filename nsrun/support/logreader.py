"""Reading the whole log of a run, and following it across rotations.

The shim renames a file before it begins the next, and never writes to it again. So all files are opened together, and
that they are all is known when the directory looks the same afterwards; and what has a file after it, read to its end,
has been read to the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from nsrun.support.logfiles import log_files

__all__ = ["LogReader", "tail_offset"]

_BLOCK = 1 << 16
_BUFFER = 1 << 18
_TRIES = 1000


class LogReader:
    """The lines of one log, oldest first. ``log``: the file that is written to.

    Invariant: ``_files`` are open, in order, and none is missing between them. ``_buffer`` begins with the part of a
    line that was read last, up to ``_done + _torn``; what is before ``_done`` was given away."""

    def __init__(self, log: Path) -> None:
        """Opens what is there now. Raises OSError: FileNotFoundError when there is nothing."""
        self._log = log
        self._buffer = bytearray()
        self._done = self._torn = 0
        self._files = _open_all(log, after=None)
        if not self._files:
            raise FileNotFoundError(2, os.strerror(2), str(log))

    def __enter__(self) -> LogReader:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()

    def empty(self) -> bool:
        """Nothing was ever written."""
        return all(os.fstat(file.fileno()).st_size == 0 for file in self._files)

    def skip_to_tail(self, lines: int) -> None:
        """Begins with the last ``lines`` lines."""
        for index in range(len(self._files) - 1, -1, -1):
            offset, missing = tail_offset(self._files[index], lines)
            self._files[index].seek(offset)
            lines = missing
            if lines == 0:
                for file in self._files[:index]:
                    file.close()
                del self._files[:index]
                return

    def fileno(self) -> int:
        """Of the newest file that is open."""
        return self._files[-1].fileno()

    def read(self) -> memoryview:
        """The next whole lines, each with its newline, a quarter of a MiB at most; nothing at the end of all there is
        now. They hold good until the next call. Longer lines than that, which no shim writes, are left out."""
        if not self._buffer:
            self._buffer = bytearray(_BUFFER)  # its pages are there when they are written to
        while True:
            buffer = memoryview(self._buffer)
            buffer[: self._torn] = bytes(buffer[self._done : self._done + self._torn])
            self._done = 0
            count = self._files[0].readinto(buffer[self._torn :])
            if count:
                filled = self._torn + count
                self._done = self._buffer.rfind(b"\n", self._torn, filled) + 1
                self._torn = filled - self._done if filled - self._done < _BUFFER else 0
                if self._done:
                    return buffer[: self._done]
            elif len(self._files) > 1:
                self._torn = 0  # by a sudden end
                self._files.pop(0).close()
            elif not self._newer():  # else what was written before the rotation is still to be read
                return buffer[:0]

    def release(self) -> None:
        """Gives memory back until the next ``read``: for whoever waits long. What was read last does not hold good any
        more."""
        if not self._torn:
            self._buffer = bytearray()

    def lines(self, wait: Callable[[], bool]) -> Iterator[bytes]:
        """Whole lines, without their newlines. At the end of all there is, ``wait`` comes back when it is time to look
        again; False: look once more, then end."""
        last = False
        while True:
            block = bytes(self.read())
            if block:
                yield from block[:-1].split(b"\n")
            elif last:
                return
            else:
                last = not wait()

    def _newer(self) -> bool:
        """Opens what has come after our last file."""
        mine = os.fstat(self._files[-1].fileno())
        try:
            current = os.stat(self._log)
        except FileNotFoundError:
            return False  # renamed, and the next one is not there yet
        if (mine.st_dev, mine.st_ino) == (current.st_dev, current.st_ino):
            return False
        self._files += _open_all(self._log, after=mine)
        return len(self._files) > 1


def _open_all(log: Path, *, after: os.stat_result | None) -> list[FileIO]:
    """Every file, or those that come after the one whose status is given; all, when that is gone. Raises OSError."""
    for _ in range(_TRIES):
        paths = log_files(log)
        with ExitStack() as opened:
            try:
                files = [opened.enter_context(open(path, "rb", buffering=0)) for path in paths]
            except FileNotFoundError:
                continue  # rotated or removed since
            if log_files(log) != paths:
                continue
            opened.pop_all()
            return _after(files, after)
    raise OSError(16, "the log is rotated faster than it can be opened", str(log))


def _after(files: list[FileIO], known: os.stat_result | None) -> list[FileIO]:
    if known is None:
        return files
    for index, file in enumerate(files):
        status = os.fstat(file.fileno())
        if (status.st_dev, status.st_ino) == (known.st_dev, known.st_ino):
            for seen in files[: index + 1]:
                seen.close()
            return files[index + 1 :]
    return files


def tail_offset(file: BinaryIO | FileIO, lines: int) -> tuple[int, int]:
    """Where the last ``lines`` lines begin, and how many of them the file does not have; reads backwards, block by
    block."""
    position = end = file.seek(0, os.SEEK_END)
    if lines == 0:
        return end, 0
    wanted = lines + 1 if _ends_with_newline(file, end) else lines
    while position > 0:
        start = max(0, position - _BLOCK)
        file.seek(start)
        block = file.read(position - start)
        found = block.count(b"\n")
        if found >= wanted:
            cut = len(block)
            for _ in range(wanted):
                cut = block.rindex(b"\n", 0, cut)
            return start + cut + 1, 0
        wanted -= found
        position = start
    return 0, max(wanted - 1, 0) if end else lines


def _ends_with_newline(file: BinaryIO | FileIO, end: int) -> bool:
    if end == 0:
        return False
    file.seek(end - 1)
    return file.read(1) == b"\n"
