"""Ports of pods over what clients speak, with pods whose programs are imagined."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from nsrun.api.streaming.portforward import Forwarder, parse_port
from nsrun.api.streaming.portforward_streams import TUNNEL_PROTOCOL, over_spdy, over_tunnel, over_websocket
from nsrun.api.streaming.spdy_frames import RstStream
from nsrun.errors import NetworkError
from tests.unit.api.streaming.spdyclient import ClientStream, SpdyClient, connected
from tests.unit.api.streaming.wsclient import FakeWebSocket
from tests.waiting import PATIENCE

Program = Callable[[socket.socket], Awaitable[None]]
REFUSED = "error forwarding port 81 to pod web_default, uid u1: cannot connect: connection refused"


async def echo(connection: socket.socket) -> None:
    """Gives back what comes, and at its end says so."""
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(connection, 65536):
        await loop.sock_sendall(connection, data)
    await loop.sock_sendall(connection, b"the end")


async def greet(connection: socket.socket) -> None:
    """Says something and goes."""
    await asyncio.get_running_loop().sock_sendall(connection, b"hello")


class Pod:
    """Programs by port."""

    def __init__(self, programs: dict[int, Program]) -> None:
        self._programs = programs
        self.connections: list[socket.socket] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def connect(self, port: int) -> socket.socket:
        if port not in self._programs:
            raise NetworkError("cannot connect: connection refused")
        here, there = socket.socketpair()
        for end in (here, there):
            end.setblocking(False)
        self.connections.append(here)
        self._tasks.append(asyncio.get_running_loop().create_task(self._serve(port, there)))
        return here

    async def _serve(self, port: int, connection: socket.socket) -> None:
        with connection:
            try:
                await self._programs[port](connection)
            except OSError:
                return

    def forwarder(self) -> Forwarder:
        return Forwarder(connect=self.connect, pod="web_default", uid="u1")

    @property
    def all_closed(self) -> bool:
        return all(connection.fileno() < 0 for connection in self.connections)

    async def gone(self) -> None:
        await asyncio.gather(*self._tasks)


@pytest.mark.parametrize("text", ["1", "80", "65535", "00080"])
def test_ports(text: str) -> None:
    assert parse_port(text) == int(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0", 'port "0" must be > 0'),
        ("65536", 'unable to parse "65536" as a port'),
        ("-1", "unable to parse"),
        ("", "unable to parse"),
        ("http", "unable to parse"),
        ("٣", "unable to parse"),
        ("9" * 5000, "unable to parse"),
    ],
)
def test_what_is_no_port(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_port(text)


# --- over SPDY


@asynccontextmanager
async def client_of(pod: Pod, **settings: float) -> AsyncIterator[SpdyClient]:
    """A client, which goes when the block is left."""
    here, there = connected()
    client = SpdyClient(here)
    async with asyncio.timeout(20 * PATIENCE), asyncio.TaskGroup() as group:
        group.create_task(over_spdy(there, pod.forwarder(), **settings))
        group.create_task(client.listen())
        yield client
        here.close()
    await pod.gone()


async def connection(client: SpdyClient, port: int, request: int) -> tuple[ClientStream, ClientStream]:
    """As kubectl does it: errors first, and nothing is said there."""
    headers = {"port": str(port), "requestid": str(request)}
    error = await client.opened({"streamtype": "error", **headers})
    await client.say(error, b"", fin=True)
    return error, await client.opened({"streamtype": "data", **headers})


async def test_a_connection_with_both_its_ends() -> None:
    pod, data = Pod({80: echo}), os.urandom(3 << 20)
    async with client_of(pod) as client:
        error, stream = await connection(client, 80, 0)
        await client.say(stream, data, fin=True)
        await client.until(lambda: stream.ended and error.ended)
        assert stream.data == data + b"the end"
        assert error.data == b""
        assert pod.all_closed


async def test_many_connections_at_once_to_several_ports() -> None:
    pod = Pod({80: echo, 81: greet})
    async with client_of(pod) as client:
        pairs = [await connection(client, 80 + n % 2, n) for n in range(100)]
        for n, (_, stream) in enumerate(pairs):
            await client.say(stream, b"%d" % n, fin=True)
        await client.until(lambda: all(error.ended and stream.ended for error, stream in pairs))
        said = [bytes(stream.data) for _, stream in pairs]
        assert said == [b"hello" if n % 2 else b"%dthe end" % n for n in range(100)]


async def test_a_port_where_nobody_listens_is_told_and_the_next_connection_works() -> None:
    pod = Pod({80: echo})
    async with client_of(pod) as client:
        error, stream = await connection(client, 81, 0)
        await client.until(lambda: error.ended and stream.reset is not None)
        assert error.data.decode() == REFUSED
        _, stream = await connection(client, 80, 1)
        await client.say(stream, b"x", fin=True)
        await client.until(lambda: stream.ended)


async def test_a_program_that_breaks_the_connection_off_is_told() -> None:
    async def rude(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    class Tcp(Pod):
        async def connect(self, port: int) -> socket.socket:
            with socket.create_server(("127.0.0.1", 0)) as server:
                here = socket.create_connection(server.getsockname())
                there, _ = server.accept()
            here.setblocking(False)
            await rude(there)
            there.close()
            return here

    async with client_of(Tcp({})) as client:
        error, stream = await connection(client, 80, 0)
        await client.until(lambda: error.ended and stream.reset is not None)
        assert error.data.decode().endswith(f"read: {os.strerror(errno.ECONNRESET).lower()}")


async def test_a_client_that_resets_its_stream_closes_the_connection() -> None:
    pod = Pod({80: echo})
    async with client_of(pod) as client:
        error, stream = await connection(client, 80, 0)
        await client.say(stream, b"x")
        await client.until(lambda: stream.data == b"x")
        await client.send(RstStream(stream=stream.number, status=5))
        await client.until(lambda: error.ended)
        assert pod.all_closed


async def test_also_when_it_had_ended_what_it_says_and_the_program_goes_on() -> None:
    async def silent(connection: socket.socket) -> None:
        while await asyncio.get_running_loop().sock_recv(connection, 100):
            pass
        listening.set()
        await asyncio.get_running_loop().create_future()

    listening = asyncio.Event()
    pod = Pod({80: silent})
    async with asyncio.timeout(20 * PATIENCE):
        here, there = connected()
        client = SpdyClient(here)
        async with asyncio.TaskGroup() as group:
            group.create_task(over_spdy(there, pod.forwarder()))
            group.create_task(client.listen())
            error, stream = await connection(client, 80, 0)
            await client.say(stream, b"x", fin=True)
            await listening.wait()
            await client.send(RstStream(stream=stream.number, status=5))
            await client.until(lambda: error.ended)
            assert pod.all_closed
            here.close()


async def test_a_client_that_goes_away_closes_every_connection() -> None:
    pod = Pod({80: echo})
    async with client_of(pod) as client:
        for n in range(5):
            _, stream = await connection(client, 80, n)
            await client.say(stream, b"x")
            await client.until(lambda stream=stream: stream.data)
    assert pod.all_closed


async def test_old_clients_number_no_requests() -> None:
    async with client_of(Pod({80: echo})) as client:
        await client.opened({"streamtype": "error", "port": "80"})
        stream = await client.opened({"streamtype": "data", "port": "80"})
        await client.say(stream, b"x", fin=True)
        await client.until(lambda: stream.ended)
        assert stream.data == b"xthe end"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"streamtype": "data"},
        {"streamtype": "stdin", "port": "80"},
        {"streamtype": "data", "port": "0"},
        {"streamtype": "error", "port": "http"},
    ],
)
async def test_streams_of_no_port_are_reset(headers: dict[str, str]) -> None:
    async with client_of(Pod({})) as client:
        stream = await client.open(headers)
        await client.until(lambda: stream.reset is not None)


async def test_a_second_stream_of_a_kind_is_reset() -> None:
    async with client_of(Pod({80: echo})) as client:
        headers = {"streamtype": "data", "port": "80", "requestid": "0"}
        first, second = await client.opened(headers), await client.open(headers)
        await client.until(lambda: second.reset is not None)
        assert first.reset is None


async def test_streams_whose_other_half_never_comes_are_given_up() -> None:
    async with client_of(Pod({80: echo}), pair_seconds=0.01) as client:
        error = await client.opened({"streamtype": "error", "port": "80", "requestid": "0"})
        data = await client.opened({"streamtype": "data", "port": "80", "requestid": "1"})
        await client.until(lambda: error.ended and data.reset is not None)
        assert error.data == b"(request=0) timed out waiting for streams"


# --- over a WebSocket


class Ends:
    """The client's end of a tunnel."""

    def __init__(self, tunnel: FakeWebSocket) -> None:
        self._tunnel = tunnel
        self._read = 0

    async def read(self) -> bytes:
        await self._tunnel.until(lambda: len(self._tunnel.sent) > self._read or self._tunnel.closed is not None)
        new = self._tunnel.sent[self._read :]
        self._read += len(new)
        return b"".join(message for message in new if isinstance(message, bytes))

    async def write(self, data: bytes) -> None:
        for start in range(0, len(data), 7):
            self._tunnel.says(data[start : start + 7], b"")


