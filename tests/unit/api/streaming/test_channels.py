"""Channels over a WebSocket."""

from __future__ import annotations

import asyncio
import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsrun.api.streaming.channels import CLOSE, ChannelError, channels, decode, encode
from nsrun.api.streaming.inbox import ROOM
from tests.unit.api.streaming.wsclient import FakeWebSocket

PROTOCOLS = [
    "",
    "channel.k8s.io",
    "base64.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "v5.channel.k8s.io",
]


@given(st.sampled_from(PROTOCOLS), st.integers(0, 4), st.binary(max_size=50))
def test_what_is_encoded_is_decoded(protocol: str, channel: int, data: bytes) -> None:
    message = encode(protocol, channel, data)
    assert isinstance(message, str) == ("base64" in protocol)
    assert decode(protocol, message) == (channel, data)


def test_the_forms_are_kuberneteses() -> None:
    assert encode("v4.channel.k8s.io", 1, b"hi") == b"\x01hi"
    assert encode("base64.channel.k8s.io", 1, b"hi") == "1" + base64.b64encode(b"hi").decode()
    assert decode("v4.channel.k8s.io", "\x00text") == (0, b"text")
    assert decode("", b"") is None


@pytest.mark.parametrize("message", ["0?", "0a", b"0\xff\xff\xff\xff"])
def test_what_is_no_base64(message: str | bytes) -> None:
    with pytest.raises(ChannelError, match="not base64"):
        decode("base64.channel.k8s.io", message)


async def test_each_channel_has_its_source_and_the_rest_is_dropped() -> None:
    socket = FakeWebSocket()
    async with channels(socket, {0, 4}) as session:
        socket.says(b"", b"\x00in", b"\x04{}", b"\x01no", b"\x07no", b"\xff\x00", b"\x00put")
        await socket.until(lambda: socket.unheard == 0)
        assert await session.sources[4].read() == b"{}"
        assert await session.sources[0].read() == b"input"  # v4 has no end of a channel
        await session.sink(1).write(b"out")
        session.sink(1).end()
    assert socket.sent == [b"\x01out"]
    assert socket.closed == 1000


async def test_v5_ends_channels() -> None:
    socket = FakeWebSocket("v5.channel.k8s.io")
    async with channels(socket, {0}) as session:
        socket.says(b"\x00in", bytes((CLOSE, 9)), bytes((CLOSE,)), bytes((CLOSE, 0, 0)), bytes((CLOSE, 0)))
        assert await session.sources[0].read() == b"in"
        assert await session.sources[0].read() == b""


async def test_a_channel_that_nobody_reads_stops_the_connection() -> None:
    socket = FakeWebSocket()
    async with channels(socket, {0}) as session:
        socket.says(*[b"\x00" + b"x" * (ROOM // 2)] * 100)
        for _ in range(100):
            await asyncio.sleep(0)
        assert socket.unheard == 98
        assert len(await session.sources[0].read()) == ROOM


async def test_a_client_that_is_held_up_is_sent_something_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nsrun.api.streaming.inbox.STALLED_SECONDS", 0.001)
    socket = FakeWebSocket()
    async with channels(socket, {0}) as session:
        await session.greet(1)
        socket.says(b"\x00" + b"x" * ROOM)
        await socket.until(lambda: len(socket.sent) > 3)
    assert set(socket.sent) == {b"\x01"}


async def test_a_client_that_goes_away_ends_everything() -> None:
    socket = FakeWebSocket()
    with pytest.raises(ExceptionGroup) as caught:
        async with channels(socket, {0}) as session:
            socket.goes()
            await session.sources[0].read()
    assert caught.group_contains(ConnectionResetError, match="the client is gone")


async def test_a_client_that_breaks_the_protocol_is_told() -> None:
    socket = FakeWebSocket("base64.channel.k8s.io")
    with pytest.raises(ExceptionGroup) as caught:
        async with channels(socket, {0}) as session:
            socket.says("0?")
            await session.sources[0].read()
    assert caught.group_contains(ChannelError)
    assert socket.closed == 1002
