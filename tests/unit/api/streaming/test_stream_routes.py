"""What exec, attach and portForward answer before any byte is streamed."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio

from nsrun.api.access import Access
from nsrun.api.connections import Upgrade, WebSocketUpgrade
from nsrun.api.requests import Request
from nsrun.api.responses import Answer, Response
from nsrun.api.routing import Match, RouteTable
from nsrun.api.streaming.stream_routes import stream_routes
from nsrun.model.pod import Pod
from nsrun.model.resources import QosClass
from nsrun.model.status import ContainerStatus, Phase, PodStatus, Running, Waiting
from nsrun.supervisor.board import StatusBoard
from nsrun.supervisor.ports import ContainerId, ContainerRequest
from tests.contracts.fakes import FakeMachine, FakeNetwork, FakeRuntime, Life, fake_image
from tests.contracts.virtualclock import VirtualClock
from tests.unit.api.streaming.spdyclient import SpdyClient, connected
from tests.unit.api.streaming.wsclient import FakeWebSocket
from tests.unit.supervisor.world import container, pod
from tests.waiting import PATIENCE, eventually_async

SPDY = {"connection": "Upgrade", "upgrade": "SPDY/3.1"}
WEBSOCKET = {"connection": "keep-alive, Upgrade", "upgrade": "websocket"}
V4 = "v4.channel.k8s.io"
WITH_V4 = SPDY | {"x-stream-protocol-version": V4}
WITH_PORTS = SPDY | {"x-stream-protocol-version": "portforward.k8s.io"}


class World:
    """The routes, and a machine with the pod ``web``: ``main`` runs for the third time, ``later`` waits."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.machine = FakeMachine(self.clock)
        life = Life(self.machine)
        self.board = StatusBoard()
        self.runtime, self.network = FakeRuntime(self.machine, life), FakeNetwork(self.machine, life)
        self._table = RouteTable(stream_routes(self.board, runtime=self.runtime, network=self.network))
        self.pod: Pod = pod("web", container("main"), container("later"))
        states = (
            ContainerStatus(name="later", image="i", state=Waiting(reason="ContainerCreating")),
            ContainerStatus(name="main", image="i", state=Running(started_at=1.0), restart_count=2),
        )
        status = PodStatus(phase=Phase.RUNNING, qos_class=QosClass.BEST_EFFORT, container_statuses=states)
        self.board.put(self.pod, status)
        self.id = ContainerId(uid=self.pod.uid, name="main", attempt=2)

    async def ask(self, target: str, headers: dict[str, str] | None = None, *, method: str = "POST") -> Answer:
        parts = urlsplit(target)
        found = self._table.find(method, parts.path)
        assert isinstance(found, Match)
        assert found.route.access is Access.EXEC
        query = {name: tuple(values) for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        request = Request(
            method=method, path=parts.path, parameters=found.parameters, query=query, headers=headers or {}
        )
        return await found.route.handler(request)

    async def refused(self, target: str, headers: dict[str, str] | None = None, *, method: str = "POST") -> Response:
        answer = await self.ask(target, headers, method=method)
        assert isinstance(answer, Response)
        return answer

    async def start(self) -> None:
        attachment = await self.network.attach(self.pod)
        await self.runtime.start_sandbox(self.pod, attachment, {})
        await self.runtime.start_container(
            ContainerRequest(
                id=self.id,
                pod=self.pod,
                container=self.pod.container("main"),
                image=fake_image("busybox"),
                attachment=attachment,
            )
        )


@pytest_asyncio.fixture
async def world() -> World:
    made = World()
    await made.start()
    return made


def answered(response: Response) -> tuple[int, str]:
    return response.status, response.body.decode()


# --- who is not there


@pytest.mark.parametrize(
    ("target", "status", "told"),
    [
        ("/exec/default/nobody/main?command=id&output=1", 404, "pod does not exist"),
        ("/exec/elsewhere/web/main?command=id&output=1", 404, "pod does not exist"),
        ("/exec/default/web/nobody?command=id&output=1", 500, 'container not found ("nobody")'),
        ("/exec/default/web/later?command=id&output=1", 500, 'container not found ("later")'),
        ("/exec/default/web/another-uid/main?command=id&output=1", 500, 'container not found ("main")'),
        ("/attach/default/nobody/main?output=1", 404, "pod does not exist"),
        ("/attach/default/web/nobody?output=1", 500, 'container not found ("nobody")'),
        ("/portForward/default/nobody", 404, "pod does not exist"),
        ("/portForward/default/web/another-uid", 404, "pod not found"),
    ],
)
async def test_who_is_not_there(world: World, target: str, status: int, told: str) -> None:
    assert answered(await world.refused(target, WITH_V4)) == (status, told)


# --- what is asked for


@pytest.mark.parametrize("query", ["", "command=id", "command=id&output=true&input=yes&error=0", "command=id&tty=1"])
async def test_at_least_one_stream(world: World, query: str) -> None:
    told = "you must specify at least 1 of stdin, stdout, stderr"
    assert answered(await world.refused(f"/exec/default/web/main?{query}", WITH_V4)) == (400, told)


async def test_a_command(world: World) -> None:
    for query in ("output=1", "output=1&command="):
        told = answered(await world.refused(f"/exec/default/web/main?{query}", WITH_V4))
        assert told == (400, "you must specify a command")


async def test_an_upgrade(world: World) -> None:
    target = "/attach/default/web/main?output=1"
    assert answered(await world.refused(target)) == (500, "Upgrade request required")
    assert answered(await world.refused(target, {"upgrade": "SPDY/3.1"})) == (500, "Upgrade request required")
    assert answered(await world.refused("/exec/default/web/main?command=id&output=1", method="GET"))[0] == 500
    assert answered(await world.refused("/portForward/default/web")) == (500, "Upgrade request required")
    told = answered(await world.refused(target, SPDY | {"upgrade": "h2c"}))
    assert told == (400, "unable to upgrade: missing upgrade headers in request")


async def test_a_protocol(world: World) -> None:
    target = "/attach/default/web/main?output=1"
    status, told = answered(await world.refused(target, SPDY))
    assert (status, told) == (400, "unable to upgrade: header X-Stream-Protocol-Version does not exist in request")
    refused = await world.refused(target, SPDY | {"x-stream-protocol-version": "v9.channel.k8s.io, v8"})
    assert refused.status == 403
    assert "client supports [v9.channel.k8s.io v8], server accepts [v4.channel.k8s.io" in refused.body.decode()
    known = "v4.channel.k8s.io,v3.channel.k8s.io,v2.channel.k8s.io,channel.k8s.io"
    assert refused.headers["X-Accepted-Stream-Protocol-Versions"] == known
    assert (await world.refused("/portForward/default/web", WITH_V4)).status == 403


async def test_the_first_of_the_clients_protocols_is_spoken(world: World) -> None:
    offered = "v9.channel.k8s.io,v3.channel.k8s.io,v4.channel.k8s.io"
    answer = await world.ask("/attach/default/web/main?output=1", SPDY | {"x-stream-protocol-version": offered})
    assert isinstance(answer, Upgrade)
    assert (answer.protocol, answer.headers) == ("SPDY/3.1", {"X-Stream-Protocol-Version": "v3.channel.k8s.io"})


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("", 'query parameter "port" is required'),
        ("port=", 'query parameter "port" cannot be empty'),
        ("port=80&port=", 'query parameter "port" cannot be empty'),
        ("port=80,http", 'unable to parse "http" as a port'),
        ("port=0", 'port "0" must be > 0'),
        ("port=" + ",".join(["80"] * 128), "more than 127 ports"),
    ],
)
async def test_ports_for_a_websocket(world: World, query: str, told: str) -> None:
    assert answered(await world.refused(f"/portForward/default/web?{query}", WEBSOCKET)) == (400, told)


