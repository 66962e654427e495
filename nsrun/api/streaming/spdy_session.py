"""SPDY over a connection: streams to read from and to write to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NoReturn

from nsrun.api.connections import Connection
from nsrun.api.streaming.inbox import Inbox, deliver
from nsrun.api.streaming.spdy import MAX_STREAMS, DataReceived, Event, SpdyServer, StreamOpened
from nsrun.api.streaming.spdy_frames import ResetStatus
from nsrun.api.streaming.spdy_headers import SpdyError

__all__ = ["SpdySession", "SpdyStream", "spdy_session"]

_OUTBOX = 256 << 10  # bytes to be sent, above which streams wait
_OUTBOX_OF_ALL = 2 * _OUTBOX  # and above which nothing more is read: answers to pings have no other bound
_SLICE = 32 << 10  # bytes after which others have their turn: frames can be as small as eight bytes
LINGER_SECONDS = 5.0


class SpdyStream:
    """One stream, accepted: a Source and a Sink."""

    def __init__(self, session: SpdySession, number: int, headers: Mapping[str, str]) -> None:
        self.number = number
        self.headers = headers
        self.inbox = Inbox(lambda count: session.consumed(number, count))
        self._session = session

    async def read(self) -> bytes:
        return await self.inbox.read()

    def discard(self) -> None:
        self.inbox.discard()

    async def broken_off(self) -> NoReturn:
        """Waits for the client to reset the stream. Raises ConnectionResetError then."""
        await self.inbox.broken_off()

    async def write(self, data: bytes) -> None:
        await self._session.write(self.number, data)

    def end(self) -> None:
        self._session.end(self.number)

    def reset(self, status: ResetStatus = ResetStatus.CANCEL) -> None:
        """Ends both directions, and drops what is on its way."""
        self._session.reset(self.number, status)
        self.inbox.break_off()


class SpdySession:
    """One connection. Made by ``spdy_session``.

    Invariant: ``_streams`` has those that are not closed; ``_changed`` is the event of the next
    change of the outbox or of what may be sent; ``_sending``: something was taken out of the outbox, and is not with
    the connection yet."""

    def __init__(self, connection: Connection, max_streams: int) -> None:
        self._connection = connection
        self._protocol = SpdyServer(max_streams=max_streams)
        self._streams: dict[int, SpdyStream] = {}
        self._opened: asyncio.Queue[SpdyStream] = asyncio.Queue(max_streams)
        self._changed = asyncio.Event()
        self._accepting = True
        self._leaving = self._sending = False

    async def accept(self) -> SpdyStream:
        """The next stream that the client opened; it was answered already."""
        return await self._opened.get()

    def accept_no_more(self) -> None:
        """Streams that are opened from now on are refused."""
        self._accepting = False

    # --- of the streams

    async def write(self, number: int, data: bytes) -> None:
        """Raises ConnectionResetError when the client does not want the stream any more."""
        rest = memoryview(data)
        while rest:
            try:
                room = self._protocol.sendable(number) if self._protocol.waiting < _OUTBOX else 0
            except KeyError:
                raise ConnectionResetError("the stream is closed") from None
            if room:
                self._protocol.send(number, bytes(rest[:room]))
                rest = rest[room:]
                self._change()
            else:
                await self._changed.wait()

    def end(self, number: int) -> None:
        self._protocol.end(number)
        self._forget_closed(number)
        self._change()

    def reset(self, number: int, status: ResetStatus) -> None:
        self._streams.pop(number, None)
        self._protocol.reset(number, status)
        self._change()

    def consumed(self, number: int, count: int) -> None:
        self._protocol.consumed(number, count)
        self._change()

    # --- of the connection

    async def receive(self) -> None:
        """Reads until the client's end. Raises ConnectionError, unless that is expected; SpdyError."""
        while data := await self._connection.read():
            for start in range(0, len(data), _SLICE):
                await self._understand(data[start : start + _SLICE])
                await asyncio.sleep(0)
        if not self._leaving:
            raise ConnectionResetError("the client is gone")

    async def _understand(self, data: bytes) -> None:
        try:
            for event in self._protocol.receive(data):
                await self._handle(event)
        except SpdyError:
            await self._say_why()
            raise
        finally:
            self._change()
        while self._protocol.waiting > _OUTBOX_OF_ALL:
            await self._changed.wait()

    async def transmit(self) -> None:
        """Writes what there is to write, for ever. Raises ConnectionError."""
        while True:
            changed = self._changed
            if data := self._protocol.take():
                self._sending = True
                await self._connection.write(data)
                self._sending = False
                self._change()
            else:
                await changed.wait()

    async def leave(self) -> None:
        """Returns when all is sent. What the client still says is read and dropped."""
        self._leaving, self._accepting = True, False
        for stream in self._streams.values():
            stream.discard()
        while self._protocol.waiting or self._sending:
            await self._changed.wait()

    async def _handle(self, event: Event) -> None:
        if isinstance(event, StreamOpened):
            self._open(event)
            return
        known = self._streams.get(event.stream)
        if known is None:
            return
        if not isinstance(event, DataReceived):
            del self._streams[event.stream]
            known.inbox.break_off()
            return
        if event.data:
            await deliver(known.inbox, event.data, self._nudge)
        if event.fin:
            known.inbox.end()
            self._forget_closed(event.stream)

    def _open(self, event: StreamOpened) -> None:
        stream = SpdyStream(self, event.stream, event.headers)
        if not self._accepting or self._opened.full():
            stream.reset(ResetStatus.REFUSED_STREAM)
            return
        self._protocol.reply(event.stream)
        self._streams[event.stream] = stream
        if event.fin:
            stream.inbox.end()
        self._opened.put_nowait(stream)

    def _forget_closed(self, number: int) -> None:
        if not self._protocol.is_open(number):
            self._streams.pop(number, None)

    async def _nudge(self) -> None:
        self._protocol.ping()
        self._change()

    async def _say_why(self) -> None:
        """A GOAWAY, to whoever still listens."""
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                await self._connection.write(self._protocol.take())

    def _change(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


@asynccontextmanager
async def spdy_session(connection: Connection, *, max_streams: int = MAX_STREAMS) -> AsyncIterator[SpdySession]:
    """Speaks SPDY on the connection until the block is left, and closes it then. When the client goes away, or breaks
    the protocol, the block is cancelled, and a group with ConnectionError or SpdyError is raised.

    The client is given some seconds to go first: what it still sends must be read, or TCP breaks the connection off,
    and with it what the client has not read yet."""
    session = SpdySession(connection, max_streams)
    try:
        async with asyncio.TaskGroup() as group:
            receiving = group.create_task(session.receive())
            transmitting = group.create_task(session.transmit())
            yield session
            await session.leave()
            transmitting.cancel()
            await asyncio.wait((receiving,), timeout=LINGER_SECONDS)
            receiving.cancel()
    finally:
        connection.close()
