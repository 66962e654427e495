"""exec and attach: sessions whose far end is imagined, clients whose streams are."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import struct
import termios
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsrun.api.streaming.remotecommand import Sizes
from nsrun.api.streaming.remotecommand_status import Ended, Failed, status_text
from nsrun.api.streaming.remotecommand_streams import over_spdy, over_websocket
from nsrun.api.streaming.spdy_frames import RstStream
from nsrun.errors import RuntimeFailure
from nsrun.supervisor.ports import Session, SessionRequest, TerminalSize
from tests.contracts.fakesession import FakeSession
from tests.contracts.virtualclock import VirtualClock
from tests.unit.api.streaming.spdyclient import ClientStream, SpdyClient, connected
from tests.unit.api.streaming.wsclient import FakeWebSocket
from tests.waiting import PATIENCE

V4 = "v4.channel.k8s.io"
SUCCESS = {"metadata": {}, "status": "Success"}


class Container:
    """Opens sessions, and keeps them for the test to look at."""

    def __init__(self, *, attaching: bool = False) -> None:
        self.sessions: list[FakeSession] = []
        self.attaching = attaching
        self.refuses = False

    async def open_session(self, request: SessionRequest) -> Session:
        if self.refuses:
            raise RuntimeFailure("cannot start it: no such file")
        text = request.command[-1] if request.command is not None else "cat"
        terminal = request.terminal
        self.sessions.append(FakeSession(text, request, VirtualClock(), ends=not self.attaching, terminal=terminal))
        return self.sessions[-1]


def command(text: str, **streams: bool) -> SessionRequest:
    return replace(SessionRequest(command=("sh", "-c", text)), **streams)  # type: ignore[arg-type]


# --- sizes


@pytest.mark.parametrize(
    ("said", "sizes"),
    [
        (b'{"Width":120,"Height":40}', [(120, 40)]),
        (b'{"width":1,"HEIGHT":2} \n{"Width":3,"Height":4}\n', [(1, 2), (3, 4)]),
        (b'{"Width":65535,"Height":0}', [(65535, 0)]),
        (b'{"Width":1', []),
        (b"", []),
    ],
)
def test_sizes(said: bytes, sizes: list[tuple[int, int]]) -> None:
    wanted = [TerminalSize(columns=columns, rows=rows) for columns, rows in sizes]
    assert Sizes().feed(said) == wanted
    in_pieces = Sizes()
    assert [size for byte in said for size in in_pieces.feed(bytes((byte,)))] == wanted


@pytest.mark.parametrize(
    "said",
    [
        b"[]",
        b"1 ",
        b'{"Width":1}',
        b'{"Width":"1","Height":2}',
        b'{"Width":-1,"Height":2}',
        b'{"Width":65536,"Height":2}',
        b"[" * 100_000,
        b'{"Width":' + b" " * 1000,
        b"?" * 300,
    ],
)
def test_what_is_no_size(said: bytes) -> None:
    with pytest.raises(ValueError):
        Sizes().feed(said)


@given(st.binary(max_size=400))
def test_whatever_is_said_of_a_size_is_one_or_none(said: bytes) -> None:
    try:
        Sizes().feed(said)
    except ValueError:
        pass


# --- how it ended


def test_the_status_of_each_protocol() -> None:
    ended = Ended(code=3, command=("sh", "-c", "exit 3"))
    failed = Failed(message="cannot start it", attaching=False)
    for protocol in (V4, "v4.base64.channel.k8s.io", "v5.channel.k8s.io"):
        assert json.loads(status_text(protocol, Ended(code=0, command=("true",)))) == SUCCESS
        assert json.loads(status_text(protocol, ended)) == {
            "metadata": {},
            "status": "Failure",
            "message": "command terminated with non-zero exit code: "
            "error executing command [sh -c exit 3], exit code 3",
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": "3"}]},
        }
        status = json.loads(status_text(protocol, failed))
        assert (status["reason"], status["code"]) == ("InternalError", 500)
        assert status["message"] == "Internal error occurred: error executing command in container: cannot start it"
    for protocol in ("v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io", "base64.channel.k8s.io", ""):
        assert status_text(protocol, Ended(code=0, command=("true",))) == ""
        assert status_text(protocol, ended).endswith("exit code 3")
    assert json.loads(status_text(V4, Ended(code=137, command=None))) == SUCCESS
    assert "error attaching to container: x" in status_text("", Failed(message="x", attaching=True))


# --- over WebSockets


async def over(socket: FakeWebSocket, container: Container, request: SessionRequest) -> None:
    async with asyncio.timeout(20 * PATIENCE):
        await over_websocket(socket, container.open_session, request)


async def test_a_command_over_a_websocket() -> None:
    socket, container = FakeWebSocket(), Container()
    await over(socket, container, command("echo out; exit 3"))
    assert socket.sent[0] == b"\x01"
    assert socket.said(1) == b"out\n"
    assert json.loads(socket.said(3))["details"]["causes"][0]["message"] == "3"
    assert socket.closed == 1000
    assert container.sessions[0].closed


@pytest.mark.parametrize(
    ("streams", "first"),
    [({}, b"\x01"), ({"stdout": False}, b"\x02"), ({"stdout": False, "stderr": False, "stdin": True}, b"\x03")],
)
async def test_the_greeting_is_on_the_lowest_channel(streams: dict[str, bool], first: bytes) -> None:
    socket = FakeWebSocket("v5.channel.k8s.io")
    await over(socket, Container(), command("exit 0", **streams))
    assert socket.sent[0] == first


async def test_input_ends_with_its_channel() -> None:
    socket = FakeWebSocket("v5.channel.k8s.io")
    data = os.urandom(1 << 20)
    for start in range(0, len(data), 30000):
        socket.says(b"\x00" + data[start : start + 30000])
    socket.says(b"\xff\x00")
    await over(socket, Container(), command("cat", stdin=True))
    assert socket.said(1) == data
    assert json.loads(socket.said(3)) == SUCCESS


async def test_base64_and_old_protocols() -> None:
    socket = FakeWebSocket("base64.channel.k8s.io")
    await over(socket, Container(), command("echo x >&2; exit 0"))
    assert socket.sent == ["1", "2eAo="]


async def test_a_client_that_goes_away_kills_the_command() -> None:
    socket, container = FakeWebSocket(), Container()
    async with asyncio.TaskGroup() as group:
        group.create_task(over(socket, container, command("echo begun; sleep 1000")))
        await socket.until(lambda: socket.said(1) == b"begun\n")
        socket.goes()
    assert container.sessions[0].closed


async def test_what_cannot_be_started_is_told() -> None:
    socket, container = FakeWebSocket(), Container()
    container.refuses = True
    await over(socket, container, command("true"))
    assert "cannot start it: no such file" in json.loads(socket.said(3))["message"]


async def test_what_nobody_knows_the_end_of_is_told() -> None:
    socket, container = FakeWebSocket(), Container()
    async with asyncio.TaskGroup() as group:
        group.create_task(over(socket, container, command("echo begun; sleep 1000")))
        await socket.until(lambda: socket.said(1) == b"begun\n")
        container.sessions[0].lose()
    assert "the pod's shim is gone" in json.loads(socket.said(3))["message"]


async def test_a_client_that_takes_nothing_stops_the_command() -> None:
    """Nothing but what the pipe and one message hold is on its way."""
    socket, container = FakeWebSocket("v5.channel.k8s.io", room=3), Container()
    socket.says(*[b"\x00" + b"x" * 60000] * 40, b"\xff\x00")
    async with asyncio.TaskGroup() as group:
        group.create_task(over(socket, container, command("cat", stdin=True)))
        await socket.until(lambda: len(socket.sent) == 3)
        for _ in range(1000):
            await asyncio.sleep(0)
        assert socket.unheard > 20
        for _ in range(1000):
            socket.take()
    assert len(socket.said(1)) == 40 * 60000


async def test_attaching_without_input_leaves_the_container_alone() -> None:
    socket, container = FakeWebSocket(), Container(attaching=True)
    request = SessionRequest(command=None)
    async with asyncio.TaskGroup() as group:
        group.create_task(over(socket, container, request))
        await socket.until(lambda: container.sessions)
        container.sessions[0].end(137)
    assert json.loads(socket.said(3)) == SUCCESS


async def test_what_is_said_to_a_container_that_does_not_listen_is_dropped() -> None:
    class Deaf(Container):
        async def open_session(self, request: SessionRequest) -> Session:
            return await super().open_session(replace(request, stdin=False))

    socket, container = FakeWebSocket(), Deaf(attaching=True)
    socket.says(*[b"\x00" + b"x" * 60000] * 10)
    async with asyncio.TaskGroup() as group:
        group.create_task(over(socket, container, SessionRequest(command=None, stdin=True)))
        await socket.until(lambda: socket.unheard == 0)
        socket.goes()
    assert container.sessions[0].closed


# --- over SPDY

Run = Callable[[], Awaitable[None]]


@asynccontextmanager
async def client_of(
    container: Container, request: SessionRequest, protocol: str = V4
) -> AsyncIterator[tuple[SpdyClient, Run]]:
    """A client, and what makes it go as kubectl goes."""
    here, there = connected()
    client = SpdyClient(here)
    async with asyncio.timeout(20 * PATIENCE), asyncio.TaskGroup() as group:
        serving = group.create_task(over_spdy(there, protocol, container.open_session, request))
        group.create_task(client.listen())

        async def go() -> None:
            here.close()
            await serving

        yield client, go


async def streams(client: SpdyClient, *kinds: str) -> list[ClientStream]:
    return [await client.opened({"streamtype": kind}) for kind in kinds]


async def test_a_command_over_spdy() -> None:
    container = Container()
    async with client_of(container, command("echo out; cat; exit 7", stdin=True)) as (client, go):
        error, stdin, stdout, stderr = await streams(client, "error", "stdin", "stdout", "stderr")
        await client.say(stdin, b"and in", fin=True)
        await client.until(lambda: error.ended and stdout.ended and stderr.ended)
        assert stdout.data == b"out\nand in"
        assert stderr.data == b""
        assert json.loads(error.data)["details"]["causes"][0]["message"] == "7"
        await go()
    assert container.sessions[0].closed


async def test_a_terminal_has_the_size_that_the_client_says() -> None:
    container = Container()
    request = command("cat", stdin=True, stderr=False, terminal=True)
    async with client_of(container, request, "v3.channel.k8s.io") as (client, go):
        _, stdin, stdout, resize = await streams(client, "error", "stdin", "stdout", "resize")
        for width in (0, 120):
            await client.say(resize, json.dumps({"Width": width, "Height": 40}).encode() + b"\n")
        await client.say(resize, b"that is no size")
        await client.say(stdin, b"typed\n")
        await client.until(lambda: b"typed" in stdout.data)
        (session,) = container.sessions
        assert session.stdout is not None
        size = fcntl.ioctl(session.stdout.fileno(), termios.TIOCGWINSZ, b"\0" * 8)
        assert struct.unpack("=4H", size)[:2] == (40, 120)
        await go()
    assert session.closed


async def test_old_protocols_have_no_resizing_and_plain_errors() -> None:
    request = command("exit 3", stderr=False, terminal=True)
    async with client_of(Container(), request, "v2.channel.k8s.io") as (client, go):
        error, _ = await streams(client, "error", "stdout")
        await client.until(lambda: error.ended)
        assert error.data.endswith(b"exit code 3")
        await go()


async def test_streams_come_in_any_order_and_others_are_reset() -> None:
    async with client_of(Container(), command("exit 0")) as (client, go):
        stderr, other, again, stdout, error = await streams(client, "stderr", "stdin", "stderr", "stdout", "error")
        await client.until(lambda: error.ended and stdout.ended and stderr.ended)
        assert other.reset is not None
        assert again.reset is not None
        await go()


async def test_a_client_that_opens_too_few_streams_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nsrun.api.streaming.remotecommand_streams.STREAMS_SECONDS", 0.01)
    container = Container()
    async with client_of(container, command("exit 0")) as (client, _):
        await streams(client, "error")
        await client.until(lambda: client.over)
    assert container.sessions == []


async def test_a_command_that_cannot_be_started_ends_every_stream() -> None:
    container = Container()
    container.refuses = True
    async with client_of(container, command("true")) as (client, go):
        error, stdout, stderr = await streams(client, "error", "stdout", "stderr")
        await client.until(lambda: error.ended and stdout.ended and stderr.ended)
        assert "no such file" in json.loads(error.data)["message"]
        await go()


async def test_what_comes_on_streams_of_output_holds_nobody_up() -> None:
    async with client_of(Container(), command("cat", stdin=True)) as (client, go):
        error, stdout, _, stdin = await streams(client, "error", "stdout", "stderr", "stdin")
        await client.say(error, b"x" * (1 << 20))
        await client.say(stdin, b"in", fin=True)
        await client.until(lambda: stdout.ended and error.ended)
        assert stdout.data == b"in"
        await go()


async def test_a_command_that_reads_no_more_lets_the_rest_pass() -> None:
    async with client_of(Container(), command("exit 0", stdin=True)) as (client, go):
        error, _, _, stdin = await streams(client, "error", "stdout", "stderr", "stdin")
        await client.say(stdin, b"x" * (1 << 20))
        await client.until(lambda: error.ended)
        await go()


async def test_a_client_that_resets_its_output_kills_the_command() -> None:
    container = Container()
    async with client_of(container, command("cat", stdin=True)) as (client, _):
        _, stdin, stdout, _ = await streams(client, "error", "stdin", "stdout", "stderr")
        await client.send(RstStream(stream=stdout.number, status=5))
        await client.say(stdin, b"to be written\n")
        await client.until(lambda: client.over)
    assert container.sessions[0].closed
