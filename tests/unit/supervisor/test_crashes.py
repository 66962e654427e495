"""``kill -9`` of the supervisor at every point of every call it makes, then another one over the same machine.

Whatever the point: the machine comes to be what the manifests say, nothing runs twice, nothing is left over, no exit is
lost. A scenario is played once for each point until a life gets through it unharmed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import pytest

from nsrun.model.container import RestartAction, RestartRule
from nsrun.model.pod import Pod, RestartPolicy
from nsrun.model.probe import HttpGet, Lifecycle, Probe
from nsrun.model.running import CheckResult
from nsrun.model.status import Phase, Running, Terminated
from tests.contracts.fakes import Program
from tests.unit.supervisor.world import Daemon, World, container, hook, pod, sidecar

Play = Callable[[World], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """``play``: what happens in the world while the life lasts, or does not any more. ``processes``: how many there
    were of each container (by pod's UID and name) when all is over; of those in ``perhaps``, there may be one less.
    ``phases``, ``codes``: of pods and containers that are not simply running then."""

    name: str
    play: Play
    pods: tuple[Pod, ...]
    processes: Mapping[tuple[str, str], int]
    scripts: Mapping[tuple[str, str], list[Program]] = field(default_factory=dict)
    phases: Mapping[str, Phase] = field(default_factory=dict)
    codes: Mapping[tuple[str, str], int] = field(default_factory=dict)
    perhaps: frozenset[tuple[str, str]] = frozenset()
    loses_sandbox: bool = False
    pull_seconds: float = 0.0


TWO = pod("web", container("main", volumes=["logs"]), container("side", volumes=["logs"]), volumes=["logs"])
EDITED = pod("web", container("main", "sleep 7777"), uid="uid-web-2")
ONCE = pod("once", policy=RestartPolicy.NEVER)
FAILING = pod("failing", policy=RestartPolicy.ON_FAILURE)
STUBBORN = pod("stubborn", container("main", "trap '' TERM; sleep 9999"), grace=5)
INIT = pod(
    "init",
    container("main"),
    container("after", lifecycle=Lifecycle(post_start=hook("exit 0"), pre_stop=hook("sleep 1; exit 0"))),
    init=[container("one"), sidecar("side", lifecycle=Lifecycle(post_start=hook("exit 0"))), container("two")],
    policy=RestartPolicy.ON_FAILURE,
)
PROBE = Probe(action=HttpGet(port=80), period_seconds=5, failure_threshold=2)
PROBED = pod("probed", container("main", startup_probe=PROBE, readiness_probe=PROBE, liveness_probe=PROBE))
BATCH = pod("batch", init=[container("one"), sidecar("side")], policy=RestartPolicy.NEVER)
LATE = pod("late", init=[sidecar("side")], active_deadline_seconds=100)
RULE = RestartRule(action=RestartAction.RESTART_ALL_CONTAINERS, exit_codes=(42,))
RULED = pod(
    "ruled",
    container("main", restart_policy=RestartPolicy.NEVER, restart_policy_rules=(RULE,)),
    container("other", lifecycle=Lifecycle(pre_stop=hook("exit 0"))),
    init=[container("one")],
)
MIXED = pod("mixed", container("done"), container("going"), policy=RestartPolicy.ON_FAILURE)


async def start(world: World) -> None:
    world.manifests.say(TWO)
    await world.clock.advance(60)


async def start_and_remove(world: World) -> None:
    await start(world)
    world.manifests.say()
    await world.clock.advance(60)


async def remove_while_pulling(world: World) -> None:
    world.manifests.say(TWO)
    await world.clock.advance(5)
    world.manifests.say()
    await world.clock.advance(60)


async def edit(world: World) -> None:
    await start(world)
    world.manifests.say(EDITED)
    await world.clock.advance(60)


async def run_once(world: World) -> None:
    world.manifests.say(ONCE)
    await world.clock.advance(60)


async def fail_and_succeed(world: World) -> None:
    world.manifests.say(FAILING)
    await world.clock.advance(400)


async def stop_stubborn(world: World) -> None:
    world.manifests.say(STUBBORN)
    await world.clock.advance(60)
    world.manifests.say()
    await world.clock.advance(60)


async def lose_sandbox(world: World) -> None:
    """The shim dies as soon as both containers have run; once."""
    world.manifests.say(MIXED)
    await world.clock.advance(60)
    found = world.machine.pods.get(MIXED.uid)
    if found is not None and found.sandbox is not None and len(world.machine.processes) == 2:
        world.machine.kill_shim(MIXED.uid)
    await world.clock.advance(60)


async def initialize(world: World) -> None:
    world.manifests.say(INIT)
    await world.clock.advance(60)


async def initialize_and_remove(world: World) -> None:
    await initialize(world)
    world.manifests.say()
    await world.clock.advance(60)


async def probe(world: World) -> None:
    world.machine.answers[80] = CheckResult(success=True)
    world.manifests.say(PROBED)
    await world.clock.advance(60)
    world.machine.answers.clear()
    await world.clock.advance(12)
    world.machine.answers[80] = CheckResult(success=True)
    await world.clock.advance(60)


async def run_batch(world: World) -> None:
    world.manifests.say(BATCH)
    await world.clock.advance(60)


async def exceed_the_deadline(world: World) -> None:
    world.manifests.say(LATE)
    await world.clock.advance(200)


async def restart_all(world: World) -> None:
    world.manifests.say(RULED)
    await world.clock.advance(60)


SCENARIOS = [
    Scenario(name="start", play=start, pods=(TWO,), processes={("uid-web", "main"): 1, ("uid-web", "side"): 1}),
    Scenario(
        name="slow pull",
        play=start,
        pods=(TWO,),
        processes={("uid-web", "main"): 1, ("uid-web", "side"): 1},
        pull_seconds=10,
    ),
    Scenario(name="remove", play=start_and_remove, pods=(), processes={("uid-web", "main"): 1, ("uid-web", "side"): 1}),
    Scenario(name="remove while pulling", play=remove_while_pulling, pods=(), processes={}, pull_seconds=10),
    Scenario(
        name="edit",
        play=edit,
        pods=(EDITED,),
        processes={("uid-web", "main"): 1, ("uid-web", "side"): 1, ("uid-web-2", "main"): 1},
    ),
    Scenario(
        name="run once",
        play=run_once,
        pods=(ONCE,),
        scripts={("once", "main"): [Program(seconds=3, code=7)]},
        processes={("uid-once", "main"): 1},
        phases={"uid-once": Phase.FAILED},
        codes={("uid-once", "main"): 7},
    ),
    Scenario(
        name="ends at once",
        play=run_once,
        pods=(ONCE,),
        scripts={("once", "main"): [Program(seconds=0, code=0)]},
        processes={("uid-once", "main"): 1},
        phases={"uid-once": Phase.SUCCEEDED},
        codes={("uid-once", "main"): 0},
    ),
    Scenario(
        name="fail twice, then succeed",
        play=fail_and_succeed,
        pods=(FAILING,),
        scripts={("failing", "main"): [Program(seconds=2, code=1), Program(seconds=2, code=2), Program(seconds=2)]},
        processes={("uid-failing", "main"): 3},
        phases={"uid-failing": Phase.SUCCEEDED},
        codes={("uid-failing", "main"): 0},
    ),
    Scenario(name="stubborn", play=stop_stubborn, pods=(), processes={("uid-stubborn", "main"): 1}),
    Scenario(
        name="lose the sandbox",
        play=lose_sandbox,
        pods=(MIXED,),
        scripts={("mixed", "done"): [Program(seconds=1, code=0)]},
        processes={("uid-mixed", "done"): 1, ("uid-mixed", "going"): 2},
        perhaps=frozenset({("uid-mixed", "going")}),
        loses_sandbox=True,
    ),
    Scenario(
        name="initialize",
        play=initialize,
        pods=(INIT,),
        scripts={
            ("init", "one"): [Program(seconds=1)],
            ("init", "two"): [Program(seconds=2, code=1), Program(seconds=1)],
        },
        processes={("uid-init", name): 1 for name in ("one", "side", "main", "after")} | {("uid-init", "two"): 2},
        codes={("uid-init", "one"): 0, ("uid-init", "two"): 0},
    ),
    Scenario(
        name="initialize and remove",
        play=initialize_and_remove,
        pods=(),
        scripts={("init", "one"): [Program(seconds=1)], ("init", "two"): [Program(seconds=1)]},
        processes={("uid-init", name): 1 for name in ("one", "side", "two", "main", "after")},
    ),
    Scenario(
        name="a probe that fails",
        play=probe,
        pods=(PROBED,),
        processes={("uid-probed", "main"): 2},
        perhaps=frozenset({("uid-probed", "main")}),
    ),
    Scenario(
        name="a batch with a sidecar",
        play=run_batch,
        pods=(BATCH,),
        scripts={("batch", "one"): [Program(seconds=1)], ("batch", "main"): [Program(seconds=5, code=3)]},
        processes={("uid-batch", name): 1 for name in ("one", "side", "main")},
        phases={"uid-batch": Phase.FAILED},
        codes={("uid-batch", "one"): 0, ("uid-batch", "side"): 143, ("uid-batch", "main"): 3},
    ),
    Scenario(
        name="exceed the deadline",
        play=exceed_the_deadline,
        pods=(LATE,),
        processes={("uid-late", name): 1 for name in ("side", "main")},
        phases={"uid-late": Phase.FAILED},
        codes={("uid-late", "side"): 143, ("uid-late", "main"): 143},
        perhaps=frozenset({("uid-late", "side"), ("uid-late", "main")}),
    ),
    Scenario(
        name="all begin again",
        play=restart_all,
        pods=(RULED,),
        scripts={("ruled", "one"): [Program(seconds=1)], ("ruled", "main"): [Program(seconds=5, code=42), Program()]},
        processes={("uid-ruled", name): 2 for name in ("one", "main", "other")},
        codes={("uid-ruled", "one"): 0},
        perhaps=frozenset({("uid-ruled", "other")}),
    ),
]


async def play_with_crashes(scenario: Scenario, point: int, *later: int) -> bool:
    """Whether the first life ended at the point; False when it got through. ``later``: points in the lives that
    follow, before the last, which is left alone."""
    world = World()
    world.machine.scripts.update(scenario.scripts)
    world.machine.pull_seconds = scenario.pull_seconds
    async with world.daemon(ends_at=point) as first:
        await scenario.play(world)
        crashed = first.life.over.is_set()
    forgotten = {*forgotten_by(world)} if crashed else set()
    for again in later:
        async with world.daemon(ends_at=again):
            await world.clock.advance(30)
        forgotten |= forgotten_by(world)
    async with world.daemon() as last:
        await world.clock.advance(2000)
        check(scenario, world, last, forgotten)
    return crashed


def forgotten_by(world: World) -> set[tuple[str, str]]:
    """Containers of which nobody knows that they ran: the sandbox died, its remains were removed, and the new one,
    whose document tells of them, was not made yet. The one window there is: it takes two deaths within milliseconds."""
    known = {uid for uid, pod in world.machine.pods.items() if pod.document is not None}
    return {key for key in world.machine.processes if key[0] not in known}


def check(scenario: Scenario, world: World, daemon: Daemon, forgotten: set[tuple[str, str]]) -> None:
    machine = world.machine
    assert machine.violations == []
    assert machine.owners() == {p.uid for p in scenario.pods}
    for key, number in machine.processes.items():
        most = scenario.processes.get(key, 0) + (scenario.loses_sandbox and key in forgotten)
        assert number <= most, f"{key} ran {number} times"
    for wanted in scenario.pods:
        status = daemon.status(wanted)
        assert status.phase is scenario.phases.get(wanted.uid, Phase.RUNNING)
        for c in (*status.init_container_statuses, *status.container_statuses):
            least = scenario.processes[wanted.uid, c.name] - ((wanted.uid, c.name) in scenario.perhaps)
            assert machine.processes.get((wanted.uid, c.name), 0) >= least
            if (wanted.uid, c.name) not in machine.processes:
                continue
            code = scenario.codes.get((wanted.uid, c.name))
            if code is None and isinstance(c.state, Terminated):
                assert c.state.exit_code == 0
            elif code is None:
                assert isinstance(c.state, Running)
                run = machine.run_of(wanted, c.name)
                assert run is not None
                assert c.container_id == f"nsrun://{run.running.hash}"
            else:
                assert isinstance(c.state, Terminated)
                assert c.state.exit_code == code
    assert {run.id.uid for run in machine.live()} <= {p.uid for p in scenario.pods}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
async def test_nothing_is_lost_or_doubled_whatever_the_point(scenario: Scenario) -> None:
    point = 1
    while await play_with_crashes(scenario, point):
        point += 1
    assert point > 10


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
async def test_nor_when_the_next_life_ends_too(scenario: Scenario) -> None:
    """Every third point of the first life, with points all over the second and third."""
    for first in range(1, 60, 3):
        for second in (1, 2, 3, 5, 8, 13, 21):
            await play_with_crashes(scenario, first, second, second + first % 4)
