"""Who asks how often, and what is looked at then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from nsrun.errors import ImageError, NetworkError, RuntimeFailure
from nsrun.model.figures import DiskUse
from nsrun.supervisor.measuring import DISK_EVERY, RECENT, SPACING, WINDOW, Measuring
from nsrun.supervisor.rates import container_rates, network_flow, pod_rates, rates_of
from tests.contracts.fakefigures import CORES, MIB
from tests.contracts.fakes import FakeImages, FakeNetwork, FakeRuntime, FakeVolumes
from tests.unit.supervisor.world import Daemon, World, container, pod

WEB = pod("web", container("main"), container("side"), volumes=["data"])


@dataclass(kw_only=True)
class Measured:
    """Two containers that run, and who measures them. ``looks``: at what times cgroups were read."""

    world: World
    daemon: Daemon
    measuring: Measuring
    looks: list[float] = field(default_factory=list)


@pytest_asyncio.fixture
async def measured() -> AsyncIterator[Measured]:
    world = World()
    world.manifests.say(WEB)
    async with world.daemon() as daemon:
        await world.clock.advance(10)
        life = daemon.life
        measuring = Measuring(
            runtime=FakeRuntime(world.machine, life),
            network=FakeNetwork(world.machine, life),
            images=FakeImages(world.machine, life),
            volumes=FakeVolumes(world.machine, life),
            board=daemon.board,
            clock=world.clock,
        )
        made = Measured(world=world, daemon=daemon, measuring=measuring)
        world.machine.reached["figures"] = lambda: made.looks.append(world.clock.now())
        yield made


async def test_everybody_gets_the_same_look(measured: Measured) -> None:
    looks = await asyncio.gather(*(measured.measuring.look() for _ in range(20)))
    assert len({id(look) for look in looks}) == 1
    assert len(measured.looks) == 1
    await measured.world.clock.advance(SPACING - 0.1)
    assert await measured.measuring.look() is looks[0]
    await measured.world.clock.advance(0.2)
    assert await measured.measuring.look() is not looks[0]


async def test_a_look_that_took_long_is_not_repeated_soon(measured: Measured) -> None:
    measured.world.machine.slow["figures"] = 2.0
    task = asyncio.create_task(measured.measuring.look())
    await measured.world.clock.advance(2.0)
    look = await task
    assert look.took == 2.0
    await measured.world.clock.advance(7.9)
    assert await measured.measuring.look() is look


async def test_whoever_needs_more_than_a_brief_look_gets_it(measured: Measured) -> None:
    brief = await measured.measuring.look(brief=True)
    assert brief.brief
    whole = await measured.measuring.look()
    assert not whole.brief
    assert await measured.measuring.look(brief=True) is whole


async def test_a_rate_needs_two_looks(measured: Measured) -> None:
    task = asyncio.create_task(measured.measuring.since())
    await measured.world.clock.advance(WINDOW)
    since = await task
    assert len(measured.looks) == 2
    assert since.now.monotonic - since.before.monotonic == pytest.approx(WINDOW)
    assert container_rates(since, WEB.uid, "main").cpu == pytest.approx(CORES * 1e9)
    assert pod_rates(since, WEB.uid).cpu == pytest.approx(2 * CORES * 1e9)
    assert container_rates(since, WEB.uid, "main").written == pytest.approx(2000)
    assert rates_of(since, lambda figures: figures.machine.usage).cpu == pytest.approx(1.5e9)
    flow = network_flow(since, WEB.uid)
    assert flow is not None
    assert flow.received_rate == pytest.approx(1000)
    assert flow.sent_rate == pytest.approx(2000)


async def test_the_next_one_does_not_wait(measured: Measured) -> None:
    task = asyncio.create_task(measured.measuring.since())
    await measured.world.clock.advance(WINDOW)
    first = await task
    await measured.world.clock.advance(10)
    second = await measured.measuring.since()
    assert second.before is first.now
    assert container_rates(second, WEB.uid, "main").cpu == pytest.approx(CORES * 1e9)


async def test_a_look_of_long_ago_is_nothing_to_compare_with(measured: Measured) -> None:
    await measured.measuring.look()
    await measured.world.clock.advance(RECENT + 1)
    task = asyncio.create_task(measured.measuring.since())
    await measured.world.clock.advance(WINDOW)
    since = await task
    assert since.now.monotonic - since.before.monotonic == pytest.approx(WINDOW)


async def test_what_began_meanwhile_is_measured_since_then(measured: Measured) -> None:
    task = asyncio.create_task(measured.measuring.since())
    await measured.world.clock.advance(WINDOW)
    await task
    run = measured.world.machine.run_of(WEB, "main")
    assert run is not None
    measured.world.machine.end(run, code=1)
    measured.world.manifests.say(WEB, pod("new"))
    await measured.world.clock.advance(20)
    since = await measured.measuring.since()
    assert container_rates(since, "uid-new", "main").cpu == pytest.approx(CORES * 1e9)
    assert container_rates(since, WEB.uid, "main").cpu == pytest.approx(CORES * 1e9)
    flow = network_flow(since, "uid-new")
    assert flow is not None
    assert flow.received_rate is None
    assert flow.received > 0


async def test_a_pod_in_the_hosts_network_has_no_flow(measured: Measured) -> None:
    measured.world.machine.attached.clear()
    task = asyncio.create_task(measured.measuring.since())
    await measured.world.clock.advance(WINDOW)
    assert network_flow(await task, WEB.uid) is None


async def test_without_the_network_the_rest_is_told(measured: Measured) -> None:
    measured.world.machine.failures["network figures"] = [NetworkError("cannot read counters")]
    look = await measured.measuring.look()
    assert look.errors == 1
    assert look.network.pods == {}
    assert WEB.uid in look.figures.pods


async def test_disks_are_looked_at_once_a_minute_and_only_when_somebody_asks(measured: Measured) -> None:
    machine, clock = measured.world.machine, measured.world.clock
    asked: list[float] = []
    machine.written[WEB.uid] = {"main": 3 * MIB, "data": MIB}
    machine.reached["image file system"] = lambda: asked.append(clock.now())
    task = asyncio.create_task(measured.measuring.run())
    await clock.advance(1000)
    assert asked == []
    first = await measured.measuring.disk()
    assert first.root is not None
    assert first.containers == {}
    await clock.advance(1)
    found = await measured.measuring.disk()
    assert found.containers[WEB.uid]["main"].root == DiskUse(bytes=3 * MIB, inodes=1)
    assert found.volumes[WEB.uid] == {"data": MIB}
    assert found.images is not None
    for _ in range(100):
        await measured.measuring.disk()
    await clock.advance(DISK_EVERY - 2)
    assert len(asked) == 1
    await clock.advance(3)
    assert len(asked) == 2, "somebody asked meanwhile"
    await clock.advance(1000)
    assert len(asked) == 2
    task.cancel()


async def test_a_disk_that_cannot_be_read_is_not_known(measured: Measured) -> None:
    machine = measured.world.machine
    machine.failures["usage"] = [RuntimeFailure("cannot look")]
    machine.failures["image file system"] = [ImageError("cannot look")]
    machine.failures["file system"] = [RuntimeFailure("cannot look")]
    task = asyncio.create_task(measured.measuring.run())
    assert (await measured.measuring.disk()).root is None
    await measured.world.clock.advance(1)
    found = await measured.measuring.disk()
    assert (found.containers[WEB.uid], found.images) == ({}, None)
    assert found.root is not None
    task.cancel()
