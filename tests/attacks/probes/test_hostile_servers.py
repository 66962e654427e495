"""Servers inside pods that want to harm whoever probes them: each costs no more than its own probe."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
import tracemalloc
from collections.abc import Awaitable, Iterator

import pytest

from nsrun.errors import NetworkError
from nsrun.model.probe import Grpc, HttpGet, Scheme, TcpSocket
from nsrun.model.running import CheckResult
from nsrun.probes.service import NetworkProbes
from tests.system.probes.servers import Behaviour, Server, answering, serving
from tests.waiting import PATIENCE, idle

HERE = "127.0.0.1"
MUCH = 4 << 20
"""Bytes that no probe may hold on to."""


@pytest.fixture
async def probes() -> NetworkProbes:
    return NetworkProbes()


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    """No test of this file may have needed much at any time. The server is in this process too."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MUCH
    finally:
        tracemalloc.stop()


def endless(first: bytes, more: bytes) -> Behaviour:
    """Sends the one, and then the other as fast as it is taken."""

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        burst = more * -(-65536 // len(more))  # byte by byte it would keep the loop, which both sides share, for itself
        while True:
            writer.write(burst)
            await writer.drain()

    return send


async def asked(probes: NetworkProbes, behaviour: Behaviour, *, timeout: float = 5.0) -> CheckResult:
    async with serving(behaviour) as server:
        return await probes.check(HttpGet(port=server.port), HERE, timeout)


@pytest.mark.parametrize(
    ("first", "more"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-More: " + b"y" * 8000 + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\nX-More: ", b"y" * 8000),
        (b"", b"y" * 8000),
        (b"HTTP/1.1 200 OK\r\nX: y\r\n", b" folded" * 1000 + b"\r\n"),
    ],
)
async def test_endless_headers(probes: NetworkProbes, first: bytes, more: bytes) -> None:
    result = await asked(probes, endless(first, more))
    assert not result.success
    assert "server response headers exceeded 65536 bytes" in result.message


@pytest.mark.parametrize(
    "more", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 X\r\nY: " + b"z" * 9000 + b"\r\n\r\n"]
)
async def test_endless_preliminaries(probes: NetworkProbes, more: bytes) -> None:
    result = await asked(probes, endless(b"", more), timeout=5 * PATIENCE)
    assert "too many 1xx informational responses" in result.message


