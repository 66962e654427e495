"""A WebSocket that is only imagined, from both sides."""

from __future__ import annotations

import asyncio

from tests.waiting import PATIENCE

__all__ = ["FakeWebSocket"]


class FakeWebSocket:
    """What the server has. The client ``says`` and ``goes``; ``sent`` is what it was sent; it has room for ``room``
    messages that it did not ``take``."""

    def __init__(self, protocol: str = "v4.channel.k8s.io", *, room: int = 1000) -> None:
        self.sent: list[bytes | str] = []
        self.closed: int | None = None
        self._protocol = protocol
        self._coming: asyncio.Queue[bytes | str | None] = asyncio.Queue()
        self._gone = False
        self._room = asyncio.Semaphore(room)
        self._changed = asyncio.Event()

    @property
    def protocol(self) -> str:
        return self._protocol

    async def receive(self) -> bytes | str | None:
        if self._gone and self._coming.empty():
            return None
        self._change()
        return await self._coming.get()

    async def send(self, message: bytes | str) -> None:
        await self._room.acquire()
        if self._gone or self.closed is not None:
            raise ConnectionResetError("nobody is there")
        self.sent.append(message)
        self._change()

    async def close(self, code: int = 1000) -> None:
        self.closed = code
        self._change()

    # --- the client's side

    def says(self, *messages: bytes | str) -> None:
        for message in messages:
            self._coming.put_nowait(message)

    def goes(self) -> None:
        self._gone = True
        self._coming.put_nowait(None)

    @property
    def unheard(self) -> int:
        """Messages of the client's that nobody has received."""
        return self._coming.qsize()

    def take(self) -> None:
        self._room.release()

    async def until(self, condition: object) -> None:
        assert callable(condition)
        async with asyncio.timeout(20 * PATIENCE):
            while not condition():
                changed = self._changed
                await changed.wait()

    def said(self, channel: int) -> bytes:
        """All that came on a channel of binary messages."""
        binary = [message for message in self.sent if isinstance(message, bytes)]
        return b"".join(message[1:] for message in binary if message[0] == channel)

    def _change(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
