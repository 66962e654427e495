"""Hooks of containers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

import pytest

from nsrun.errors import NetworkError, NsrunError
from nsrun.model.container import ContainerPort
from nsrun.model.probe import Exec, Hook, HttpGet, Sleep, TcpSocket
from nsrun.model.running import CheckResult, ContainerId
from nsrun.supervisor import hooks
from nsrun.supervisor.events import Notice
from tests.contracts.fakes import FakeMachine, FakePod, FakeProbes, FakeRun, FakeRuntime, Life, Program, fake_image
from tests.contracts.virtualclock import VirtualClock
from tests.unit.supervisor.world import container, pod

SPEC = replace(container("main"), ports=(ContainerPort(container_port=8080, name="http"),))
POD = pod("web", SPEC)
ID = ContainerId(uid=POD.uid, name="main", attempt=0)


@dataclass(kw_only=True)
class Hooked:
    clock: VirtualClock
    machine: FakeMachine
    runtime: FakeRuntime
    probes: FakeProbes

    async def run(self, hook: Hook, timeout: float | None = None) -> float:
        """How long it took."""
        began = self.clock.now()
        task = asyncio.ensure_future(
            hooks.run(
                hook,
                ID,
                pod=POD,
                address="10.88.0.2",
                runtime=self.runtime,
                probes=self.probes,
                clock=self.clock,
                timeout=timeout,
            )
        )
        while not task.done():
            await self.clock.advance(0.5)
        task.result()
        return self.clock.now() - began


@pytest.fixture
def hooked() -> Hooked:
    clock = VirtualClock()
    machine = FakeMachine(clock)
    life = Life(machine)
    run = FakeRun(id=ID, pid=1, started_at=clock.now(), image=fake_image("busybox"), program=Program())
    machine.pods[POD.uid] = FakePod(document=None, runs={ID: run})
    return Hooked(clock=clock, machine=machine, runtime=FakeRuntime(machine, life), probes=FakeProbes(machine, life))


async def failure(hooked: Hooked, hook: Hook, timeout: float | None = None) -> str:
    with pytest.raises(NsrunError) as raised:
        await hooked.run(hook, timeout)
    return str(raised.value)


def ran(script: str) -> Exec:
    return Exec(command=("/bin/sh", "-c", script))


async def test_a_command(hooked: Hooked) -> None:
    await hooked.run(ran("exit 0"))
    assert hooked.machine.commands == [(ID, ("/bin/sh", "-c", "exit 0"))]


async def test_a_command_that_fails(hooked: Hooked) -> None:
    assert await failure(hooked, ran("exit 3 && echo no")) == (
        "Exec lifecycle hook ([/bin/sh -c exit 3 && echo no]) "
        'for Container "main" in Pod "web_default(uid-web)" failed - '
        "error: command '/bin/sh -c exit 3 && echo no' exited with 3: no\n"
    )


async def test_a_command_that_takes_too_long(hooked: Hooked) -> None:
    assert (await failure(hooked, ran("sleep 60"), 5.0)).endswith('error: command "/bin/sh -c sleep 60" timed out')


async def test_a_command_that_cannot_be_run(hooked: Hooked) -> None:
    assert "cannot run a command" in await failure(hooked, ran("/nonexistent"))


async def test_http_goes_to_the_port_of_that_name(hooked: Hooked) -> None:
    hooked.machine.answers[8080] = CheckResult(success=False, message="statuscode: 500")
    await hooked.run(HttpGet(port="http", path="/started"))
    assert hooked.machine.asked == [HttpGet(port=8080, path="/started")]


async def test_http_without_a_port_goes_to_80(hooked: Hooked) -> None:
    hooked.machine.answers[80] = CheckResult(success=True)
    await hooked.run(HttpGet(port=""))
    assert hooked.machine.asked == [HttpGet(port=80)]


async def test_http_that_nobody_answers(hooked: Hooked) -> None:
    assert await failure(hooked, HttpGet(port=80, path="/x")) == (
        'HTTP lifecycle hook (/x) for Container "main" in Pod "web_default(uid-web)" failed - '
        "error: cannot reach port 80: connection refused"
    )


async def test_http_to_a_port_that_nobody_knows(hooked: Hooked) -> None:
    assert 'cannot find port "https"' in await failure(hooked, HttpGet(port="https"))


async def test_sleeping(hooked: Hooked) -> None:
    assert await hooked.run(Sleep(seconds=7)) == 7.0
    assert await hooked.run(Sleep(seconds=0)) <= 0.5


async def test_sleeping_for_too_long(hooked: Hooked) -> None:
    began = hooked.clock.now()
    assert await failure(hooked, Sleep(seconds=60), 5.0) == (
        'Sleep lifecycle hook (60) for Container "main" in Pod "web_default(uid-web)" failed - '
        "error: container terminated before sleep hook finished"
    )
    assert hooked.clock.now() - began == 5.0


async def test_a_tcp_socket_is_no_hook(hooked: Hooked) -> None:
    assert "invalid handler: tcpSocket" in await failure(hooked, TcpSocket(port=80))
    assert hooked.machine.asked == []


async def test_what_worked_otherwise_is_said(hooked: Hooked) -> None:
    class Plain(FakeProbes):
        async def call(self, action: object, address: str, timeout: float | None) -> str | None:
            return "retry with HTTP succeeded"

    said: list[Notice] = []
    await hooks.run(
        HttpGet(port=443),
        ID,
        pod=POD,
        address="10.88.0.2",
        runtime=hooked.runtime,
        probes=Plain(hooked.machine, Life(hooked.machine)),
        clock=hooked.clock,
        timeout=None,
        say=said.append,
    )
    assert [(notice.reason, notice.message, notice.container) for notice in said] == [
        ("LifecycleHTTPFallback", "retry with HTTP succeeded", "main")
    ]


async def test_an_address_that_cannot_be_reached_keeps_its_hint(hooked: Hooked) -> None:
    hooked.machine.answers[80] = NetworkError("no way", hint="find one")
    with pytest.raises(NsrunError) as raised:
        await hooked.run(HttpGet(port=80))
    assert raised.value.hint == "find one"
