"""A way to a registry that can be cut: connections are dropped and refused, as long as it is said."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from tests.waiting import idle

__all__ = ["Way"]


class Way:
    """A port on loopback that leads to a registry. ``passed``: bytes that came back through it.

    After ``cut_after`` bytes of a connection's answers it is cut for ``away`` seconds: whoever is connected is dropped,
    whoever comes is refused.
    """

    def __init__(self, target: str, *, cut_after: int, away: float) -> None:
        self._target = target
        self._cut_after = cut_after
        self._away = away
        self._server: asyncio.Server | None = None
        self._mending: asyncio.Task[None] | None = None
        self._port = 0
        self.passed = 0
        self.cuts = 0
        self.host = ""

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        self.host = f"127.0.0.1:{self._port}"

    async def close(self) -> None:
        if self._mending is not None:
            await self._mending
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self._target.rpartition(":")
        back_reader, back_writer = await asyncio.open_connection(host, int(port))
        asking = asyncio.ensure_future(self._forward(reader, back_writer))
        with suppress(ConnectionError):
            seen = 0
            while data := await back_reader.read(1 << 16):
                seen += len(data)
                if self.cuts == 0 and seen > self._cut_after:
                    self._cut()
                    break
                self.passed += len(data)
                writer.write(data)
                await writer.drain()
        asking.cancel()
        for each in (writer, back_writer):
            each.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()

    def _cut(self) -> None:
        self.cuts += 1
        assert self._server is not None
        self._server.close()
        self._mending = asyncio.ensure_future(self._mend())

    async def _mend(self) -> None:
        await idle(self._away)
        await self.open()
