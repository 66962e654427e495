"""Kubernetes' channels over a WebSocket: each message is the number of a channel and then its bytes.

The protocols: ``channel.k8s.io`` and none at all (binary messages), ``base64.channel.k8s.io`` (text: a digit, and
base64), the same two with ``v4.`` before them, and ``v5.channel.k8s.io``, in which channel 255 says which channel its
sender has ended.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager

from nsrun.api.connections import WebSocket
from nsrun.api.streaming.inbox import Inbox, deliver
from nsrun.errors import NsrunError

__all__ = ["CLOSE", "Channel", "ChannelError", "Channels", "channels", "decode", "encode"]

CLOSE = 255
_HAS_CLOSE = frozenset({"v5.channel.k8s.io"})
_BASE64 = "base64.channel.k8s.io"


class ChannelError(NsrunError):
    """A message that is none of the protocol's."""


def encode(protocol: str, channel: int, data: bytes) -> bytes | str:
    """A message."""
    if protocol.endswith(_BASE64):
        return chr(ord("0") + channel) + base64.b64encode(data).decode()
    return bytes((channel,)) + data


def decode(protocol: str, message: bytes | str) -> tuple[int, bytes] | None:
    """Channel and bytes; None for an empty message, which means nothing. Raises ChannelError."""
    raw = message.encode() if isinstance(message, str) else message
    if not raw:
        return None
    if not protocol.endswith(_BASE64):
        return raw[0], raw[1:]
    try:
        return raw[0] - ord("0"), base64.b64decode(raw[1:], validate=True)
    except binascii.Error as error:
        raise ChannelError(f"cannot take a message: it is not base64: {error}") from error


class Channel:
    """A Sink: one channel towards the client. Nothing says on the wire that it ended."""

    def __init__(self, websocket: WebSocket, number: int) -> None:
        self._websocket = websocket
        self._number = number

    async def write(self, data: bytes) -> None:
        await self._websocket.send(encode(self._websocket.protocol, self._number, data))

    def end(self) -> None:
        pass


class Channels:
    """One WebSocket. Made by ``channels``. ``sources``: what comes, by channel; what comes on others is dropped."""

    def __init__(self, websocket: WebSocket, heard: Collection[int]) -> None:
        self._websocket = websocket
        self._inboxes = {number: Inbox() for number in heard}
        self._nudges = Channel(websocket, 0)

    @property
    def protocol(self) -> str:
        return self._websocket.protocol

    @property
    def sources(self) -> Mapping[int, Inbox]:
        return self._inboxes

    def sink(self, number: int) -> Channel:
        """What goes to the client on a channel."""
        return Channel(self._websocket, number)

    async def greet(self, number: int) -> None:
        """An empty message: the connection stands."""
        self._nudges = self.sink(number)
        await self._nudges.write(b"")

    async def receive(self) -> None:
        """Reads until the client's end. Raises ConnectionError, ChannelError."""
        while (message := await self._websocket.receive()) is not None:
            decoded = decode(self.protocol, message)
            if decoded is None:
                continue
            number, data = decoded
            if number == CLOSE and self.protocol in _HAS_CLOSE:
                self._end(data)
            elif number in self._inboxes:
                await deliver(self._inboxes[number], data, self._nudge)
        raise ConnectionResetError("the client is gone")

    def _end(self, named: bytes) -> None:
        inbox = self._inboxes.get(named[0]) if len(named) == 1 else None
        if inbox is not None:
            inbox.end()

    async def _nudge(self) -> None:
        await self._nudges.write(b"")


@asynccontextmanager
async def channels(websocket: WebSocket, heard: Collection[int]) -> AsyncIterator[Channels]:
    """Speaks on the WebSocket until the block is left, and closes it then. ``heard``: the channels on which the client
    may say something. When the client goes away, or breaks the protocol, the block is cancelled, and a group with
    ConnectionError or ChannelError is raised."""
    code = 1000
    session = Channels(websocket, heard)
    try:
        async with asyncio.TaskGroup() as group:
            receiving = group.create_task(session.receive())
            yield session
            receiving.cancel()
    except* ChannelError:
        code = 1002
        raise
    finally:
        await websocket.close(code)
