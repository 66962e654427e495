"""Pods that end otherwise than by their containers, and containers that make all of them begin again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nsrun.errors import NetworkError, RuntimeFailure, VolumeError
from nsrun.model.container import ContainerPort, RestartAction, RestartRule
from nsrun.model.pod import Pod, RestartPolicy
from nsrun.model.probe import Lifecycle, Sleep
from nsrun.model.running import Exit, ExitReason
from nsrun.model.status import Phase, Running, Terminated, Waiting
from nsrun.supervisor.facts import Role
from nsrun.supervisor.restart import Outcome, can_restart_all, outcome
from tests.contracts.fakes import Program
from tests.unit.supervisor.world import Daemon, World, container, pod, sidecar

ALWAYS, ON_FAILURE, NEVER = RestartPolicy.ALWAYS, RestartPolicy.ON_FAILURE, RestartPolicy.NEVER
STUBBORN = "trap '' TERM; sleep 9999"
MESSAGE = "Pod was active on the node longer than the specified deadline"


def began(world: World) -> list[str]:
    return [id.name for id in world.machine.began]


def worker_of(daemon: Daemon, of: Pod) -> Any:
    return daemon.supervisor._workers[of.uid]


# --- the deadline


async def test_a_pod_that_is_active_for_too_long_fails() -> None:
    world = World()
    web = pod("web", container("main"), init=[sidecar("side")], active_deadline_seconds=30)
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(29.9)
        assert daemon.status(web).phase is Phase.RUNNING
        await world.clock.advance(0.1)
        status = daemon.status(web)
        assert (status.phase, status.reason, status.message) == (Phase.FAILED, "DeadlineExceeded", MESSAGE)
        assert world.machine.live() == []
        assert daemon.condition(web, "Ready").reason == "PodFailed"
        assert daemon.said("DeadlineExceeded") == [MESSAGE]
        await world.clock.advance(1000)
        assert began(world) == ["side", "main"], "nothing is run again, whatever the policy"
        world.manifests.say()
        await world.clock.settle()
        assert world.machine.owners() == set()


async def test_the_time_of_init_containers_counts() -> None:
    world = World()
    web = pod("web", init=[container("one", STUBBORN)], active_deadline_seconds=10, grace=5)
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(10)
        assert daemon.status(web).phase is Phase.FAILED, "at once, though its container still runs"
        assert world.machine.signalled == [("one", world.clock.now())]
        await world.clock.advance(5)
        assert world.machine.live() == []
        state = daemon.container(web).state
        assert isinstance(state, Waiting)


async def test_a_deadline_outlives_nsrun() -> None:
    world = World()
    web = pod("web", active_deadline_seconds=30)
    world.manifests.say(web)
    async with world.daemon():
        await world.clock.advance(20)
    async with world.daemon() as daemon:
        await world.clock.advance(9)
        assert daemon.status(web).phase is Phase.RUNNING
        await world.clock.advance(2)
        assert daemon.status(web).reason == "DeadlineExceeded"
    async with world.daemon() as daemon:
        await world.clock.advance(1000)
        assert (daemon.status(web).phase, daemon.status(web).reason) == (Phase.FAILED, "DeadlineExceeded")
        assert len(world.machine.began) == 1


async def test_a_pod_that_ended_before_its_deadline_stays_as_it_ended() -> None:
    world = World()
    web = pod("web", container("main", "sleep 5; exit 0"), policy=NEVER, active_deadline_seconds=30)
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(100)
        assert daemon.status(web).phase is Phase.SUCCEEDED
    async with world.daemon() as daemon:
        await world.clock.settle()
        assert (daemon.status(web).phase, daemon.status(web).reason) == (Phase.SUCCEEDED, "")


async def test_a_deadline_can_be_over_before_anything_runs() -> None:
    world = World()
    world.machine.pull_seconds = 1000
    web = pod("web", active_deadline_seconds=5)
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(5)
        assert daemon.status(web).phase is Phase.FAILED
        await world.clock.advance(2000)
        assert began(world) == []
        assert isinstance(daemon.container(web).state, Terminated), "as the kubelet has it for one that never was"


# --- what a pod that ended gives back

BATCH = pod("batch", container("main", "sleep 5; exit 0", volumes=["v"]), policy=NEVER, volumes=["v"])


async def test_a_pod_that_ended_gives_back_its_address_and_what_its_volumes_hold() -> None:
    world = World()
    world.manifests.say(BATCH)
    async with world.daemon() as daemon:
        await world.clock.advance(4)
        assert (set(world.machine.attached), world.machine.volumes) == ({BATCH.uid}, {BATCH.uid: {"v"}})
        address = daemon.status(BATCH).pod_ip
        await world.clock.advance(2)
        assert (dict(world.machine.attached), world.machine.volumes) == ({}, {BATCH.uid: set()})
        assert (daemon.status(BATCH).phase, daemon.status(BATCH).pod_ip) == (Phase.SUCCEEDED, address)
        await world.clock.advance(100)
        assert world.machine.calls.count("detach") == world.machine.calls.count("clear volumes") == 1, "once is enough"
        world.manifests.say()
        await world.clock.settle()
        assert world.machine.calls.count("detach") == 1
        assert world.machine.owners() == set()


async def test_what_could_not_be_given_back_is_tried_again() -> None:
    world = World()
    world.manifests.say(BATCH)
    world.machine.failures = {
        "detach": [NetworkError("cannot detach")],
        "clear volumes": [VolumeError("cannot remove volumes")],
    }
    async with world.daemon() as daemon:
        await world.clock.advance(5)
        assert (set(world.machine.attached), world.machine.volumes) == ({BATCH.uid}, {BATCH.uid: {"v"}})
        assert sorted(daemon.said("FailedKillPod")) == [
            "Error killing pod: cannot detach",
            "Error killing pod: cannot remove volumes",
        ]
        await world.clock.advance(60)
        assert (dict(world.machine.attached), world.machine.volumes) == ({}, {BATCH.uid: set()})


async def test_nothing_is_given_back_while_it_is_being_made() -> None:
    world = World()
    world.machine.slow["prepare"] = 20
    late = replace(BATCH, spec=replace(BATCH.spec, active_deadline_seconds=5))
    world.manifests.say(late)
    async with world.daemon() as daemon:
        await world.clock.advance(10)
        assert daemon.status(late).phase is Phase.FAILED
        assert "clear volumes" not in world.machine.calls
        assert "detach" not in world.machine.calls
        await world.clock.advance(20)
        assert (dict(world.machine.attached), world.machine.volumes) == ({}, {late.uid: set()})


async def test_who_waited_for_its_port_gets_it_then() -> None:
    world = World()
    port = (ContainerPort(container_port=80, host_port=8080),)
    batch = pod("batch", container("main", "sleep 5; exit 0", ports=port), policy=NEVER)
    web = pod("web", container("main", ports=port))
    world.machine.slow["detach"] = 3
    world.manifests.say(batch, web)
    async with world.daemon() as daemon:
        for seconds, phase in ((4, Phase.FAILED), (3, Phase.FAILED), (2, Phase.RUNNING)):
            await world.clock.advance(seconds)
            assert daemon.status(web).phase is phase
        assert world.machine.violations == []


# --- eviction


async def test_an_evicted_pod_stays_evicted() -> None:
    world = World()
    web = pod("web", container("main", STUBBORN), container("other"))
    world.manifests.say(web)
    async with world.daemon() as daemon:
        worker_of(daemon, web).fail("Evicted", "The node was low on resource: memory. ", grace=3)
        await world.clock.settle()
        assert (daemon.status(web).phase, daemon.status(web).reason) == (Phase.FAILED, "Evicted")
        assert daemon.said("Evicted") == ["The node was low on resource: memory. "]
        condition = daemon.condition(web, "DisruptionTarget")
        assert (condition.status, condition.reason) == ("True", "TerminationByKubelet")
        assert [run.id.name for run in world.machine.live()] == ["main"]
    # The supervisor dies before the grace is over: the next one goes on with it.
    async with world.daemon() as daemon:
        await world.clock.advance(40)
        assert (daemon.status(web).phase, daemon.status(web).reason) == (Phase.FAILED, "Evicted")
        assert world.machine.live() == []
        assert len(world.machine.began) == 2
        assert daemon.said("Evicted") == [], "it was said"


async def test_a_failure_that_cannot_be_recorded_is_one_all_the_same() -> None:
    world = World()
    world.machine.failures["record"] = [RuntimeFailure("cannot write: no space left")] * 2
    web = pod("web")
    world.manifests.say(web)
    async with world.daemon() as daemon:
        worker_of(daemon, web).fail("Evicted", "why")
        await world.clock.settle()
        assert world.machine.live() == []
        assert daemon.said("FailedRecord") == ["Cannot record the pod's state: cannot write: no space left"]
        await world.clock.advance(10)
    async with world.daemon() as daemon:
        await world.clock.advance(10)
        assert daemon.status(web).reason == "Evicted"


async def test_it_is_written_down_before_anything_is_stopped() -> None:
    world = World()
    web = pod("web")
    world.manifests.say(web)
    async with world.daemon() as daemon:
        world.machine.slow["record"] = 5
        worker_of(daemon, web).fail("Evicted", "why")
        await world.clock.advance(4)
        assert len(world.machine.live()) == 1
        await world.clock.advance(1)
        assert world.machine.live() == []


async def test_failing_twice_changes_nothing() -> None:
    world = World()
    web = pod("web", container("main", STUBBORN), grace=5)
    world.manifests.say(web)
    async with world.daemon() as daemon:
        worker_of(daemon, web).fail("Evicted", "first")
        await world.clock.advance(1)
        worker_of(daemon, web).fail("Other", "second")
        await world.clock.advance(60)
        assert daemon.status(web).message == "first"
        assert daemon.reasons(web).count("Other") == 0


async def test_a_pod_that_is_removed_while_it_fails_gets_no_more_time() -> None:
    world = World()
    web = pod("web", container("main", STUBBORN), grace=30)
    world.manifests.say(web)
    async with world.daemon() as daemon:
        worker_of(daemon, web).fail("Evicted", "why", grace=10)
        await world.clock.advance(4)
        world.manifests.say()
        await world.clock.advance(5.9)
        assert world.machine.owners() == {web.uid}
        await world.clock.advance(0.1)
        assert world.machine.owners() == set()


# --- rules


def rule(action: RestartAction, *codes: int, within: bool = True) -> RestartRule:
    return RestartRule(action=action, exit_codes=codes, within=within)


RESTART, RESTART_ALL = RestartAction.RESTART, RestartAction.RESTART_ALL_CONTAINERS


@pytest.mark.parametrize(
    ("policy", "own", "rules", "code", "expected"),
    [
        (NEVER, None, (), 1, Outcome.OVER),
        (NEVER, ALWAYS, (), 0, Outcome.AGAIN),
        (ALWAYS, NEVER, (), 1, Outcome.OVER),
        (ALWAYS, ON_FAILURE, (), 0, Outcome.OVER),
        (ALWAYS, ON_FAILURE, (), 1, Outcome.AGAIN),
        (NEVER, NEVER, (rule(RESTART, 42),), 42, Outcome.AGAIN),
        (NEVER, NEVER, (rule(RESTART, 42),), 41, Outcome.OVER),
        (NEVER, NEVER, (rule(RESTART, 42, within=False),), 41, Outcome.AGAIN),
        (NEVER, NEVER, (rule(RESTART_ALL, 1, 2), rule(RESTART, 2)), 2, Outcome.ALL_AGAIN),
        (NEVER, NEVER, (rule(RESTART, 2), rule(RESTART_ALL, 2)), 2, Outcome.AGAIN),
    ],
)
def test_the_first_rule_that_matches_decides(
    policy: RestartPolicy, own: RestartPolicy | None, rules: tuple[RestartRule, ...], code: int, expected: Outcome
) -> None:
    web = pod("web", container("main", restart_policy=own, restart_policy_rules=rules), policy=policy)
    exit = Exit(code=code, reason=ExitReason.ERROR, started_at=1.0, finished_at=2.0)
    assert outcome(web, web.spec.containers[0], Role.APP, exit) is expected


def test_which_pods_can_begin_again_as_a_whole() -> None:
    assert not can_restart_all(pod())
    assert can_restart_all(pod("web", init=[sidecar("s", restart_policy_rules=(rule(RESTART_ALL, 1),))]))


async def test_containers_with_policies_of_their_own() -> None:
    world = World()
    web = pod("web", container("once", restart_policy=NEVER), container("main", restart_policy=ON_FAILURE))
    world.machine.scripts["web", "once"] = [Program(seconds=1, code=1)]
    world.machine.scripts["web", "main"] = [Program(seconds=2, code=1), Program(seconds=3, code=0)]
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(3)
        assert daemon.status(web).phase is Phase.RUNNING
        await world.clock.advance(60)
        assert daemon.status(web).phase is Phase.FAILED, "all ended for good, though the pod's policy is Always"
        assert began(world) == ["once", "main", "main"]


async def test_all_containers_begin_again() -> None:
    world = World()
    life = Lifecycle(pre_stop=Sleep(seconds=100))
    web = pod(
        "web",
        container("main", restart_policy=NEVER, restart_policy_rules=(rule(RESTART_ALL, 42),)),
        container("other", STUBBORN, lifecycle=life),
        init=[container("one", "sleep 1; exit 0"), sidecar("side")],
    )
    world.machine.scripts["web", "main"] = [Program(seconds=10, code=42), Program(seconds=20, code=42), Program()]
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(11)
        assert world.machine.ended[-1][1] == 42 or world.machine.ended[-2][1] == 42
        await world.clock.settle()
        restarting = daemon.condition(web, "AllContainersRestarting")
        assert (restarting.status, restarting.reason) == ("True", "RestartAllContainersStarted")
        assert began(world) == ["one", "side", "main", "other"]
        assert world.machine.commands == [], "no hooks"
        assert len(world.machine.signalled) == 2, "nobody waits for the others"
        await world.clock.advance(2)
        assert began(world)[4:] == ["one"], "at once, the first time, two seconds after the signal"
        shown = daemon.container(web, "other")
        assert isinstance(shown.state, Waiting)
        assert shown.last_state is not None
        assert (shown.last_state.reason, shown.last_state.exit_code) == ("RestartingAllContainers", 137)
        assert daemon.condition(web, "Initialized").status == "True", "once initialized, always"
        await world.clock.advance(1)
        assert began(world)[4:] == ["one", "side", "main", "other"]
        assert [daemon.container(web, c).restart_count for c in ("one", "side", "main", "other")] == [1, 1, 1, 1]
        assert daemon.condition(web, "AllContainersRestarting").status == "False"
        assert all(world.machine.runs(web.uid)[i].attempt == 1 for i in range(4)), "the records were removed"
        await world.clock.advance(20)
        await world.clock.advance(9)
        assert len(began(world)) == 8, "the second time after ten seconds"
        assert daemon.container(web).state == Waiting(
            reason="CrashLoopBackOff",
            message="back-off 10s restarting failed container=main pod=web_default(uid-web)",
        )
        await world.clock.advance(3)
        assert began(world)[8:] == ["one", "side", "main", "other"]
    assert world.machine.violations == []


async def test_a_sandbox_that_dies_meanwhile_makes_them_begin_again_in_a_new_one() -> None:
    world = World()
    rules = (rule(RESTART_ALL, 42),)
    web = pod("web", container("main", restart_policy=NEVER, restart_policy_rules=rules), container("other", STUBBORN))
    web = replace(web, spec=replace(web.spec, restart_policy=NEVER))
    world.machine.scripts["web", "main"] = [Program(seconds=10, code=42), Program()]
    world.manifests.say(web)
    async with world.daemon() as daemon:
        await world.clock.advance(11)
        world.machine.kill_shim(web.uid)
        await world.clock.advance(5)
        assert began(world) == ["main", "other"] * 2
        assert isinstance(daemon.container(web, "other").state, Running)


async def test_a_pod_that_restarts_as_a_whole_can_be_removed() -> None:
    world = World()
    rules = (rule(RESTART_ALL, 42),)
    web = pod("web", container("main", restart_policy=NEVER, restart_policy_rules=rules), container("other", STUBBORN))
    world.machine.scripts["web", "main"] = [Program(seconds=10, code=42), Program()]
    world.manifests.say(web)
    async with world.daemon():
        await world.clock.advance(11)
        world.manifests.say()
        await world.clock.advance(2)
        assert world.machine.owners() == set()
        assert began(world) == ["main", "other"]
