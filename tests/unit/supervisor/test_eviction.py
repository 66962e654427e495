"""Pods that write more than they may."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import replace

import pytest

from nsrun.errors import VolumeError
from nsrun.model.container import Container
from nsrun.model.pod import Pod
from nsrun.model.quantity import parse_quantity
from nsrun.model.resources import ResourceRequirements
from nsrun.model.status import Phase
from nsrun.model.volume import EmptyDir, EmptyDirMedium, HostPath, Volume
from nsrun.supervisor.eviction import Evictions, breach, is_limited
from tests.contracts.fakes import FakeMachine, FakeRuntime, FakeVolumes, Life
from tests.contracts.virtualclock import VirtualClock
from tests.unit.supervisor.world import World, container, pod

Mi = 1 << 20


def limited(name: str, limit: str = "") -> Container:
    limits = {"ephemeral-storage": parse_quantity(limit)} if limit else {}
    return replace(container(name), resources=ResourceRequirements(limits=limits))


def with_volumes(*containers: Container, **volumes: EmptyDir | HostPath) -> Pod:
    made = pod("web", *containers)
    return replace(
        made, spec=replace(made.spec, volumes=tuple(Volume(name=name, source=v) for name, v in volumes.items()))
    )


def empty_dir(limit: str = "", medium: EmptyDirMedium = EmptyDirMedium.DISK) -> EmptyDir:
    return EmptyDir(medium=medium, size_limit=parse_quantity(limit) if limit else None)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (with_volumes(limited("main")), False),
        (with_volumes(limited("main"), v=empty_dir()), False),
        (with_volumes(limited("main"), v=empty_dir("0")), False),
        (with_volumes(limited("main"), v=empty_dir("1Mi", EmptyDirMedium.MEMORY)), False),
        (with_volumes(limited("main"), v=HostPath(path="/x")), False),
        (with_volumes(limited("main"), v=empty_dir("1Mi")), True),
        (with_volumes(limited("main", "1Gi")), True),
        (with_volumes(limited("main"), limited("other", "1Gi")), True),
    ],
)
def test_who_is_looked_at(found: Pod, expected: bool) -> None:
    assert is_limited(found) is expected


TOO_MUCH_IN_ALL = "Pod ephemeral local storage usage exceeds the total limit of containers 5Mi. "
BOTH = with_volumes(limited("main", "3Mi"), limited("other", "2Mi"), v=empty_dir("1024Ki"), w=empty_dir())


@pytest.mark.parametrize(
    ("volumes", "containers", "message"),
    [
        ({}, {}, None),
        ({"v": Mi}, {"main": 3 * Mi, "other": Mi}, None),
        ({"v": Mi + 1}, {}, 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". '),
        (
            {"v": 0, "w": 5 * Mi + 1},
            {},
            "Pod ephemeral local storage usage exceeds the total limit of containers 5Mi. ",
        ),
        (
            {"v": Mi},
            {"main": 3 * Mi, "other": Mi + 1},
            "Pod ephemeral local storage usage exceeds the total limit of containers 5Mi. ",
        ),
        ({}, {"other": 2 * Mi + 1}, 'Container other exceeded its local ephemeral storage limit "2Mi". '),
        ({}, {"unknown": 4 * Mi}, None),
    ],
)
def test_what_is_too_much(volumes: Mapping[str, int], containers: Mapping[str, int], message: str | None) -> None:
    assert breach(BOTH, volumes, containers) == message


def test_a_pod_without_a_sum_has_no_limit_on_it() -> None:
    only = with_volumes(limited("main"), v=empty_dir("1Mi"))
    assert breach(only, {"v": 1}, {"main": 1 << 40}) is None


async def test_a_pod_that_writes_too_much_fails_and_stays_so() -> None:
    world = World()
    made = with_volumes(limited("main", "1Mi"), v=empty_dir())
    async with world.daemon() as daemon:
        world.manifests.say(made)
        await world.clock.advance(25.0)
        assert daemon.status(made).phase is Phase.RUNNING
        world.machine.written[made.uid] = {"main": 2 * Mi, "v": 1}
        await world.clock.advance(60.0)
        status = daemon.status(made)
        assert (status.phase, status.reason) == (Phase.FAILED, "Evicted")
        message = "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. "
        assert status.message == message
        assert world.machine.live() == []
        assert daemon.reasons(made).count("Evicted") <= 1


async def test_only_pods_with_limits_are_looked_at() -> None:
    world = World()
    async with world.daemon():
        world.manifests.say(with_volumes(limited("main"), v=empty_dir()))
        await world.clock.advance(60.0)
        assert not {"usage", "volume usage"} & set(world.machine.calls)


async def test_what_cannot_be_seen_is_looked_at_again(caplog: pytest.LogCaptureFixture) -> None:
    clock = VirtualClock()
    machine = FakeMachine(clock)
    life = Life(machine)
    machine.failures["volume usage"] = [VolumeError("cannot look")]
    evicted: list[str] = []

    def evict(pod: Pod, reason: str, message: str, *, grace: float) -> None:
        evicted.append(f"{pod.uid} {reason} {grace:g}: {message}")

    evictions = Evictions(
        volumes=FakeVolumes(machine, life),
        runtime=FakeRuntime(machine, life),
        clock=clock,
        pods=lambda: [BOTH],
        evict=evict,
    )
    machine.written[BOTH.uid] = {"v": 2 * Mi}
    task = asyncio.create_task(evictions.run())
    await clock.advance(15.0)
    assert evicted == []
    assert "Cannot see how much disk pod default/web uses: cannot look" in caplog.text
    await clock.advance(10.0)
    assert evicted == ['uid-web Evicted 1: Usage of EmptyDir volume "v" exceeds the limit "1Mi". ']
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
