"""Connections of HTTP/1.1 clients, and what becomes of one that is upgraded.

aiohttp knows one upgrade, WebSocket: whatever follows the head of another one it takes for the next request. So the
first head of a connection is looked at before aiohttp has it. When it asks for a protocol of ``TAKEN``, only the head
is given to aiohttp, and all that follows is kept: for the handler that answers 101, or for nobody."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable
from typing import Any

from aiohttp import web

from nsrun.api.limits import Limits

__all__ = ["HttpProtocol", "HttpServer", "TakenConnection"]

TAKEN = frozenset({b"spdy/3.1"})
_UPGRADE = re.compile(rb"^upgrade:[ \t]*(.*?)[ \t]*\r$", re.IGNORECASE | re.MULTILINE)
_HEAD_END = b"\r\n\r\n"
_WAITING = 1 << 18  # bytes that were received and not read, above which no more is received
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 21\r\n\r\nToo many connections\n"
)


class HttpServer(web.Server):
    """Makes the protocol of every connection of one listener."""

    def __init__(self, handler: Any, limits: Limits) -> None:
        super().__init__(
            handler,
            access_log=None,
            keepalive_timeout=limits.idle,
            lingering_time=1.0,  # who sends a body that nobody reads is to see the answer all the same
            max_line_size=limits.line,
            max_field_size=limits.field,
            max_headers=limits.headers,
            auto_decompress=False,
        )
        self.limits = limits

    def __call__(self) -> HttpProtocol:
        return HttpProtocol(self, loop=asyncio.get_running_loop(), **self._kwargs)


class HttpProtocol(web.RequestHandler):
    """One connection.

    Invariant: ``_head`` is what came of the first head, None once it is whole. ``_rest`` is what came behind a head
    that asks for an upgrade of ours, None for any other; aiohttp gets none of it. ``serving``: who answers a request
    now, and is cancelled when the client goes away; None when it learns that by itself."""

    def __init__(self, server: HttpServer, **settings: Any) -> None:
        super().__init__(server, **settings)
        self._server = server
        self._head: bytearray | None = bytearray()
        self._rest: bytearray | None = None
        self._rest_ended = False
        self._taken: TakenConnection | None = None
        self._too_late: asyncio.TimerHandle | None = None
        self.serving: asyncio.Task[Any] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert isinstance(transport, asyncio.Transport)
        if len(self._server.connections) > self._server.limits.connections:
            transport.write(_BUSY)
            self.force_close()
            return
        loop = asyncio.get_running_loop()
        self._too_late = loop.call_later(self._server.limits.head, self.force_close)

    def data_received(self, data: bytes) -> None:
        if self._taken is not None:
            self._taken.feed(data)
        elif self._rest is not None:
            self._keep(data)
        elif self._head is None:
            super().data_received(data)
        else:
            self._look(data)

    def _look(self, data: bytes) -> None:
        """Takes bytes of the first head."""
        assert self._head is not None
        seen = max(0, len(self._head) - len(_HEAD_END) + 1)
        self._head += data
        end = self._head.find(_HEAD_END, seen)
        limits = self._server.limits
        if end < 0 and len(self._head) <= limits.line + limits.field * 4:
            return  # aiohttp gets it, and says what is wrong, when it is whole or too long
        head, self._head = bytes(self._head), None
        if self._too_late is not None:
            self._too_late.cancel()
        end = end + len(_HEAD_END) if end >= 0 else len(head)
        if not asks_for_takeover(head[:end]):
            super().data_received(head)
            return
        self._rest = bytearray()
        super().data_received(head[:end])
        self._keep(head[end:])

    def _keep(self, data: bytes) -> None:
        assert self._rest is not None
        self._rest += data
        if len(self._rest) > _WAITING and self.transport is not None:
            self.transport.pause_reading()

    def take_over(self) -> TakenConnection | None:
        """The connection, from the byte on that follows the request's head; None when it was no request that can be
        upgraded: not the first of its connection."""
        if self._rest is None or self._taken is not None or self.transport is None:
            return None
        self._taken = TakenConnection(self.transport)
        self._taken.feed(bytes(self._rest))
        self._rest.clear()
        if self._rest_ended:
            self._taken.feed_eof()
        self.serving = None
        return self._taken

    @property
    def withholds(self) -> bool:
        """Whether there may be bytes that aiohttp never gets: then nothing more can be asked here."""
        return self._rest is not None

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """An upgraded connection stays open one way, where it can: TLS has no such thing."""
        if self._rest is None:
            return super().eof_received()
        self._rest_ended = True
        if self._taken is not None:
            self._taken.feed_eof()
        return self.transport is not None and self.transport.get_extra_info("sslcontext") is None

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._taken is not None:
            self._taken.pause_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._taken is not None:
            self._taken.resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._too_late is not None:
            self._too_late.cancel()
        super().connection_lost(exc)
        if self._taken is not None:
            self._taken.lost()
        if self.serving is not None:
            self.serving.cancel()


def asks_for_takeover(head: bytes) -> bool:
    """Whether a request's head asks for a protocol that is not HTTP, and that aiohttp does not know."""
    return any(offered.lower() in TAKEN for offered in _UPGRADE.findall(head))


class TakenConnection:
    """The ``Connection`` of an upgraded request. ``touched`` is called whenever something moves.

    Invariant: no more is received while more than ``_WAITING`` bytes wait to be read."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._received: deque[bytes] = deque()
        self._size = 0
        self._ended = self._lost = False
        self._readable, self._writable = asyncio.Event(), asyncio.Event()
        self._writable.set()
        self.touched: Callable[[], None] = lambda: None

    async def read(self) -> bytes:
        """All that has come; empty at the end."""
        while not self._received and not self._ended:
            self._readable.clear()
            await self._readable.wait()
        self.touched()
        data = b"".join(self._received)
        self._received.clear()
        self._size = 0
        if not self._ended:
            self._transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        """Returns when there is room for more. Raises ConnectionError."""
        if not self._transport.is_closing():
            self._transport.write(data)
            await self._writable.wait()
        if self._lost or self._transport.is_closing():
            raise ConnectionResetError("the client went away")
        self.touched()

    def close(self) -> None:
        """Ends both directions, after what was written."""
        self.feed_eof()
        self._transport.close()

    # --- the protocol's side

    def feed(self, data: bytes) -> None:
        """Bytes came."""
        if self._ended or not data:
            return
        self._received.append(data)
        self._size += len(data)
        if self._size > _WAITING:
            self._transport.pause_reading()
        self._readable.set()

    def feed_eof(self) -> None:
        """No more will come."""
        self._ended = True
        self._readable.set()

    def lost(self) -> None:
        """Nobody is there any more."""
        self._lost = True
        self.feed_eof()
        self._writable.set()

    def pause_writing(self) -> None:
        """The client takes less than it is sent."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """There is room again."""
        self._writable.set()