# --- what becomes of it


async def test_a_command_over_spdy(world: World) -> None:
    target = "/exec/default/web/main?command=sh&command=-c&command=echo+x;+exit+3&output=1&error=1&tty=1"
    answer = await world.ask(target, WITH_V4)
    assert isinstance(answer, Upgrade)
    here, there = connected()
    client = SpdyClient(here)
    async with asyncio.timeout(20 * PATIENCE), asyncio.TaskGroup() as group:
        group.create_task(answer.run(there))  # type: ignore[arg-type]
        group.create_task(client.listen())
        error, stdout, _ = [await client.opened({"streamtype": kind}) for kind in ("error", "stdout", "resize")]
        await client.until(lambda: error.ended)
        assert stdout.data == b"x\r\n"  # a terminal: and so nothing for errors of its own
        assert json.loads(error.data)["reason"] == "NonZeroExitCode"
        here.close()


async def test_a_container_over_a_websocket(world: World) -> None:
    answer = await world.ask(f"/attach/default/web/{world.pod.uid}/main?output=1", WEBSOCKET, method="GET")
    assert isinstance(answer, WebSocketUpgrade)
    assert answer.protocols[0] == "v5.channel.k8s.io"
    assert "" in answer.protocols
    socket = FakeWebSocket()
    async with asyncio.timeout(20 * PATIENCE), asyncio.TaskGroup() as group:
        group.create_task(answer.run(socket))  # type: ignore[arg-type]
        await socket.until(lambda: socket.sent)
        socket.goes()
    run = world.machine.run_of(world.pod, "main")
    assert run is not None
    assert run.sessions[0].closed
    assert run.exit is None


