"""``kill -9`` of the supervisor at every point while containers are stopped, started and restarted by hand.

What it said was done is so for the next one; what it was still at either never began or is gone on with.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from nsrun.model.pod import Pod, RestartPolicy
from nsrun.model.probe import Lifecycle
from nsrun.model.status import ContainerState, Running, Waiting
from nsrun.supervisor.control import Verb
from tests.contracts.fakes import Program
from tests.unit.supervisor.world import Daemon, World, container, hook, pod, sidecar

MAIN = container("main", lifecycle=Lifecycle(pre_stop=hook("sleep 1; exit 0")))
WEB = pod("web", MAIN, container("other"), init=[sidecar("side")], policy=RestartPolicy.NEVER)
BATCH = pod("web", MAIN, container("other"), init=[sidecar("side")], policy=RestartPolicy.ALWAYS)


async def order(world: World, daemon: Daemon, verb: Verb) -> bool:
    """Whether it was said that it is done."""
    if not daemon.board.pods():
        return False
    given = daemon.supervisor.command(WEB.name, verb, ["main"])
    await world.clock.advance(30)
    return all(one.done for one in given.look())


async def stop(world: World, daemon: Daemon) -> list[bool]:
    return [await order(world, daemon, Verb.STOP)]


async def stop_and_start(world: World, daemon: Daemon) -> list[bool]:
    return [await order(world, daemon, Verb.STOP), await order(world, daemon, Verb.START)]


async def restart(world: World, daemon: Daemon) -> list[bool]:
    return [await order(world, daemon, Verb.RESTART)]


def is_stopped(state: ContainerState) -> bool:
    return isinstance(state, Waiting) and state.reason == "Stopped"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """``most``: processes of the container there may have been. ``stops``: whether it is stopped when all is done."""

    play: Callable[[World, Daemon], Awaitable[list[bool]]]
    most: int
    stops: bool = False


SCENARIOS = {
    "stop": Scenario(play=stop, most=1, stops=True),
    "stop and start": Scenario(play=stop_and_start, most=2),
    "restart": Scenario(play=restart, most=2),
}


@pytest.mark.parametrize("wanted", [WEB, BATCH], ids=lambda p: str(p.spec.restart_policy))
@pytest.mark.parametrize("name", SCENARIOS)
async def test_what_was_done_is_done_and_what_began_is_gone_on_with(name: str, wanted: Pod) -> None:
    scenario, point, crashed = SCENARIOS[name], 0, True
    while crashed:
        point += 1
        world = World()
        world.machine.scripts["web", "main"] = [Program(takes=2), Program()]
        world.manifests.say(wanted)
        async with world.daemon(ends_at=point) as first:
            await world.clock.advance(30)
            told = await scenario.play(world, first)
            crashed = first.life.over.is_set()
        async with world.daemon() as last:
            await world.clock.advance(2000)
            check(scenario, world, last, told)
    assert point > 15


@pytest.mark.parametrize("name", SCENARIOS)
async def test_nor_is_it_forgotten_when_the_next_ones_are_killed_too(name: str) -> None:
    scenario = SCENARIOS[name]
    for first in range(12, 40, 3):
        for second in (1, 2, 3, 5, 8):
            world = World()
            world.machine.scripts["web", "main"] = [Program(takes=2), Program()]
            world.manifests.say(BATCH)
            async with world.daemon(ends_at=first) as daemon:
                await world.clock.advance(30)
                told = await scenario.play(world, daemon)
            for again in (second, second + first % 4):
                async with world.daemon(ends_at=again):
                    await world.clock.advance(30)
            async with world.daemon() as last:
                await world.clock.advance(2000)
                check(scenario, world, last, told)


def check(scenario: Scenario, world: World, daemon: Daemon, told: list[bool]) -> None:
    machine = world.machine
    state = daemon.container(WEB).state
    assert machine.violations == []
    assert machine.processes["uid-web", "main"] <= scenario.most
    assert machine.processes["uid-web", "other"] == machine.processes["uid-web", "side"] == 1
    assert isinstance(daemon.container(WEB, "other").state, Running)
    if all(told):
        assert is_stopped(state) is scenario.stops
    elif told[0]:
        assert is_stopped(state) or isinstance(state, Running), "a start that was cut off was made, or was not"
    if is_stopped(state):
        assert machine.run_of(WEB, "main") is None
    elif scenario.stops:
        assert machine.processes["uid-web", "main"] == 1, "its stop never began"
        assert isinstance(state, Running)
