"""What one client cannot take from the others."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nsrun.api.access import Access
from nsrun.api.limits import Limits
from nsrun.api.requests import Request
from nsrun.api.responses import Answer, Streamed, text
from nsrun.api.routes import Route
from nsrun.api.server import ServerSettings, serve
from nsrun.errors import ApiError, RuntimeFailure
from tests.system.api.conftest import Served, Serving, head_of
from tests.waiting import eventually_async

SECONDS = 20.0


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


@contextlib.asynccontextmanager
async def dial(served: Served) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_unix_connection(served.socket_path)
    try:
        yield reader, writer
    finally:
        writer.close()


class Endless:
    """A stream that says something, and then nothing until it is cut off."""

    def __init__(self) -> None:
        self.open = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        self.open += 1
        try:
            yield b"first\n"
            await asyncio.get_running_loop().create_future()
        finally:
            self.open -= 1

    def route(self) -> Route:
        async def handler(_request: Request) -> Answer:
            return Streamed(status=200, content_type="text/plain", chunks=self.chunks())

        return Route(method="GET", path="/stream", access=Access.LOGS, handler=handler)


async def plain_handler(_request: Request) -> Answer:
    return text("plain\n")


PLAIN = Route(method="GET", path="/plain", access=Access.READ, handler=plain_handler)


async def test_a_stream_is_sent_as_it_comes_and_ends_with_its_reader(serving: Serving) -> None:
    endless = Endless()
    async with serving(endless.route()) as served, asyncio.timeout(SECONDS):
        async with dial(served) as (reader, writer):
            writer.write(get("/stream"))
            status, headers = head_of(await reader.readuntil(b"\r\n\r\n"))
            assert (status, headers["transfer-encoding"]) == (200, "chunked")
            assert await reader.readexactly(11) == b"6\r\nfirst\n\r\n"
            assert endless.open == 1
        await eventually_async(lambda: endless.open == 0)


async def test_streams_have_their_limit(serving: Serving) -> None:
    endless = Endless()
    limits = Limits(streams=2)
    async with (
        serving(endless.route(), PLAIN, limits=limits) as served,
        asyncio.timeout(SECONDS),
        contextlib.AsyncExitStack() as stack,
    ):
        held = [await stack.enter_async_context(dial(served)) for _ in range(2)]
        for reader, writer in held:
            writer.write(get("/stream"))
            await reader.readuntil(b"first\n")
        reader, writer = await stack.enter_async_context(dial(served))
        writer.write(get("/stream"))
        status, headers = head_of(await reader.readuntil(b"\r\n\r\n"))
        assert (status, headers["retry-after"]) == (429, "1")
        writer.write(get("/plain"))
        await reader.readuntil(b"plain\n")
        held[0][1].close()
        await eventually_async(lambda: endless.open == 1)
        writer.write(get("/stream"))
        await reader.readuntil(b"first\n")


async def test_connections_have_their_limit(serving: Serving) -> None:
    async with (
        serving(PLAIN, limits=Limits(connections=3)) as served,
        asyncio.timeout(SECONDS),
        contextlib.AsyncExitStack() as stack,
    ):
        held = [await stack.enter_async_context(dial(served)) for _ in range(3)]
        for reader, writer in held:
            writer.write(get("/plain"))
            await reader.readuntil(b"plain\n")
        async with dial(served) as (reader, _):
            status, headers = head_of(await reader.read())
            assert (status, headers["retry-after"]) == (503, "5")
        reader, writer = held[0]
        writer.write(b"GET /plain HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        await reader.read()
        async with dial(served) as (reader, writer):
            writer.write(get("/plain"))
            assert head_of(await reader.readuntil(b"\r\n\r\n"))[0] == 200


async def test_a_stream_in_which_nothing_moves_is_cut(serving: Serving) -> None:
    endless = Endless()
    async with serving(endless.route(), limits=Limits(stream=0.05)) as served, asyncio.timeout(SECONDS):
        async with dial(served) as (reader, writer):
            writer.write(get("/stream"))
            with contextlib.suppress(ConnectionError):
                assert not (await reader.read()).endswith(b"0\r\n\r\n"), "its end is not made up"
        assert endless.open == 0


async def test_an_answer_that_nobody_takes_is_not_kept(serving: Serving) -> None:
    async def large(_request: Request) -> Answer:
        return text("x" * (64 << 20))

    route = Route(method="GET", path="/large", access=Access.READ, handler=large)
    async with serving(route, limits=Limits(request=0.1)) as served, asyncio.timeout(SECONDS):
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, str(served.socket_path))
            await loop.sock_sendall(client, get("/large"))
            hung_up = asyncio.Event()
            poller = select.epoll()
            poller.register(client, select.EPOLLRDHUP)  # which does not read
            loop.add_reader(poller.fileno(), hung_up.set)
            await hung_up.wait()
            loop.remove_reader(poller.fileno())
            poller.close()


async def test_who_is_idle_is_let_go(serving: Serving) -> None:
    async with (
        serving(PLAIN, limits=Limits(idle=0.1)) as served,
        asyncio.timeout(SECONDS),
        dial(served) as (reader, writer),
    ):
        writer.write(get("/plain"))
        assert (await reader.read()).endswith(b"plain\n")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeFailure("cannot do it: no"), b"Internal Error: cannot do it: no\n"),
        (ValueError("secret"), b"Internal Error\n"),
    ],
)
async def test_a_handler_that_fails(serving: Serving, error: Exception, said: bytes) -> None:
    async def fail(_request: Request) -> Answer:
        raise error

    route = Route(method="GET", path="/fail", access=Access.READ, handler=fail)
    async with serving(route) as served, asyncio.timeout(SECONDS), dial(served) as (reader, writer):
        writer.write(get("/fail"))
        received = await reader.readuntil(said)
        assert head_of(received)[0] == 500
        assert b"secret" not in received


async def test_a_stream_that_fails_is_torn(serving: Serving) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"begun\n"
        raise OSError(5, "broken disk")

    async def handler(_request: Request) -> Answer:
        return Streamed(status=200, content_type="text/plain", chunks=chunks())

    route = Route(method="GET", path="/torn", access=Access.READ, handler=handler)
    async with serving(route) as served, asyncio.timeout(SECONDS), dial(served) as (reader, writer):
        writer.write(get("/torn"))
        received = await reader.read()
        assert b"begun\n" in received
        assert not received.endswith(b"0\r\n\r\n")


async def test_a_client_that_asks_whether_it_may_send(serving: Serving) -> None:
    async def echo(request: Request) -> Answer:
        return text(request.body.decode())

    route = Route(method="POST", path="/echo", access=Access.READ, handler=echo)
    async with serving(route) as served, asyncio.timeout(SECONDS), dial(served) as (reader, writer):
        writer.write(b"POST /echo HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        assert head_of(await reader.readuntil(b"\r\n\r\n"))[0] == 100
        writer.write(b"body")
        received = await reader.readuntil(b"\r\n\r\nbody")
        assert head_of(received)[0] == 200
        assert head_of(received)[1]["server"] == "nsrun"


@pytest.mark.parametrize("address", ["203.0.113.1", "nowhere"])
async def test_where_it_cannot_listen(tmp_path: Path, address: str) -> None:
    settings = ServerSettings(socket_path=tmp_path / "s", address=address, read_only_port=1)
    with pytest.raises(ApiError, match=f"cannot listen on {address}:1") as told:
        async with serve((), settings):
            pass
    assert "--read-only-port" in (told.value.hint or "")
    assert not settings.socket_path.exists()


async def test_requests_in_one_go_are_not_piled_up(serving: Serving) -> None:
    asked = asyncio.Event()

    async def never(_request: Request) -> Answer:
        asked.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    route = Route(method="GET", path="/never", access=Access.READ, handler=never)
    async with serving(route) as served, asyncio.timeout(SECONDS), dial(served) as (_, writer):
        whole = get("/never") * (1 << 19)
        writer.write(whole)
        await asked.wait()
        before = -1
        while before != (left := writer.transport.get_write_buffer_size()):
            before = left
            for _ in range(200):
                await asyncio.sleep(0)
        assert left > len(whole) // 2, "they were all taken"
        writer.transport.abort()
