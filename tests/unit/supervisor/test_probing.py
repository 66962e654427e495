"""Probes on a clock that a test owns."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest

from nsrun.errors import NetworkError, NsrunError
from nsrun.model.container import Container, ContainerPort
from nsrun.model.probe import Exec, Grpc, HttpGet, Probe, ProbeAction, ProbeKind, TcpSocket
from nsrun.model.running import CheckResult, ContainerId
from nsrun.supervisor.events import Notice
from nsrun.supervisor.probing import Probing, Verdict, resolved_port
from tests.contracts.fakes import FakeMachine, FakePod, FakeProbes, FakeRun, FakeRuntime, Life, Program, fake_image
from tests.contracts.virtualclock import VirtualClock
from tests.unit.supervisor.world import container, pod

HTTP = HttpGet(port=80)
GOOD = CheckResult(success=True)
BAD = CheckResult(success=False, message="HTTP probe failed with statuscode: 503")


@dataclass(kw_only=True)
class Asked:
    """Probing of one machine, and all it said. ``times``: when something was asked over the network, seconds from the
    beginning."""

    clock: VirtualClock
    machine: FakeMachine
    probing: Probing
    verdicts: list[Verdict] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    start: float = 0.0

    def begin(self, spec: Container, *, attempt: int = 0, age: float = 0.0, started: bool = False) -> ContainerId:
        owner = pod("web", spec)
        id = ContainerId(uid=owner.uid, name=spec.name, attempt=attempt)
        run = FakeRun(id=id, pid=1, started_at=self.clock.now() - age, image=fake_image("busybox"), program=Program())
        self.machine.pods.setdefault(owner.uid, FakePod(document=None)).runs[id] = run
        self.probing.begin(
            spec,
            id,
            pod=owner,
            address="10.88.0.2",
            started_at=run.started_at,
            started=started,
            tell=self.verdicts.append,
            say=self.notices.append,
        )
        return id

    def told(self) -> list[tuple[ProbeKind, bool]]:
        return [(verdict.kind, verdict.success) for verdict in self.verdicts]

    def said(self) -> list[str]:
        return [f"{notice.reason}: {notice.message}" for notice in self.notices]

    def note(self) -> None:
        self.times.append(self.clock.now() - self.start)


@pytest.fixture
async def asked() -> AsyncIterator[Asked]:
    clock = VirtualClock()
    machine = FakeMachine(clock)
    life = Life(machine)
    probing = Probing(
        runtime=FakeRuntime(machine, life), probes=FakeProbes(machine, life), clock=clock, chance=lambda: 0.25
    )
    world = Asked(clock=clock, machine=machine, probing=probing, start=clock.now())
    for port in (80, 81, 82):
        machine.reached[f"check {port}"] = world.note
    task = asyncio.create_task(probing.run())
    await clock.settle()
    yield world
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def probed(action: ProbeAction = HTTP, *, kind: str = "readiness", **settings: int) -> Container:
    return replace(container("main"), **{f"{kind}_probe": Probe(action=action, **settings)})  # type: ignore[arg-type]


async def test_the_first_question_is_asked_at_once_and_then_every_period(asked: Asked) -> None:
    asked.machine.answers[80] = GOOD
    asked.begin(probed(period_seconds=5))
    await asked.clock.advance(11.0)
    assert asked.times == [0.0, 5.0, 10.0]
    assert asked.told() == [(ProbeKind.READINESS, True)]
    assert asked.notices == []


async def test_the_delay_counts_from_the_start_of_the_run(asked: Asked) -> None:
    asked.machine.answers[80] = GOOD
    await asked.clock.advance(100.0)
    asked.begin(probed(initial_delay_seconds=7, period_seconds=10), age=3.0)
    await asked.clock.advance(15.0)
    assert asked.times == [104.0, 114.0]


async def test_failures_are_said_each_and_told_once(asked: Asked) -> None:
    asked.machine.answers[80] = BAD
    asked.begin(probed(period_seconds=1))
    await asked.clock.advance(5.5)
    assert asked.said() == ["Unhealthy: Readiness probe failed: HTTP probe failed with statuscode: 503"] * 5
    assert asked.notices[0].container == "main"
    assert asked.notices[0].warning
    assert asked.told() == [(ProbeKind.READINESS, False)]
    asked.machine.answers[80] = GOOD
    await asked.clock.advance(1.0)
    assert asked.told() == [(ProbeKind.READINESS, False), (ProbeKind.READINESS, True)]


async def test_a_new_run_is_asked_eagerly_until_it_answers(asked: Asked) -> None:
    """A program that has just begun does not listen yet: whoever waits for it shall not wait for a whole period."""
    asked.machine.answers[80] = BAD
    asked.begin(probed(period_seconds=10, failure_threshold=1))
    await asked.clock.advance(2.0)
    assert asked.times == pytest.approx([0.0, 0.1, 0.3, 0.7, 1.5])
    asked.machine.answers[80] = GOOD
    await asked.clock.advance(1.5)
    assert asked.told() == [(ProbeKind.READINESS, True)]
    assert asked.notices == []
    asked.times.clear()
    await asked.clock.advance(20.0)
    assert asked.times == pytest.approx([10.0, 20.0])


async def test_eager_failures_count_for_nothing(asked: Asked) -> None:
    asked.machine.answers[80] = BAD
    asked.begin(probed(kind="startup", period_seconds=10, failure_threshold=1))
    await asked.clock.advance(9.9)
    assert asked.told() == []
    assert asked.notices == []
    assert asked.probing.counts() == {}
    await asked.clock.advance(0.1)
    assert asked.told() == [(ProbeKind.STARTUP, False)]
    assert len(asked.notices) == 1


async def test_what_cannot_be_tried_eagerly_is_tried_again(asked: Asked, caplog: pytest.LogCaptureFixture) -> None:
    asked.machine.answers[80] = GOOD
    asked.machine.failures["check 80"] = [NetworkError("no"), RuntimeError("a bug")]
    asked.begin(probed(period_seconds=10))
    await asked.clock.advance(0.5)
    assert asked.told() == [(ProbeKind.READINESS, True)]
    assert asked.times == pytest.approx([0.0, 0.1, 0.3])
    assert "Internal error in the Readiness probe" in caplog.text


async def test_several_successes_are_asked_for_in_time(asked: Asked) -> None:
    asked.machine.answers[80] = GOOD
    asked.begin(probed(period_seconds=5, success_threshold=3))
    await asked.clock.advance(9.9)
    assert asked.told() == []
    await asked.clock.advance(0.1)
    assert asked.told() == [(ProbeKind.READINESS, True)]
    assert asked.times == [0.0, 5.0, 10.0]


async def test_a_warning_is_a_success_that_is_said(asked: Asked) -> None:
    asked.machine.answers[80] = CheckResult(success=True, warning=True, message="Probe terminated redirects")
    asked.begin(probed(kind="liveness", period_seconds=1))
    await asked.clock.advance(1.0)
    assert asked.said() == ["ProbeWarning: Liveness probe warning: Probe terminated redirects"]
    assert asked.told() == [(ProbeKind.LIVENESS, True)]


async def test_a_liveness_failure_puts_the_probe_on_hold_until_the_next_run(asked: Asked) -> None:
    asked.machine.answers[80] = BAD
    spec = probed(kind="liveness", period_seconds=1, failure_threshold=2)
    first = asked.begin(spec)
    await asked.clock.advance(10.0)
    assert asked.times == [1.0, 2.0]
    assert asked.told() == [(ProbeKind.LIVENESS, False)]
    assert asked.verdicts[0].id == first
    assert asked.verdicts[0].message == BAD.message
    asked.probing.end(first)
    asked.begin(spec, attempt=1)
    await asked.clock.advance(10.0)
    assert asked.times == [1.0, 2.0, 11.0, 12.0]
    assert [verdict.id.attempt for verdict in asked.verdicts] == [0, 1]


def gated() -> Container:
    return replace(
        container("main"),
        startup_probe=Probe(action=HttpGet(port=80), period_seconds=1, failure_threshold=5),
        liveness_probe=Probe(action=HttpGet(port=81), period_seconds=2),
        readiness_probe=Probe(action=HttpGet(port=82), period_seconds=2, initial_delay_seconds=8),
    )


async def test_the_startup_probe_gates_the_others(asked: Asked) -> None:
    machine = asked.machine
    machine.answers = {80: BAD, 81: GOOD, 82: GOOD}
    asked.begin(gated())
    await asked.clock.advance(2.5)
    assert {check.port for check in machine.asked} == {80}
    machine.answers[80] = GOOD
    machine.asked.clear()
    await asked.clock.advance(7.0)  # to 9.5
    assert [check.port for check in machine.asked] == [80, 81, 81, 82, 81]
    assert asked.told() == [(ProbeKind.STARTUP, True), (ProbeKind.LIVENESS, True), (ProbeKind.READINESS, True)]
    assert asked.times[-5:] == [3.0, 5.0, 7.0, 8.0, 9.0]


async def test_a_startup_probe_that_fails_lets_no_other_begin(asked: Asked) -> None:
    asked.machine.answers = {80: BAD, 81: GOOD, 82: GOOD}
    asked.begin(gated())
    await asked.clock.advance(60.0)
    assert asked.told() == [(ProbeKind.STARTUP, False)]
    assert asked.times[-5:] == [1.0, 2.0, 3.0, 4.0, 5.0]


async def test_a_run_that_was_found_started_is_not_asked_whether_it_is(asked: Asked) -> None:
    asked.machine.answers = {81: GOOD, 82: GOOD}
    asked.begin(gated(), age=100.0, started=True)
    await asked.clock.advance(3.0)
    assert {check.port for check in asked.machine.asked} == {81, 82}


async def test_runs_found_at_the_beginning_are_spread_over_a_period(asked: Asked) -> None:
    asked.machine.answers[80] = GOOD
    asked.begin(probed(period_seconds=8), age=100.0)
    await asked.clock.advance(10.5)
    assert asked.times == [2.0, 10.0]


async def test_long_after_the_beginning_nothing_is_spread(asked: Asked) -> None:
    asked.machine.answers[80] = GOOD
    await asked.clock.advance(8.0)
    asked.begin(probed(period_seconds=8), age=100.0)
    await asked.clock.settle()
    assert asked.times == [8.0]


async def test_what_cannot_be_tried_is_tried_three_times_and_counts_for_nothing(asked: Asked) -> None:
    asked.machine.answers[80] = NetworkError("cannot try")
    asked.begin(probed(kind="liveness", period_seconds=1, failure_threshold=1))
    await asked.clock.advance(2.5)
    assert asked.times == [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]
    assert asked.told() == []
    assert asked.said() == ["Unhealthy: Liveness probe errored and resulted in unknown state: cannot try"] * 2
    counts = asked.probing.counts()["uid-web", "main", ProbeKind.LIVENESS]
    assert (counts.successful, counts.failed, counts.unknown) == (0, 0, 2)


async def test_one_of_three_tries_is_enough(asked: Asked) -> None:
    asked.machine.answers[80] = GOOD
    asked.machine.failures["check 80"] = [NetworkError("no"), NetworkError("no")]
    asked.begin(probed(kind="liveness", period_seconds=1))
    await asked.clock.advance(1.0)
    assert len(asked.times) == 3
    assert asked.told() == [(ProbeKind.LIVENESS, True)]


async def test_our_own_bugs_stop_no_probe(asked: Asked, caplog: pytest.LogCaptureFixture) -> None:
    asked.machine.answers[80] = GOOD
    asked.machine.failures["check 80"] = [RuntimeError("a bug")]
    asked.begin(probed(period_seconds=1))
    await asked.clock.advance(1.0)
    assert "Internal error in the Readiness probe of container main of pod web_default(uid-web)" in caplog.text
    assert asked.told() == [(ProbeKind.READINESS, True)]


# --- commands


def ran(script: str) -> Exec:
    return Exec(command=("/bin/sh", "-c", script))


async def test_a_command_succeeds_with_code_0(asked: Asked) -> None:
    asked.begin(probed(ran("exit 0")))
    await asked.clock.settle()
    assert asked.told() == [(ProbeKind.READINESS, True)]


async def test_a_command_that_fails_is_said_with_its_output(asked: Asked) -> None:
    asked.begin(probed(ran("exit 1 && echo broken"), failure_threshold=1, period_seconds=1))
    await asked.clock.advance(1.0)
    assert asked.said() == ["Unhealthy: Readiness probe failed: broken\n"]
    assert asked.told() == [(ProbeKind.READINESS, False)]


async def test_a_command_that_takes_too_long_fails(asked: Asked) -> None:
    asked.begin(probed(ran("sleep 5"), timeout_seconds=2, failure_threshold=1, period_seconds=3))
    await asked.clock.advance(7.0)
    assert asked.said() == [
        'Unhealthy: Readiness probe failed: command timed out: "/bin/sh -c sleep 5" timed out after 2s'
    ]


async def test_a_command_that_cannot_be_run_counts_for_nothing(asked: Asked) -> None:
    asked.begin(probed(ran("/nonexistent"), kind="liveness", failure_threshold=1))
    await asked.clock.advance(10.0)
    assert asked.said()[0].startswith("Unhealthy: Liveness probe errored and resulted in unknown state: cannot run")
    assert len(asked.machine.commands) == 3
    assert asked.told() == []


async def test_slow_answers_do_not_shift_the_questions_after_them(asked: Asked) -> None:
    """Each takes 2.5 s of a period of 1 s: the next follows at once, and in the end the grid is as it was."""
    asked.machine.answers[80] = GOOD
    asked.machine.slow["check 80"] = 2.5
    asked.begin(probed(period_seconds=1))
    await asked.clock.advance(2.6)
    asked.machine.slow.clear()
    await asked.clock.advance(3.0)
    assert asked.times == [0.0, 2.5, 5.0]


# --- ends


async def test_nothing_is_asked_after_the_end(asked: Asked) -> None:
    asked.machine.answers[80] = GOOD
    id = asked.begin(probed(period_seconds=1))
    await asked.clock.advance(1.5)
    asked.probing.end(id)
    asked.probing.end(id)
    await asked.clock.advance(10.0)
    assert asked.times == [0.0, 1.0]


async def test_an_answer_after_the_end_is_not_told(asked: Asked) -> None:
    asked.machine.answers[80] = BAD
    asked.machine.slow["check 80"] = 0.5
    id = asked.begin(probed(failure_threshold=1))
    await asked.clock.advance(0.2)
    asked.probing.end(id)
    await asked.clock.advance(5.0)
    assert asked.verdicts == []
    assert asked.notices == []


async def test_a_pod_that_stops_is_only_asked_whether_it_is_ready(asked: Asked) -> None:
    asked.machine.answers = {81: GOOD, 82: GOOD}
    id = asked.begin(gated(), age=100.0, started=True)
    await asked.clock.advance(2.5)
    asked.machine.asked.clear()
    asked.probing.end_deciding(id)
    await asked.clock.advance(4.0)
    assert {check.port for check in asked.machine.asked} == {82}


async def test_a_pod_that_stops_before_it_was_up_is_asked_nothing(asked: Asked) -> None:
    asked.machine.answers = {80: BAD}
    id = asked.begin(gated())
    await asked.clock.advance(0.5)
    asked.probing.end_deciding(id)
    before = len(asked.times)
    await asked.clock.advance(10.0)
    assert len(asked.times) == before
    assert asked.verdicts == []


async def test_whoever_is_told_may_end_it(asked: Asked) -> None:
    asked.machine.answers[80] = BAD
    owner = pod("web", probed(kind="liveness", failure_threshold=1, period_seconds=1))
    id = ContainerId(uid=owner.uid, name="main", attempt=0)
    asked.probing.begin(
        owner.container("main"),
        id,
        pod=owner,
        address="10.88.0.2",
        started_at=asked.clock.now(),
        started=False,
        tell=lambda verdict: asked.probing.end(verdict.id),
        say=asked.notices.append,
    )
    await asked.clock.advance(5.0)
    assert asked.times == [1.0]


async def test_a_second_beginning_of_a_run_is_ignored(asked: Asked) -> None:
    asked.machine.answers[80] = GOOD
    asked.begin(probed())
    asked.begin(probed())
    await asked.clock.settle()
    assert asked.times == [0.0]


async def test_what_begins_before_it_runs_is_asked_when_it_does_and_again_after_a_break() -> None:
    clock = VirtualClock()
    machine = FakeMachine(clock)
    life = Life(machine)
    probing = Probing(runtime=FakeRuntime(machine, life), probes=FakeProbes(machine, life), clock=clock)
    world = Asked(clock=clock, machine=machine, probing=probing, start=clock.now())
    machine.answers[80] = GOOD
    world.begin(probed(period_seconds=1))
    await clock.advance(5.0)
    assert machine.asked == []
    for _ in range(2):
        task = asyncio.create_task(probing.run())
        await clock.advance(1.5)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert len(machine.asked) >= 2
        machine.asked.clear()
        await clock.advance(5.0)
        assert machine.asked == []


# --- what is asked


async def test_ports_have_numbers_when_they_are_asked(asked: Asked) -> None:
    ports = (ContainerPort(container_port=8080, name="http"), ContainerPort(container_port=9, name="tcp"))
    spec = replace(
        container("main"),
        ports=ports,
        liveness_probe=Probe(action=HttpGet(port="http", path="/x")),
        readiness_probe=Probe(action=TcpSocket(port="tcp")),
    )
    asked.machine.answers[9] = GOOD
    asked.begin(spec)
    await asked.clock.advance(10.0)
    assert asked.machine.asked == [TcpSocket(port=9), HttpGet(port=8080, path="/x"), TcpSocket(port=9)]


async def test_grpc_is_asked_as_it_is(asked: Asked) -> None:
    asked.machine.answers[5000] = GOOD
    asked.begin(probed(Grpc(port=5000, service="x")))
    await asked.clock.settle()
    assert asked.machine.asked == [Grpc(port=5000, service="x")]


async def test_a_port_that_nobody_knows_cannot_be_tried(asked: Asked) -> None:
    asked.begin(probed(HttpGet(port="http")))
    await asked.clock.advance(10.0)
    (said,) = asked.said()
    assert said.endswith('unknown state: cannot find port "http": container "main" has no port of that name')


def test_ports_by_name() -> None:
    spec = replace(container("main"), ports=(ContainerPort(container_port=8080, name="http"),))
    assert resolved_port(80, spec) == 80
    assert resolved_port("http", spec) == 8080
    assert resolved_port("8443", spec) == 8443
    for wrong in ("https", "0", "65536", "", "-1", "١"):
        with pytest.raises(NsrunError):
            resolved_port(wrong, spec)


async def test_counts_are_of_all_runs_until_the_pod_is_forgotten(asked: Asked) -> None:
    asked.machine.answers[80] = GOOD
    asked.probing.end(asked.begin(probed(period_seconds=1)))
    asked.begin(probed(period_seconds=1), attempt=1)
    await asked.clock.advance(1.5)
    asked.machine.answers[80] = BAD
    await asked.clock.advance(1.0)
    counts = asked.probing.counts()["uid-web", "main", ProbeKind.READINESS]
    assert (counts.successful, counts.failed) == (2, 1)
    asked.probing.forget("uid-other")
    assert asked.probing.counts()
    asked.probing.forget("uid-web")
    assert asked.probing.counts() == {}
