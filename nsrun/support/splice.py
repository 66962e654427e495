"""Bytes from one socket to another without coming through Python: splice(2) by way of a pipe."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
from collections.abc import Callable

from nsrun.support.fds import Fd

__all__ = ["relay", "splice_stream"]

_PIPE_BYTES = 256 << 10
"""How much may be under way in each direction."""


async def relay(one: socket.socket, other: socket.socket) -> None:
    """Carries bytes both ways between two connections until both directions have ended; then, or when this is
    cancelled, both are closed. Either direction may end before the other. What one side aborts is aborted on the other.

    The sockets must not block. Raises OSError for an abort.
    """
    failure: OSError | None = None
    with one, other:
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(splice_stream(one, other))
                both.create_task(splice_stream(other, one))
        except* OSError as errors:
            for end in (one, other):
                _reset_at_close(end)
            failure = _first(errors)
    if failure is not None:
        raise failure


async def splice_stream(source: socket.socket, sink: socket.socket) -> None:
    """One direction: until ``source`` ends, which ``sink`` is then told. Raises OSError."""
    loop = asyncio.get_running_loop()
    reading, writing = (Fd(number) for number in os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC))
    with reading, writing:
        fcntl.fcntl(writing.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        while count := await _moved(
            source.fileno(), writing.fileno(), _PIPE_BYTES, source, loop.add_reader, loop.remove_reader
        ):
            while count:
                count -= await _moved(reading.fileno(), sink.fileno(), count, sink, loop.add_writer, loop.remove_writer)
    sink.shutdown(socket.SHUT_WR)


async def _moved(
    source: int,
    sink: int,
    count: int,
    awaited: socket.socket,
    watch: Callable[[int, Callable[[], None]], None],
    unwatch: Callable[[int], object],
) -> int:
    """How many bytes went, at most ``count``: 0 at the end. Waits for the socket, not for the pipe."""
    while True:
        try:
            return os.splice(source, sink, count, flags=os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK)
        except BlockingIOError:
            await _ready(awaited.fileno(), watch, unwatch)


async def _ready(fd: int, watch: Callable[[int, Callable[[], None]], None], unwatch: Callable[[int], object]) -> None:
    ready = asyncio.Event()
    watch(fd, ready.set)
    try:
        await ready.wait()
    finally:
        unwatch(fd)


def _reset_at_close(end: socket.socket) -> None:
    """The close tells the peer that something was lost: RST instead of FIN (SO_LINGER with 0 s)."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def _first(errors: ExceptionGroup[OSError]) -> OSError:
    first = errors.exceptions[0]
    return first if isinstance(first, OSError) else _first(first)
