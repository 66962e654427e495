"""Reading from and writing to a session's descriptors: pipes and terminals that do not block."""

from __future__ import annotations

import asyncio
import errno
import os
import select

__all__ = ["DescriptorReader", "write_all"]

CHUNK = 64 << 10  # what a pipe holds


class DescriptorReader:
    """Reads until the end; or, once ``finish`` was called, until there is nothing more at this moment: what a command
    wrote before it ended is in the pipe by then, and what it left running may hold the pipe open for ever."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._finishing = False
        self._look = asyncio.Event()

    def finish(self) -> None:
        """Nothing that comes from now on is waited for."""
        self._finishing = True
        self._look.set()

    async def read(self) -> bytes:
        """Some bytes; empty at the end. Raises OSError."""
        while True:
            try:
                return os.read(self._fd, CHUNK)
            except BlockingIOError:
                if self._finishing:
                    return b""
            except OSError as error:
                if error.errno == errno.EIO:  # a terminal that nobody has open at its other end
                    return b""
                raise
            await self._changed()

    async def _changed(self) -> None:
        loop = asyncio.get_running_loop()
        self._look.clear()
        loop.add_reader(self._fd, self._look.set)
        try:
            await self._look.wait()
        finally:
            loop.remove_reader(self._fd)


async def write_all(fd: int, data: bytes) -> None:
    """Raises BrokenPipeError when nobody reads it any more, OSError."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            if _hung_up(fd):
                raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from None
            await _writable(fd)
        except OSError as error:
            if error.errno == errno.EIO:
                raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from error
            raise


def _hung_up(fd: int) -> bool:
    """Whether a terminal has nobody at its other end: it takes no more then, and says all the same that it would."""
    poll = select.poll()
    poll.register(fd, 0)
    return bool(poll.poll(0))


async def _writable(fd: int) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_writer(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(fd)
