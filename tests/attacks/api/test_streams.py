"""Clients of ill will who may open streams, against a real node: what they send and do not read costs no memory, what
they leave behind is taken away, and others are served meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from nsrun.api.limits import Limits
from nsrun.api.streaming.spdy_frames import Data, Ping, RstStream, SynStream, encode
from nsrun.api.streaming.spdy_headers import DICTIONARY, HeaderWriter
from tests.e2e.cluster import Cluster, cluster
from tests.e2e.conftest import store
from tests.unit.api.streaming.spdyclient import SpdyClient
from tests.waiting import PATIENCE, eventually_async

__all__ = ["cluster", "store"]

pytestmark = [pytest.mark.root, pytest.mark.network, pytest.mark.slow, pytest.mark.xdist_group("kubectl")]

MEBIBYTE = 1 << 20
V4, PORTS = "v4.channel.k8s.io", "portforward.k8s.io"


class Dialled:
    """A connection to the secure port, upgraded to SPDY."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self) -> bytes:
        try:
            return await self._reader.read(1 << 16)
        except ConnectionError:
            return b""

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def abort(self) -> None:
        self._writer.transport.abort()

    async def is_closed(self) -> bool:
        """Reads until the end."""
        async with asyncio.timeout(20 * PATIENCE):
            while await self.read():
                pass
        return True


async def dial(cluster: Cluster, target: str, protocol: str, *, expected: bytes = b"HTTP/1.1 101 ") -> Dialled:
    reader, writer = await cluster.kubelet.connect()
    writer.write(
        f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {cluster.kubelet.token}\r\n"
        f"Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: {protocol}\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(expected), head
    return Dialled(reader, writer)


@contextlib.asynccontextmanager
async def dialled(cluster: Cluster, target: str, protocol: str = V4) -> AsyncIterator[Dialled]:
    connection = await dial(cluster, target, protocol)
    try:
        yield connection
    finally:
        connection.abort()


def exec_of(command: str, *streams: str) -> str:
    words = "&".join(f"command={word}" for word in command.split())
    return f"/exec/default/web/main?{words}&" + "&".join(f"{stream}=1" for stream in streams)


def runs(word: str) -> Callable[[], bool]:
    def is_there() -> bool:
        for process in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if process.name.isdigit() and word.encode() in (process / "cmdline").read_bytes().split(b"\0"):
                    return True
        return False

    return is_there


async def opened(connection: Dialled, *kinds: str) -> SpdyClient:
    """A client that has opened these streams, and has heard nothing yet."""
    client = SpdyClient(connection)
    for kind in kinds:
        await client.open({"streamtype": kind})
    return client


@contextlib.contextmanager
def frugal(cluster: Cluster, most: int = 16 * MEBIBYTE) -> Iterator[None]:
    """The daemon needs no more memory than so much, and answers afterwards."""
    cluster.forget_peak()
    before = cluster.peak()
    yield
    assert cluster.peak() - before < most
    assert cluster.nsrun.pods()


def bomb() -> bytes:
    """16 MiB of zeros in a header, in a frame of less than 32 KiB."""
    compressor = zlib.compressobj(zdict=DICTIONARY)
    plain = struct.pack("!II", 1, 1) + b"a" + struct.pack("!I", 16 * MEBIBYTE) + b"\0" * (16 * MEBIBYTE)
    return compressor.compress(plain) + compressor.flush(zlib.Z_SYNC_FLUSH)


@pytest.mark.parametrize(
    "said",
    [
        encode(SynStream(stream=1, block=bomb()[: (16 << 10) - 10])),
        encode(SynStream(stream=1, block=b"no zlib")),
        encode(SynStream(stream=2, block=HeaderWriter().write({}))),
        struct.pack("!II", 0x80030001, 0xFFFFFF),
        b"\xff" * 5000,
    ],
    ids=["bomb", "garbage", "even", "huge", "ones"],
)
async def test_what_is_no_spdy_ends_the_connection(cluster: Cluster, said: bytes) -> None:
    for target, protocol in ((exec_of("true", "output"), V4), ("/portForward/default/web", PORTS)):
        with frugal(cluster):
            async with dialled(cluster, target, protocol) as connection:
                await connection.write(said)
                assert await connection.is_closed()


async def test_output_that_nobody_reads_is_not_kept(cluster: Cluster) -> None:
    with frugal(cluster, 40 * MEBIBYTE):
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(10):
                target = exec_of("dd if=/dev/zero bs=65536", "output")
                connection = await stack.enter_async_context(dialled(cluster, target))
                await opened(connection, "error", "stdout")
            async with dialled(cluster, exec_of("echo served", "output")) as other:
                client = await opened(other, "error", "stdout")
                async with asyncio.TaskGroup() as group:
                    listening = group.create_task(client.listen())
                    await client.until(lambda: client.streams[3].ended)
                    listening.cancel()
                assert client.streams[3].data == b"served\n"
    await eventually_async(lambda: not runs("bs=65536")())


async def test_input_that_nobody_reads_is_not_kept_and_its_command_ends_with_its_client(cluster: Cluster) -> None:
    """The node does not read the connection then, and learns all the same that nobody is there."""
    seconds = str(700_000 + os.getpid())
    with frugal(cluster):
        async with dialled(cluster, exec_of(f"sleep {seconds}", "input")) as connection:
            client = await opened(connection, "error", "stdin")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2):
                    while True:
                        await client.send(Data(stream=3, data=b"x" * 65536))
            assert runs(seconds)()
    await eventually_async(lambda: not runs(seconds)(), seconds=60)