@pytest.mark.parametrize("framing", [b"", b"Content-Length: 999999999999\r\n"])
async def test_endless_bodies(probes: NetworkProbes, framing: bytes) -> None:
    result = await asked(probes, endless(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n", b"z" * 65536))
    assert result == CheckResult(success=True, message="z" * 10240)


async def test_endless_chunks(probes: NetworkProbes) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    result = await asked(probes, endless(head, b"1\r\nz\r\n" * 1000))
    assert result == CheckResult(success=True, message="z" * 10240)
    with pytest.raises(NetworkError, match="header line too long"):
        await asked(probes, endless(head + b"1;", b"extension" * 1000))


async def test_drop_by_drop(probes: NetworkProbes) -> None:
    """Byte by byte, as fast as it goes: the deadline holds, and the processor is not the server's."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0)

    reads = 0
    receive = asyncio.get_running_loop().sock_recv

    async def counting(*arguments: object) -> bytes:
        nonlocal reads
        reads += 1
        return await receive(*arguments)  # type: ignore[arg-type]

    asyncio.get_running_loop().sock_recv = counting  # type: ignore[method-assign, assignment]
    began = time.monotonic()
    result = await asked(probes, drip, timeout=1.0)
    assert not result.success
    assert time.monotonic() - began < 30.0 * PATIENCE  # not for ever
    assert reads < 150


async def test_redirects_without_end_or_measure(probes: NetworkProbes) -> None:
    async with answering(b"HTTP/1.1 302 X\r\nLocation: /" + b"a" * 25000 + b"\r\n\r\n") as server:
        result = await probes.check(HttpGet(port=server.port), HERE, 5)
        assert server.connections == 10
    assert not result.success
    assert len(result.message) < 3000


async def test_redirects_take_no_more_time_than_one_probe_has(probes: NetworkProbes) -> None:
    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await idle(0.3)
        writer.write(b"HTTP/1.1 302 X\r\nLocation: /again\r\n\r\n")

    began = time.monotonic()
    result = await asked(probes, slowly, timeout=0.5)
    assert "deadline exceeded" in result.message
    assert time.monotonic() - began < 2.5 * PATIENCE


@pytest.mark.parametrize("host", ["169.254.169.254", "localhost", "127.1", "0x7f000001", "127.0.0.1.example.org", ""])
async def test_redirects_reach_nobody_else(probes: NetworkProbes, host: str) -> None:
    """A pod must not have the node ask others in its name."""
    async with answering(b"HTTP/1.1 200 OK\r\n\r\n") as other:
        location = f"HTTP/1.1 302 X\r\nLocation: http://{host}:{other.port}/\r\n\r\n".encode()
        async with answering(location) as server:
            result = await probes.check(HttpGet(port=server.port), HERE, 5)
        assert other.connections == 0
    assert result.warning or not result.success


async def test_what_a_terminal_would_act_on_is_not_passed_on(probes: NetworkProbes) -> None:
    for answer in (b"\x1b]0;owned\x07\x1b[2J", b"HTTP/1.1 \x1b[2J x\r\n\r\n", b"HTTP/1.1 200 OK\r\n\x1b[2J\r\n\r\n"):
        async with answering(answer + b"\r\n\r\n") as server:
            result = await probes.check(HttpGet(port=server.port), HERE, 5)
        assert not result.success
        assert result.message.isprintable()


async def test_random_bytes(probes: NetworkProbes) -> None:
    for size in (1, 100, 10000, 100000):
        data = os.urandom(size)
        async with answering(data) as server:
            assert not (await probes.check(HttpGet(port=server.port), HERE, 5)).success
            assert not (await probes.check(Grpc(port=server.port), HERE, 5)).success

        async def speak(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes = b"\x16\x03\x03\x40\x00" + data
        ) -> None:
            writer.write(data)
            await reader.read()

        async with serving(speak) as server:
            action = HttpGet(port=server.port, scheme=Scheme.HTTPS)
            assert not (await probes.check(action, HERE, 1)).success


# --- gRPC: frames of HTTP/2, by hand


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


SETTINGS = frame(4, 0, 0, b"")
PING = frame(6, 0, 0, b"12345678")
RESPONSE = frame(1, 4, 1, b"\x88")  # :status 200


@pytest.mark.parametrize(
    ("first", "more"),
    [
        (SETTINGS, PING * 500),
        (SETTINGS, SETTINGS * 500),
        (SETTINGS, frame(1, 0, 1, b"\x88") + frame(9, 0, 1, b"\x40\x01a" + b"\x7f\x21" + b"b" * 160) * 50),
        (SETTINGS + RESPONSE, frame(0, 0, 1, b"z" * 16000)),
        (SETTINGS, frame(4, 0, 0, b"\x00\x03\x00\x00\x00\x01" * 100)),
        (SETTINGS, frame(0xF0, 0, 0, b"unknown" * 100)),
        (b"", frame(0xF0, 0, 0, b"")),
    ],
)
async def test_floods_of_frames(probes: NetworkProbes, first: bytes, more: bytes) -> None:
    async with serving(endless(first, more)) as server:
        began = time.monotonic()
        result = await probes.check(Grpc(port=server.port), HERE, 2)
        assert time.monotonic() - began < 30.0 * PATIENCE  # not for ever
    assert not result.success
    assert len(result.message) < 3000


async def test_headers_that_unpack_to_much(probes: NetworkProbes) -> None:
    """HPACK: one big header into the table, and then many references to it, a byte each."""
    big = b"\x40\x01a" + b"\x7f\xa1\x1e" + b"b" * 4000
    bomb = frame(1, 4, 1, b"\x88" + big + b"\xbe" * 12000)

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(SETTINGS + bomb)
        await reader.read()

    async with serving(send) as server:
        result = await probes.check(Grpc(port=server.port), HERE, 2)
    assert not result.success


async def test_whoever_does_not_read(probes: NetworkProbes) -> None:
    """It sends pings and reads none of the answers: they do not pile up."""

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        await endless(SETTINGS, PING * 500)(reader, writer)

    async with serving(deaf) as server:
        assert not (await probes.check(Grpc(port=server.port), HERE, 1)).success


# --- below the protocols


@pytest.fixture
def deaf_peer() -> Iterator[str]:
    """The address of a namespace whose owner lets no packet in that ends a connection, as a pod with CAP_NET_ADMIN
    can. Port 80 is open."""
    name, address = f"deaf{os.getpid()}", "198.51.100.2"
    rules = "add table ip t; add chain ip t in { type filter hook input priority 0; }; "
    rules += "add rule ip t in tcp flags & fin == fin drop"
    commands = [
        f"ip netns add {name}",
        f"ip link add deaf0 type veth peer name eth0 netns {name}",
        "ip addr add 198.51.100.1/24 dev deaf0",
        "ip link set deaf0 up",
        f"ip -n {name} addr add {address}/24 dev eth0",
        f"ip -n {name} link set eth0 up",
        f"ip -n {name} link set lo up",
    ]
    for command in commands:
        subprocess.run(command.split(), check=True)
    subprocess.run(["ip", "netns", "exec", name, "nft", rules], check=True)
    script = (
        "import socket; s = socket.create_server(('', 80)); print(flush=True); k = []\nwhile 1: k.append(s.accept())"
    )
    server = subprocess.Popen(
        ["ip", "netns", "exec", name, "python3", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert server.stdout is not None
        server.stdout.readline()
        yield address
    finally:
        server.kill()
        server.wait()
        subprocess.run(["ip", "link", "del", "deaf0"], check=True)
        subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.mark.root
async def test_a_peer_that_lets_no_connection_end_holds_nobody_up(probes: NetworkProbes, deaf_peer: str) -> None:
    """With SO_LINGER close(2) would wait for the peer, on the event loop."""
    loop = asyncio.get_running_loop()
    longest, last = 0.0, loop.time()

    async def watch() -> None:
        nonlocal longest, last
        while True:
            await idle(0.005)
            longest, last = max(longest, loop.time() - last), loop.time()

    watching = asyncio.create_task(watch())
    await idle(0.02)
    longest = 0.0
    asks: list[Awaitable[CheckResult]] = [probes.check(TcpSocket(port=80), deaf_peer, 5) for _ in range(5)]
    assert all(result.success for result in await asyncio.gather(*asks))
    assert not (await probes.check(HttpGet(port=80), deaf_peer, 0.2)).success
    await idle(0.02)
    watching.cancel()
    assert longest < 0.5


async def test_cancelling_leaves_no_connection(probes: NetworkProbes) -> None:
    over = asyncio.Event()
    begun = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begun.set()
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.read() == b""
        over.set()

    server: Server
    async with serving(silent) as server:
        task = asyncio.ensure_future(probes.check(HttpGet(port=server.port), HERE, 60))
        await begun.wait()
        task.cancel()
        async with asyncio.timeout(5 * PATIENCE):
            await over.wait()
