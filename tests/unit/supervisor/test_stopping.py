"""Hooks, and how containers are stopped, over an imagined machine."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from nsrun.errors import NetworkError
from nsrun.model.container import Container
from nsrun.model.pod import Pod, RestartPolicy
from nsrun.model.probe import HttpGet, Lifecycle, Probe, Sleep
from nsrun.model.running import CheckResult
from nsrun.model.status import Phase, Running, Terminated, Waiting
from tests.contracts.fakes import Program
from tests.unit.supervisor.world import Daemon, World, container, hook, pod, sidecar

STUBBORN = "trap '' TERM; sleep 9999"


def hooked(name: str, script: str = "", **hooks: Any) -> Container:
    return container(name, script, lifecycle=Lifecycle(**hooks))


def waiting(daemon: Daemon, of: Pod, name: str = "main") -> Waiting:
    state = daemon.container(of, name).state
    assert isinstance(state, Waiting)
    return state


def run_in(world: World) -> list[str]:
    """The last words of everything that was run in containers."""
    return [arguments[-1] for _, arguments in world.machine.commands]


# --- postStart


async def test_a_container_runs_when_its_hook_is_done() -> None:
    world = World()
    web = pod("web", hooked("main", post_start=hook("sleep 5; exit 0")))
    world.manifests.say(web)
    async with world.daemon() as daemon:
        assert len(world.machine.live()) == 1
        assert waiting(daemon, web).reason == "ContainerCreating"
        assert daemon.status(web).phase is Phase.PENDING
        await world.clock.advance(5)
        state = daemon.container(web)
        assert isinstance(state.state, Running)
        assert (state.started, state.ready) == (True, True)
        assert run_in(world) == ["sleep 5; exit 0"]


async def test_a_hook_that_fails_has_the_container_stopped_and_run_again() -> None:
    world = World()
    world.machine.answers[80] = NetworkError("cannot connect")
    web = pod("web", hooked("main", STUBBORN, post_start=HttpGet(port=80), pre_stop=hook("exit 0")), grace=20)
    world.manifests.say(web)
    async with world.daemon() as daemon:
        assert waiting(daemon, web).reason == "PostStartHookError"
        assert "cannot connect" in waiting(daemon, web).message
        assert daemon.said("FailedPostStartHook") == ["PostStartHook failed"], "it may hold secrets"
        assert daemon.said("Killing") == ["FailedPostStartHook"]
        assert run_in(world) == ["exit 0"], "its preStop hook is run"
        await world.clock.advance(19.9)
        assert world.machine.ended == []
        world.machine.answers[80] = CheckResult(success=True)
        await world.clock.advance(0.1)
        assert [code for _, code in world.machine.ended] == [137]
        assert isinstance(daemon.container(web).state, Running)
        assert daemon.container(web).restart_count == 1


async def test_a_hook_that_fails_under_never() -> None:
    world = World()
    web = pod("web", hooked("main", post_start=hook("exit 1")), policy=RestartPolicy.NEVER)
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(60)
        assert daemon.status(web).phase is Phase.FAILED
        state = daemon.container(web).state
        assert isinstance(state, Terminated)
        assert state.exit_code == 143


async def test_a_container_that_ends_during_its_hook() -> None:
    world = World()
    web = pod("web", hooked("main", post_start=Sleep(seconds=1000)))
    world.machine.scripts["web", "main"] = [Program(seconds=2, code=1)]
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(4.5)
        assert waiting(daemon, web).reason == "CrashLoopBackOff"
        assert daemon.said("FailedPostStartHook") == []


async def test_a_removal_does_not_wait_for_a_post_start_hook() -> None:
    world = World()
    web = pod("web", hooked("main", post_start=Sleep(seconds=1000), pre_stop=hook("exit 0")))
    world.manifests.say(web)
    async with world.daemon():
        await world.clock.advance(1)
        world.manifests.say()
        await world.clock.settle()
        assert world.machine.owners() == set()
        assert run_in(world) == ["exit 0"]


# --- preStop


async def test_hooks_come_before_the_signals_and_all_at_once() -> None:
    world = World()
    web = pod(
        "web",
        hooked("main", pre_stop=hook("sleep 4; exit 0")),
        hooked("other", pre_stop=Sleep(seconds=7)),
        init=[replace(sidecar("side"), lifecycle=Lifecycle(pre_stop=hook("sleep 1; exit 0")))],
    )
    world.manifests.say(web)
    async with world.daemon() as daemon:
        at = world.clock.now()
        world.manifests.say()
        await world.clock.settle()
        assert sorted(run_in(world)) == ["sleep 1; exit 0", "sleep 4; exit 0"], "the sidecar's too"
        assert sorted(daemon.said("Killing")) == [f"Stopping container {c}" for c in ("main", "other", "side")]
        await world.clock.advance(30)
        assert world.machine.signalled == [("main", at + 4), ("other", at + 7), ("side", at + 7)]
        assert world.machine.owners() == set()


async def test_what_a_hook_takes_is_taken_from_the_grace() -> None:
    world = World()
    web = pod("web", hooked("main", STUBBORN, pre_stop=hook("sleep 4; exit 0")), grace=10)
    world.manifests.say(web)
    async with world.daemon():
        at = world.clock.now()
        world.manifests.say()
        await world.clock.advance(9.9)
        assert world.machine.signalled == [("main", at + 4)]
        assert world.machine.owners() == {web.uid}
        await world.clock.advance(0.1)
        assert world.machine.owners() == set()


@pytest.mark.parametrize("pre_stop", [hook("sleep 99; exit 0"), Sleep(seconds=99)])
async def test_a_hook_is_cut_off_when_the_grace_is_over_and_two_seconds_are_left(pre_stop: Any) -> None:
    world = World()
    web = pod("web", hooked("main", STUBBORN, pre_stop=pre_stop), grace=10)
    world.manifests.say(web)
    async with world.daemon() as daemon:
        at = world.clock.now()
        world.manifests.say()
        await world.clock.advance(10)
        assert world.machine.signalled == [("main", at + 10)]
        assert daemon.said("FailedPreStopHook") == ["PreStopHook failed"]
        await world.clock.advance(1.9)
        assert world.machine.ended == []
        await world.clock.advance(0.1)
        assert world.machine.owners() == set()


async def test_a_hook_that_fails_holds_nothing_up() -> None:
    world = World()
    web = pod("web", hooked("main", pre_stop=hook("exit 1")))
    world.manifests.say(web)
    async with world.daemon() as daemon:
        world.manifests.say()
        await world.clock.settle()
        assert world.machine.owners() == set()
        assert daemon.said("FailedPreStopHook") == ["PreStopHook failed"]


async def test_a_container_that_ends_by_itself_has_no_hook_run() -> None:
    world = World()
    web = pod("web", hooked("main", pre_stop=hook("exit 0")))
    world.machine.scripts["web", "main"] = [Program(seconds=1, code=0), Program()]
    world.manifests.say(web)
    async with world.daemon():
        await world.clock.advance(20)
        assert run_in(world) == []


async def test_without_grace_there_is_no_hook() -> None:
    world = World()
    web = pod("web", hooked("main", pre_stop=hook("exit 0")), grace=0)
    world.manifests.say(web)
    async with world.daemon():
        world.manifests.say()
        await world.clock.settle()
        assert run_in(world) == []
        assert world.machine.signalled == []
        assert world.machine.owners() == set()


async def test_a_shorter_grace_cuts_a_hook_off() -> None:
    world = World()
    world.manifests.say(pod("web", hooked("main", STUBBORN, pre_stop=Sleep(seconds=99)), grace=100))
    async with world.daemon() as daemon, asyncio.TaskGroup() as group:
        group.create_task(daemon.supervisor.down())
        await world.clock.advance(10)
        group.create_task(daemon.supervisor.down(grace=5))
        await world.clock.advance(1.9)
        assert [name for name, _ in world.machine.signalled] == ["main"]
        assert world.machine.ended == []
        await world.clock.advance(0.1)
        assert world.machine.owners() == set()


async def test_a_hook_over_the_network_after_a_restart_of_nsrun_asks_for_the_address_first() -> None:
    world = World()
    world.machine.answers[8080] = CheckResult(success=True)
    web = pod("web", hooked("main", pre_stop=HttpGet(port=8080)))
    world.manifests.say(web)
    async with world.daemon():
        pass
    world.manifests.say()
    async with world.daemon() as daemon:
        await world.clock.advance(1)
        assert [action.port for action in world.machine.asked if isinstance(action, HttpGet)] == [8080]
        assert daemon.said("FailedPreStopHook") == []
        assert world.machine.owners() == set()


async def test_a_grace_of_a_second_is_two() -> None:
    world = World()
    web = pod("web", container("main", STUBBORN), grace=1)
    world.manifests.say(web)
    async with world.daemon():
        world.manifests.say()
        await world.clock.advance(1.9)
        assert world.machine.owners() == {web.uid}
        await world.clock.advance(0.1)
        assert world.machine.owners() == set()


# --- probes


async def test_a_liveness_probe_that_fails_has_the_container_run_again() -> None:
    world = World()
    probe = Probe(action=HttpGet(port=80), period_seconds=5, failure_threshold=2)
    web = pod("web", container("main", STUBBORN, liveness_probe=probe), grace=20)
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(11)
        assert daemon.said("Killing") == ["Container main failed liveness probe, will be restarted"]
        assert isinstance(daemon.container(web).state, Running)
        world.machine.answers[80] = CheckResult(success=True)
        await world.clock.advance(18)
        assert len(world.machine.began) == 1
        await world.clock.advance(1)
        assert len(world.machine.began) == 2, "at once"
        assert daemon.container(web).restart_count == 1
        await world.clock.advance(100)
        assert len(world.machine.began) == 2


async def test_its_own_grace_goes_before_the_pods() -> None:
    world = World()
    action = HttpGet(port=80)
    probe = Probe(action=action, period_seconds=1, failure_threshold=1, termination_grace_period_seconds=3)
    web = pod("web", container("main", STUBBORN, liveness_probe=probe), grace=300)
    world.manifests.say(web)
    async with world.daemon():
        await world.clock.advance(3.9)
        assert world.machine.ended == []
        await world.clock.advance(0.2)
        assert [code for _, code in world.machine.ended] == [137]


@pytest.mark.parametrize(
    ("policy", "runs", "message"),
    [
        (RestartPolicy.ON_FAILURE, 2, "Container main failed startup probe, will be restarted"),
        (RestartPolicy.NEVER, 1, "Container main failed startup probe"),
    ],
)
async def test_a_startup_probe_that_fails_and_policies(policy: RestartPolicy, runs: int, message: str) -> None:
    """The code says nothing: the container was told to end."""
    world = World()
    probe = Probe(action=HttpGet(port=80), period_seconds=1, failure_threshold=2)
    web = pod("web", container("main", startup_probe=probe), policy=policy)
    world.machine.scripts["web", "main"] = [Program(asked=0)]
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(2.5)
        assert daemon.said("Killing") == [message]
        assert len(world.machine.began) == runs


async def test_a_probe_that_fails_forever_ends_in_a_crash_loop() -> None:
    """As doBackOff has it: the restart after a kill looks at the end before the last."""
    world = World()
    probe = Probe(action=HttpGet(port=80), period_seconds=10, failure_threshold=3)
    web = pod("web", container("main", liveness_probe=probe))
    world.manifests.say(web)
    async with world.daemon() as daemon:
        starts: list[float] = []
        first = world.clock.now()
        for _ in range(400):
            if len(world.machine.began) > len(starts):
                starts.append(world.clock.now() - first)
            await world.clock.advance(1)
        gaps = [after - before for before, after in pairwise(starts)]
        assert gaps[:4] == [31, 30, 30, 30] or gaps[:4] == [30, 30, 30, 30]
        assert max(gaps) >= 60
        assert "BackOff" in daemon.reasons(web)


async def test_ready_and_started_follow_the_probes() -> None:
    world = World()
    startup = Probe(action=HttpGet(port=1), period_seconds=1, failure_threshold=100)
    readiness = Probe(action=HttpGet(port=2), period_seconds=1, failure_threshold=1)
    web = pod("web", container("main", startup_probe=startup, readiness_probe=readiness))
    world.manifests.say(web)
    async with world.daemon() as daemon:

        def shown() -> tuple[bool, bool, str]:
            status = daemon.container(web)
            return status.started, status.ready, daemon.condition(web, "Ready").status

        await world.clock.advance(3)
        assert shown() == (False, False, "False")
        world.machine.answers[1] = CheckResult(success=True)
        await world.clock.advance(2)
        assert shown() == (True, False, "False")
        world.machine.answers[2] = CheckResult(success=True)
        await world.clock.advance(2)
        assert shown() == (True, True, "True")
        del world.machine.answers[2]
        await world.clock.advance(2)
        assert shown() == (True, False, "False")
        assert isinstance(daemon.container(web).state, Running)


async def test_a_pod_that_stops_is_not_killed_by_its_probes_and_still_asked_whether_it_is_ready() -> None:
    world = World()
    for port in (1, 2):
        world.machine.answers[port] = CheckResult(success=True)
    probes = [Probe(action=HttpGet(port=port), period_seconds=1, failure_threshold=1) for port in (1, 2)]
    web = pod("web", container("main", STUBBORN, liveness_probe=probes[0], readiness_probe=probes[1]), grace=30)
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(2)
        world.manifests.say()
        await world.clock.settle()
        world.machine.answers.clear()
        await world.clock.advance(5)
        assert daemon.said("Killing") == ["Stopping container main"]
        assert not daemon.container(web).ready
        assert world.machine.live() != []
        await world.clock.advance(30)
        assert world.machine.owners() == set()


async def test_when_all_is_taken_down_nobody_is_asked_any_more() -> None:
    world = World()
    world.machine.answers[1] = CheckResult(success=True)
    probe = Probe(action=HttpGet(port=1), period_seconds=1)
    world.manifests.say(pod("web", container("main", STUBBORN, readiness_probe=probe), grace=30))
    async with world.daemon() as daemon, asyncio.TaskGroup() as group:
        await world.clock.advance(2)
        group.create_task(daemon.supervisor.down())
        await world.clock.settle()
        world.machine.answers.clear()
        world.machine.asked.clear()
        await world.clock.advance(40)
        assert world.machine.asked == []
        assert daemon.said("Unhealthy") == []
        assert world.machine.owners() == set()


async def test_a_hook_that_was_told_too_late_changes_nothing() -> None:
    from nsrun.model.running import ContainerId
    from nsrun.supervisor import fold, runs

    known = fold.accepted(pod(), 1.0)
    stranger = ContainerId(uid="uid-web", name="main", attempt=3)
    assert runs.post_started(known, stranger) == known
    assert runs.hook_failed(known, stranger, "why", 2.0) == known
    assert runs.pre_stopped(known, stranger) == known
    assert runs.asked(known, "main", 2.0) == known