async def test_ports_over_spdy(world: World) -> None:
    accepted = world.network.listen(world.pod.name, 80)
    answer = await world.ask("/portForward/default/web", WITH_PORTS)
    assert isinstance(answer, Upgrade)
    here, there = connected()
    client = SpdyClient(here)
    async with asyncio.timeout(20 * PATIENCE), asyncio.TaskGroup() as group:
        group.create_task(answer.run(there))  # type: ignore[arg-type]
        group.create_task(client.listen())
        for kind in ("error", "data"):
            stream = await client.opened({"streamtype": kind, "port": "80", "requestid": "0"})
        await client.until(lambda: client.streams[1].replied)
        with (await eventually_async(lambda: accepted))[0] as program:
            program.sendall(b"hello")
        await client.until(lambda: stream.ended)
        assert stream.data == b"hello"
        await client.say(stream, b"", fin=True)
        here.close()


@pytest.mark.parametrize(
    ("target", "offered", "protocols"),
    [
        ("?port=80&port=81,82", "v4.channel.k8s.io", ("v4.channel.k8s.io", "v4.base64.channel.k8s.io", "")),
        ("", "v9, SPDY/3.1+portforward.k8s.io", ("SPDY/3.1+portforward.k8s.io",)),
    ],
)
async def test_ports_over_websockets(world: World, target: str, offered: str, protocols: tuple[str, ...]) -> None:
    headers = WEBSOCKET | {"sec-websocket-protocol": offered}
    answer = await world.ask(f"/portForward/default/web{target}", headers, method="GET")
    assert isinstance(answer, WebSocketUpgrade)
    assert answer.protocols == protocols
    socket = FakeWebSocket(protocols[0])
    async with asyncio.timeout(20 * PATIENCE), asyncio.TaskGroup() as group:
        group.create_task(answer.run(socket))  # type: ignore[arg-type]
        if target:
            await socket.until(lambda: b"uid-web: cannot connect to port 82" in socket.said(5))
        socket.goes()


# --- without an upgrade


async def test_output_and_exit_code_in_one_answer(world: World) -> None:
    answer = await world.refused("/exec/default/web/main?command=sh&command=-c&command=echo+hello;+exit+3")
    assert (answer.status, answer.content_type) == (200, "application/json")
    assert json.loads(answer.body) == {"exitCode": 3, "output": "hello\n"}
    assert world.machine.commands == [(world.id, ("sh", "-c", "echo hello; exit 3"))]


async def test_what_cannot_be_started_in_one_answer(world: World) -> None:
    answer = await world.refused("/exec/default/web/main?command=/nonexistent")
    assert answer.status == 500
    assert json.loads(answer.body) == {"message": 'cannot run a command in container "main": no such file'}
