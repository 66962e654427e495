"""Port forwarding as clients speak it: over SPDY, over SPDY in a WebSocket, and over a WebSocket's channels."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nsrun.api.connections import Connection, WebSocket
from nsrun.api.streaming.channels import ChannelError, Channels, channels
from nsrun.api.streaming.portforward import Forwarder, parse_port
from nsrun.api.streaming.spdy_headers import SpdyError
from nsrun.api.streaming.spdy_session import SpdyStream, spdy_session

__all__ = [
    "MAX_PORTS",
    "SPDY_PROTOCOL",
    "TUNNEL_PROTOCOL",
    "WEBSOCKET_PROTOCOLS",
    "over_spdy",
    "over_tunnel",
    "over_websocket",
]

log = logging.getLogger(__name__)

SPDY_PROTOCOL = "portforward.k8s.io"
TUNNEL_PROTOCOL = "SPDY/3.1+portforward.k8s.io"
WEBSOCKET_PROTOCOLS = ("v4.channel.k8s.io", "v4.base64.channel.k8s.io", "")
PAIR_SECONDS = 30.0
MAX_PORTS = 127  # two channels each, and 255 is none


@dataclass(frozen=True, slots=True, kw_only=True)
class _Half:
    """What a stream says of itself. ``request``: the same for both streams of a connection to a port."""

    request: str
    kind: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    """A stream whose other half has not come. ``expiry`` gives it up."""

    half: _Half
    stream: SpdyStream
    expiry: asyncio.Task[None]


def _half_of(headers: Mapping[str, str], number: int) -> _Half:
    """Clients of old send no request's number, and open the error stream first. Raises ValueError."""
    kind = headers.get("streamtype", "")
    if kind not in ("error", "data"):
        raise ValueError(f'invalid stream type "{kind}"')
    port = parse_port(headers.get("port", ""))
    request = headers.get("requestid", "") or f"{number if kind == 'error' else number - 2}"
    return _Half(request=request, kind=kind, port=port)


class _Switchboard:
    """Puts pairs of streams together, and a connection behind each."""

    def __init__(self, forwarder: Forwarder, group: asyncio.TaskGroup, *, seconds: float) -> None:
        self._forwarder = forwarder
        self._group = group
        self._seconds = seconds
        self._waiting: dict[str, _Waiting] = {}  # by request

    def plug(self, stream: SpdyStream) -> None:
        """What is no stream of a pair is reset."""
        try:
            half = _half_of(stream.headers, stream.number)
        except ValueError as error:
            log.debug("A stream is no port's: %s", error)
            stream.reset()
            return
        first = self._waiting.get(half.request)
        if first is None:
            expiry = self._group.create_task(self._expire(half, stream))
            self._waiting[half.request] = _Waiting(half=half, stream=stream, expiry=expiry)
        elif first.half.kind == half.kind:
            stream.reset()
        else:
            del self._waiting[half.request]
            first.expiry.cancel()
            errors, data = (stream, first.stream) if half.kind == "error" else (first.stream, stream)
            port = half.port if half.kind == "data" else first.half.port
            self._group.create_task(_forward(self._forwarder, port, errors, data))

    async def _expire(self, half: _Half, stream: SpdyStream) -> None:
        await asyncio.sleep(self._seconds)
        del self._waiting[half.request]
        if half.kind == "error":
            await _say(stream, f"(request={half.request}) timed out waiting for streams")
        else:
            stream.reset()


async def _forward(forwarder: Forwarder, port: int, errors: SpdyStream, data: SpdyStream) -> None:
    errors.discard()
    failure = None
    try:
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(data.broken_off())
            failure = await forwarder.forward(port, data, data, until_both_end=True)
            watching.cancel()
    except* ConnectionError:
        data.reset()
    if failure is not None:
        await _say(errors, failure)
        data.reset()
    errors.end()


async def _say(errors: SpdyStream, text: str) -> None:
    with contextlib.suppress(ConnectionError):
        await errors.write(text.encode())
    errors.end()


async def over_spdy(connection: Connection, forwarder: Forwarder, *, pair_seconds: float = PAIR_SECONDS) -> None:
    """For every connection a stream for errors and one for data, which name the port. Returns when the client goes."""
    try:
        async with spdy_session(connection) as spdy, asyncio.TaskGroup() as group:
            switchboard = _Switchboard(forwarder, group, seconds=pair_seconds)
            while True:
                switchboard.plug(await spdy.accept())
    except* (ConnectionError, SpdyError) as gone:
        log.debug("Port forwarding ended: %s", gone.exceptions)


class _Tunnel:
    """A WebSocket as a Connection: its messages are bytes, and where one ends means nothing."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    async def read(self) -> bytes:
        while (message := await self._websocket.receive()) is not None:
            if message:
                return message.encode() if isinstance(message, str) else message
        return b""

    async def write(self, data: bytes) -> None:
        await self._websocket.send(data)

    def close(self) -> None:
        """Whoever made the WebSocket closes it."""


async def over_tunnel(websocket: WebSocket, forwarder: Forwarder) -> None:
    """The same, with SPDY's bytes in binary messages."""
    await over_spdy(_Tunnel(websocket), forwarder)


async def over_websocket(websocket: WebSocket, forwarder: Forwarder, ports: Sequence[int]) -> None:
    """One connection to each port, at once: channel 2n for its data, 2n + 1 for its errors, each of which begins with
    the port. Returns when all have ended."""
    try:
        async with channels(websocket, range(0, 2 * len(ports), 2)) as session:
            for number in range(2 * len(ports)):
                await session.sink(number).write(ports[number // 2].to_bytes(2, "little"))
            async with asyncio.TaskGroup() as group:
                for index, port in enumerate(ports):
                    group.create_task(_forward_channel(session, forwarder, port, 2 * index))
    except* (ConnectionError, ChannelError) as gone:
        log.debug("Port forwarding ended: %s", gone.exceptions)


async def _forward_channel(session: Channels, forwarder: Forwarder, port: int, channel: int) -> None:
    source, data = session.sources[channel], session.sink(channel)
    failure = await forwarder.forward(port, source, data, until_both_end=False)
    source.discard()
    if failure is not None:
        await session.sink(channel + 1).write(failure.encode())
