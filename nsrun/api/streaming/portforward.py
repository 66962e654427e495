"""Ports of pods, carried over a client's connection: what goes between a stream and a socket, and how it fails."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from nsrun.api.streaming.inbox import Sink, Source
from nsrun.errors import NetworkError

__all__ = ["Connect", "Forwarder", "parse_port"]

CHUNK = 64 << 10

Connect = Callable[[int], Awaitable[socket.socket]]
"""A port to a connection, which does not block. Raises NetworkError."""


def parse_port(text: str) -> int:
    """A decimal number from 1 to 65535. Raises ValueError in the kubelet's words."""
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise ValueError(f'unable to parse "{text}" as a port')
    if int(text) < 1:
        raise ValueError(f'port "{text}" must be > 0')
    return int(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarder:
    """Carries connections to the ports of one pod. ``pod`` and ``uid``: for the words of errors."""

    connect: Connect
    pod: str
    uid: str

    async def forward(self, port: int, source: Source, sink: Sink, *, until_both_end: bool) -> str | None:
        """Connects and carries, each way until its end; where one way's end cannot be told to the client, that is the
        end of both (``until_both_end`` false). Returns why it failed, in the kubelet's words. Raises a group with
        ConnectionError when the client broke it off."""
        try:
            opened = await self.connect(port)
        except NetworkError as error:
            return self._words(port, str(error))
        with opened:
            try:
                await _carry(opened, source, sink, until_both_end=until_both_end)
            except* _PeerError as group:
                reason = str(group.exceptions[0])
            else:
                return None
        return self._words(port, reason)

    def _words(self, port: int, reason: str) -> str:
        return f"error forwarding port {port} to pod {self.pod}, uid {self.uid}: {reason}"


class _PeerError(Exception):
    """The program in the pod broke the connection off."""


async def _carry(opened: socket.socket, source: Source, sink: Sink, *, until_both_end: bool) -> None:
    async with asyncio.TaskGroup() as group:
        inwards = group.create_task(_copy_in(opened, source))
        await _copy_out(opened, sink)
        if not until_both_end:
            inwards.cancel()


async def _copy_out(opened: socket.socket, sink: Sink) -> None:
    loop = asyncio.get_running_loop()
    while data := await _of_peer(loop.sock_recv(opened, CHUNK)):
        await sink.write(data)
    sink.end()


async def _copy_in(opened: socket.socket, source: Source) -> None:
    loop = asyncio.get_running_loop()
    while data := await source.read():
        try:
            await loop.sock_sendall(opened, data)
        except OSError:
            break  # the program hears no more; what it still says is read, and tells whether it is gone
    with contextlib.suppress(OSError):
        opened.shutdown(socket.SHUT_WR)
    source.discard()


async def _of_peer(received: Awaitable[bytes]) -> bytes:
    try:
        return await received
    except OSError as error:
        raise _PeerError(f"read: {(error.strerror or str(error)).lower()}") from error
