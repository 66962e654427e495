"""The client's half of SPDY, for tests: frames by hand, so that a server also meets what no client of good will sends.

``keeps_windows``: it grants the server what it has read, and sends no more than it was granted, as the specification
wants it; kubectl's does neither.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from nsrun.api.streaming.spdy import WINDOW
from nsrun.api.streaming.spdy_frames import (
    Data,
    Frame,
    FrameReader,
    GoAway,
    Ping,
    RstStream,
    SynReply,
    SynStream,
    WindowUpdate,
    encode,
)
from nsrun.api.streaming.spdy_headers import HeaderReader, HeaderWriter
from tests.waiting import PATIENCE

__all__ = ["ClientStream", "Pipe", "SpdyClient", "Wire", "connected"]


class Pipe(Protocol):
    """The client's end of a connection."""

    async def read(self) -> bytes: ...

    async def write(self, data: bytes) -> None: ...


class Wire:
    """One end of a connection that is only imagined: what is written to one is read from its ``other``. A writer waits
    while more than ``room`` bytes are on their way."""

    def __init__(self, room: int = 1 << 16) -> None:
        self.other: Wire | None = None
        self.closed = False
        self.room = room
        self._coming = bytearray()
        self._ended = False
        self._changed = asyncio.Event()

    async def read(self) -> bytes:
        while not self._coming and not self._ended:
            await self._wait()
        data = bytes(self._coming)
        self._coming.clear()
        self._change()
        return data

    async def write(self, data: bytes) -> None:
        there = self.other
        assert there is not None
        if there.closed:
            raise ConnectionResetError("nobody is there")
        there._coming += data
        there._change()
        while len(there._coming) > there.room and not there.closed:
            await there._wait()
        if there.closed:
            raise ConnectionResetError("nobody is there")

    def close(self) -> None:
        self.closed = self._ended = True
        self._change()
        assert self.other is not None
        self.other._ended = True
        self.other._change()

    async def _wait(self) -> None:
        changed = self._changed
        await changed.wait()

    def _change(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def connected(room: int = 1 << 16) -> tuple[Wire, Wire]:
    """Two ends."""
    one, two = Wire(room), Wire(room)
    one.other, two.other = two, one
    return one, two


@dataclass
class ClientStream:
    """What has come on it, and how it stands."""

    number: int
    data: bytearray = field(default_factory=bytearray)
    replied: bool = False
    ended: bool = False
    reset: int | None = None
    window: int = WINDOW


class SpdyClient:
    """Run ``listen`` beside what is done with it."""

    def __init__(self, pipe: Pipe, *, keeps_windows: bool = False) -> None:
        self.streams: dict[int, ClientStream] = {}
        self.pings: list[int] = []
        self.going: GoAway | None = None
        self.over = False
        self._window = WINDOW
        self._pipe = pipe
        self._keeps_windows = keeps_windows
        self._frames = FrameReader()
        self._blocks = HeaderReader()
        self._writer = HeaderWriter()
        self._changed = asyncio.Event()

    async def open(self, headers: Mapping[str, str]) -> ClientStream:
        """The next stream; it may not be answered yet."""
        stream = ClientStream(number=1 + 2 * len(self.streams))
        self.streams[stream.number] = stream
        await self.send(SynStream(stream=stream.number, block=self._writer.write(headers)))
        return stream

    async def opened(self, headers: Mapping[str, str]) -> ClientStream:
        """The same, once it is answered."""
        stream = await self.open(headers)
        await self.until(lambda: stream.replied or stream.reset is not None)
        return stream

    async def send(self, *frames: Frame) -> None:
        for frame in frames:
            await self._pipe.write(encode(frame))

    async def say(self, stream: ClientStream, data: bytes, *, fin: bool = False) -> None:
        """Data, and the end when ``fin``."""
        for start in range(0, len(data), 16384):
            piece = data[start : start + 16384]
            if self._keeps_windows:
                await self.until(lambda piece=piece: min(stream.window, self._window) >= len(piece))
                stream.window -= len(piece)
                self._window -= len(piece)
            await self.send(Data(stream=stream.number, data=piece))
        if fin:
            await self.send(Data(stream=stream.number, data=b"", fin=True))

    async def until(self, condition: object) -> None:
        """Waits for it to be true."""
        assert callable(condition)
        async with asyncio.timeout(20 * PATIENCE):
            while not condition():
                changed = self._changed
                await changed.wait()

    async def listen(self) -> None:
        """Takes what comes, until the end."""
        while data := await self._pipe.read():
            for frame in self._frames.feed(data):
                await self._take(frame)
            self._change()
        self.over = True
        self._change()

    async def _take(self, frame: Frame) -> None:
        match frame:
            case SynReply(stream=number, block=block):
                self._blocks.read(block)
                self.streams[number].replied = True
            case Data(stream=number, data=data, fin=fin):
                self.streams[number].data += data
                self.streams[number].ended |= fin
                if self._keeps_windows and data:
                    await self.send(WindowUpdate(stream=number, delta=len(data)))
                    await self.send(WindowUpdate(stream=0, delta=len(data)))
            case RstStream(stream=number, status=status):
                self.streams[number].reset = status
            case WindowUpdate(stream=0, delta=delta):
                self._window += delta
            case WindowUpdate(stream=number, delta=delta):
                self.streams[number].window += delta
            case Ping(number=number):
                self.pings.append(number)
            case GoAway():
                self.going = frame
            case _:
                raise AssertionError(f"a server says no {frame}")

    def _change(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