async def test_spdy_in_the_messages_of_a_websocket() -> None:
    tunnel, pod = FakeWebSocket(TUNNEL_PROTOCOL), Pod({80: echo})
    client = SpdyClient(Ends(tunnel))
    async with asyncio.timeout(20 * PATIENCE), asyncio.TaskGroup() as group:
        serving = group.create_task(over_tunnel(tunnel, pod.forwarder()))
        listening = group.create_task(client.listen())
        _, stream = await connection(client, 80, 0)
        await client.say(stream, b"through", fin=True)
        await client.until(lambda: stream.ended)
        assert stream.data == b"throughthe end"
        tunnel.goes()
        await serving
        await tunnel.close()
        await listening


async def test_the_channels_of_two_ports() -> None:
    channels, pod = FakeWebSocket(), Pod({80: echo, 256: greet})
    async with asyncio.timeout(20 * PATIENCE), asyncio.TaskGroup() as group:
        group.create_task(over_websocket(channels, pod.forwarder(), (80, 81, 256)))
        channels.says(b"\x00through")
        await channels.until(lambda: channels.said(0) == b"\x50\0through")
        await channels.until(lambda: channels.said(3) == b"\x51\0" + REFUSED.encode())
        await channels.until(lambda: channels.said(4) == b"\0\1hello")
        assert channels.sent[:6] == [b"\0\x50\0", b"\1\x50\0", b"\2\x51\0", b"\3\x51\0", b"\4\0\1", b"\5\0\1"]
        assert channels.closed is None
        channels.goes()
    assert pod.all_closed


async def test_when_every_port_has_ended_so_has_the_websocket() -> None:
    channels = FakeWebSocket("v4.base64.channel.k8s.io")
    async with asyncio.timeout(20 * PATIENCE):
        await over_websocket(channels, Pod({80: greet}).forwarder(), (80,))
    assert channels.sent == ["0UAA=", "1UAA=", "0aGVsbG8="]
    assert channels.closed == 1000
