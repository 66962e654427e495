"""Connections that become something else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest

from nsrun.api.access import Access
from nsrun.api.connections import Connection, Upgrade, WebSocket, WebSocketUpgrade
from nsrun.api.limits import Limits
from nsrun.api.requests import Request
from nsrun.api.responses import Answer, text
from nsrun.api.routes import Route
from tests.system.api.conftest import Served, Serving, head_of
from tests.waiting import eventually_async

HEAD = b"POST /exec HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
SECONDS = 20.0


def route(answer: Callable[[Request], Answer], *, path: str = "/exec", method: str = "POST") -> Route:
    async def handler(request: Request) -> Answer:
        return answer(request)

    return Route(method=method, path=path, access=Access.READ, handler=handler)


def upgrade(run: Callable[[Connection], Awaitable[None]]) -> Route:
    return route(lambda _request: Upgrade(protocol="SPDY/3.1", run=run, headers={"X-Stream-Protocol-Version": "v4"}))


async def echo(connection: Connection) -> None:
    while data := await connection.read():
        await connection.write(data)


@contextlib.asynccontextmanager
async def dial(served: Served) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def test_bytes_right_behind_the_head_are_the_new_protocols(serving: Serving) -> None:
    async with serving(upgrade(echo)) as served, dial(served) as (reader, writer):
        writer.write(HEAD + b"\r\n" + b"GET / HTTP/1.1\r\n\r\n")
        status, headers = head_of(await reader.readuntil(b"\r\n\r\n"))
        assert (status, headers["upgrade"], headers["connection"]) == (101, "SPDY/3.1", "Upgrade")
        assert headers["x-stream-protocol-version"] == "v4"
        assert "content-length" not in headers
        assert "transfer-encoding" not in headers
        assert await reader.readexactly(18) == b"GET / HTTP/1.1\r\n\r\n"
        writer.write(b"more")
        assert await reader.readexactly(4) == b"more"


async def test_a_head_may_come_in_pieces(serving: Serving) -> None:
    async with serving(upgrade(echo)) as served, dial(served) as (reader, writer):
        for byte in HEAD + b"\r\nabc":
            writer.write(bytes((byte,)))
            await writer.drain()
        assert head_of(await reader.readuntil(b"\r\n\r\n"))[0] == 101
        assert await reader.readexactly(3) == b"abc"


async def test_the_end_of_the_clients_bytes_is_not_the_end_of_ours(serving: Serving) -> None:
    async def answer_at_the_end(connection: Connection) -> None:
        received = bytearray()
        while data := await connection.read():
            received += data
        assert await connection.read() == b""
        await connection.write(bytes(received[::-1]))

    async with serving(upgrade(answer_at_the_end)) as served, dial(served) as (reader, writer):
        writer.write(HEAD + b"\r\nabc")
        writer.write_eof()
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.read() == b"cba"


async def test_a_client_that_does_not_read_stops_the_writer(serving: Serving) -> None:
    written = 0

    async def pour(connection: Connection) -> None:
        nonlocal written
        with contextlib.suppress(ConnectionError):
            while True:
                await connection.write(b"x" * 65536)
                written += 65536

    async with serving(upgrade(pour)) as served, dial(served) as (reader, writer):
        writer.write(HEAD + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        before = -1
        while before != written:  # two looks a hundred turns of the loop apart
            before = written
            for _ in range(100):
                await asyncio.sleep(0)
        assert written < 32 << 20
        await reader.readexactly(before + 65536)


async def test_a_handler_that_does_not_read_stops_the_client(serving: Serving) -> None:
    go_on = asyncio.Event()
    received = 0

    async def wait_then_read(connection: Connection) -> None:
        nonlocal received
        await go_on.wait()
        while data := await connection.read():
            received += len(data)

    whole = 64 << 20
    async with serving(upgrade(wait_then_read)) as served, dial(served) as (reader, writer):
        writer.write(HEAD + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"x" * whole)
        assert writer.transport.get_write_buffer_size() > whole // 2
        for _ in range(1000):
            await asyncio.sleep(0)
        assert writer.transport.get_write_buffer_size() > whole // 2, "nobody reads, and it was taken all the same"
        go_on.set()
        writer.write_eof()
        await eventually_async(lambda: received == whole)


async def test_a_client_that_goes_away_is_an_end_and_then_an_error(serving: Serving) -> None:
    seen: list[object] = []

    async def until_gone(connection: Connection) -> None:
        seen.append(await connection.read())
        try:
            while True:
                await connection.write(b"x" * 65536)
        except ConnectionError as error:
            seen.append(error)

    async with serving(upgrade(until_gone)) as served:
        async with dial(served) as (reader, writer):
            writer.write(HEAD + b"\r\n")
            await reader.readuntil(b"\r\n\r\n")
            writer.transport.abort()
        await eventually_async(lambda: len(seen) == 2)
        assert seen[0] == b""


async def test_what_was_written_arrives_before_the_end(serving: Serving) -> None:
    async def say_and_close(connection: Connection) -> None:
        await connection.write(b"x" * 1_000_000)
        connection.close()

    async with serving(upgrade(say_and_close)) as served, dial(served) as (reader, writer):
        writer.write(HEAD + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        assert len(await reader.read()) == 1_000_000


@pytest.mark.parametrize(
    "sent",
    [
        HEAD + b"Content-Length: 3\r\n\r\nabc",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /plain HTTP/1.1\r\nHost: localhost\r\n\r\n" + HEAD + b"\r\n",
    ],
    ids=["with a body", "with a body of unknown length", "as the second request"],
)
async def test_an_upgrade_that_could_be_misread_is_refused(serving: Serving, sent: bytes) -> None:
    plain = route(lambda _request: text("there it is"), path="/plain", method="GET")
    async with serving(upgrade(echo), plain) as served, dial(served) as (reader, writer):
        writer.write(sent)
        if sent.startswith(b"GET"):
            head_of(await reader.readuntil(b"there it is"))
        assert head_of(await reader.readuntil(b"\r\n\r\n"))[0] == 400
        assert b"HTTP/1.1" not in await reader.read(), "nothing behind it is a request"


async def test_an_upgrade_that_no_handler_wants_ends_the_connection(serving: Serving) -> None:
    async with serving(route(lambda _request: text("no\n", status=500))) as served, dial(served) as (reader, writer):
        writer.write(HEAD + b"\r\nGET /exec HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answered = await reader.read()
        assert answered.count(b"HTTP/1.1 ") == 1
        assert head_of(answered)[0] == 500


async def test_nothing_moves_for_too_long(serving: Serving) -> None:
    ended = asyncio.Event()

    async def wait(connection: Connection) -> None:
        try:
            await connection.read()
        finally:
            ended.set()

    async with serving(upgrade(wait), limits=Limits(stream=0.05)) as served, dial(served) as (reader, writer):
        writer.write(HEAD + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        async with asyncio.timeout(SECONDS):
            await ended.wait()


async def test_the_servers_end_cuts_streams_off(serving: Serving) -> None:
    cut = asyncio.Event()

    async def wait(connection: Connection) -> None:
        try:
            await connection.read()
        except asyncio.CancelledError:
            cut.set()
            raise

    async def handler(_request: Request) -> Answer:
        return Upgrade(protocol="SPDY/3.1", run=wait)

    control = Route(method="POST", path="/exec", access=Access.CONTROL, handler=handler)
    async with serving(control) as served:
        reader, writer = await asyncio.open_unix_connection(served.socket_path)
        writer.write(HEAD + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
    assert cut.is_set()
    writer.close()


async def chat(socket: WebSocket) -> None:
    await socket.send(f"speaking {socket.protocol}")
    while (message := await socket.receive()) is not None:
        await socket.send(message)


@contextlib.asynccontextmanager
async def web_socket(served: Served, *protocols: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    url = f"http://127.0.0.1:{served.port}/exec"
    async with aiohttp.ClientSession() as session, session.ws_connect(url, protocols=protocols) as socket:
        yield socket


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(("v9", "v5", "v4"), "v5"), (("v4", "v5"), "v4"), ((), "")],
    ids=["the client's first that is ours", "in the client's order", "none is fine too"],
)
async def test_a_web_socket(serving: Serving, offered: tuple[str, ...], chosen: str) -> None:
    ours = route(lambda _request: WebSocketUpgrade(protocols=("v4", "v5", ""), run=chat), method="GET")
    async with serving(ours) as served, web_socket(served, *offered) as socket:
        assert await socket.receive_str() == f"speaking {chosen}"
        await socket.send_bytes(b"\x00bytes")
        assert await socket.receive_bytes() == b"\x00bytes"
        await socket.send_str("0text")
        assert await socket.receive_str() == "0text"


@pytest.mark.parametrize("offered", [("v9",), ()], ids=["another", "none"])
async def test_a_web_socket_without_a_common_protocol(serving: Serving, offered: tuple[str, ...]) -> None:
    ours = route(lambda _request: WebSocketUpgrade(protocols=("v5",), run=chat), method="GET")
    async with serving(ours) as served:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with web_socket(served, *offered):
                pass
        assert refused.value.status == 403


async def test_no_handshake_is_no_web_socket(serving: Serving) -> None:
    ours = route(lambda _request: WebSocketUpgrade(protocols=("",), run=chat), method="GET")
    async with serving(ours) as served, dial(served) as (reader, writer):
        writer.write(b"GET /exec HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert head_of(await reader.readuntil(b"\r\n\r\n"))[0] == 400


async def test_a_web_socket_whose_client_goes_away_ends(serving: Serving) -> None:
    heard: list[object] = []

    async def listen(socket: WebSocket) -> None:
        heard.append(await socket.receive())
        heard.append(await socket.receive())
        try:
            await socket.send(b"x")
        except ConnectionError as error:
            heard.append(error)

    ours = route(lambda _request: WebSocketUpgrade(protocols=("",), run=listen), method="GET")
    async with serving(ours) as served:
        async with web_socket(served) as socket:
            assert socket._response.connection is not None
            assert socket._response.connection.transport is not None
            socket._response.connection.transport.abort()
        await eventually_async(lambda: len(heard) == 3)
        assert heard[:2] == [None, None]
