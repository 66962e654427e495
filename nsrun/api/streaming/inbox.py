"""Bytes that came on one of a connection's streams, on their way to whoever reads that stream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn, Protocol

__all__ = ["Inbox", "Sink", "Source", "deliver"]

ROOM = 128 << 10
STALLED_SECONDS = 5.0


class Source(Protocol):
    """What a client sends on one stream."""

    async def read(self) -> bytes:
        """Some bytes; empty at the end, and from then on. Raises ConnectionError when the stream was broken off."""
        ...

    def discard(self) -> None:
        """Nobody reads it: what has come and what will come is dropped."""
        ...


class Sink(Protocol):
    """What a client is sent on one stream."""

    async def write(self, data: bytes) -> None:
        """Returns when there is room for more. Raises ConnectionError when nobody can have it."""
        ...

    def end(self) -> None:
        """There is no more of it; may be said again."""
        ...


class Inbox:
    """A Source whose other end is a connection that carries other streams too. ``consumed`` is told how many bytes were
    taken out, or dropped.

    Invariant: ``_changed`` is the event of the next change; whoever waits looks again at each."""

    def __init__(self, consumed: Callable[[int], None] = lambda count: None) -> None:
        self._waiting = bytearray()
        self._consumed = consumed
        self._ended = self._broken = self._discarding = False
        self._changed = asyncio.Event()

    def put(self, data: bytes) -> None:
        """Bytes came. Wait for ``room`` before the next."""
        if self._discarding or self._broken:
            self._consumed(len(data))
        else:
            self._waiting += data
            self._change()

    def end(self) -> None:
        """No more will come."""
        self._ended = True
        self._change()

    def break_off(self) -> None:
        """No more will come, and what there is has lost its meaning."""
        self._broken = True
        self._drop()

    def discard(self) -> None:
        self._discarding = True
        self._drop()

    @property
    def has_room(self) -> bool:
        return len(self._waiting) < ROOM

    async def room(self) -> None:
        """Returns when more may come."""
        while not self.has_room:
            await self._changed.wait()

    async def read(self) -> bytes:
        while not (self._waiting or self._ended or self._broken):
            await self._changed.wait()
        if self._broken:
            raise ConnectionResetError("the client broke the stream off")
        data = bytes(self._waiting)
        self._waiting.clear()
        self._consumed(len(data))
        self._change()
        return data

    async def broken_off(self) -> NoReturn:
        """Waits for the client to break the stream off, also behind its end. Raises ConnectionResetError then."""
        while not self._broken:
            await self._changed.wait()
        raise ConnectionResetError("the client broke the stream off")

    def _drop(self) -> None:
        self._consumed(len(self._waiting))
        self._waiting.clear()
        self._change()

    def _change(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


async def deliver(inbox: Inbox, data: bytes, nudge: Callable[[], Awaitable[None]]) -> None:
    """Puts bytes in, and returns when more may come: until then the whole connection is not read, and TCP slows the
    client down. Nor would its end be noticed, so ``nudge`` is called now and then, which sends it something."""
    inbox.put(data)
    while not inbox.has_room:
        try:
            async with asyncio.timeout(STALLED_SECONDS):
                await inbox.room()
        except TimeoutError:
            await nudge()