async def test_pings_whose_answers_nobody_reads_are_not_kept(cluster: Cluster) -> None:
    with frugal(cluster):
        async with dialled(cluster, "/portForward/default/web", PORTS) as connection:
            flood = encode(Ping(number=1)) * 5000
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2):
                    for _ in range(1000):
                        await connection.write(flood)


async def test_streams_that_are_opened_and_reset_leave_nothing(cluster: Cluster) -> None:
    assert cluster.nsrun.process is not None
    descriptors = Path(f"/proc/{cluster.nsrun.process.pid}/fd")
    before = len(list(descriptors.iterdir()))
    with frugal(cluster, 24 * MEBIBYTE):
        async with dialled(cluster, "/portForward/default/web", PORTS) as connection:
            client = SpdyClient(connection)
            async with asyncio.TaskGroup() as group:
                group.create_task(client.listen())
                for number in range(5000):
                    request = str(number)
                    for kind in ("error", "data"):
                        stream = await client.open({"streamtype": kind, "port": "9", "requestid": request})
                        await client.send(RstStream(stream=stream.number, status=5))
                last = await client.opened({"streamtype": "error", "port": "9", "requestid": "last"})
                assert last.replied or last.reset is not None
                connection.abort()
    await eventually_async(lambda: len(list(descriptors.iterdir())) <= before + 2)


async def test_too_many_streams_are_told_to_come_again(cluster: Cluster) -> None:
    """Over nsrun's own socket: hundreds of handshakes of TLS would only take longer."""
    head = (
        f"POST /portForward/default/web HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
        f"X-Stream-Protocol-Version: {PORTS}\r\n\r\n"
    ).encode()

    async def answer(stack: contextlib.AsyncExitStack) -> bytes:
        reader, writer = await asyncio.open_unix_connection(str(cluster.nsrun.socket))
        stack.callback(writer.transport.abort)
        writer.write(head)
        return await reader.readuntil(b"\r\n\r\n")

    async with contextlib.AsyncExitStack() as stack:
        for _ in range(Limits().streams):
            assert (await answer(stack)).startswith(b"HTTP/1.1 101 ")
        told = await answer(stack)
        assert told.startswith(b"HTTP/1.1 429 ")
        assert b"\r\nRetry-After: " in told
        assert cluster.nsrun.pods()
    async with asyncio.timeout(20 * PATIENCE), contextlib.AsyncExitStack() as stack:
        while not (await answer(stack)).startswith(b"HTTP/1.1 101 "):
            pass
