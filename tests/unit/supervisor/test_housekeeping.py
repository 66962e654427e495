"""The image store is looked after."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field

import pytest

from nsrun.errors import ImageError, SettingsError
from nsrun.model.retention import ImageRetention, Reclaimed
from nsrun.supervisor.housekeeping import Housekeeping, HousekeepingSettings
from tests.contracts.fakes import FakeImages, FakeMachine, Life
from tests.contracts.virtualclock import VirtualClock
from tests.unit.supervisor.world import World, container, pod


@dataclass(kw_only=True)
class Kept:
    clock: VirtualClock
    answers: list[Reclaimed | ImageError] = field(default_factory=list)
    asked: list[tuple[float, ImageRetention, Collection[str]]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


@pytest.fixture
async def kept() -> AsyncIterator[Kept]:
    clock = VirtualClock(0.0)
    found = Kept(clock=clock)
    machine = FakeMachine(clock)

    class Answering(FakeImages):
        async def reclaim(self, retention: ImageRetention, used: Collection[str]) -> Reclaimed:
            found.asked.append((clock.now(), retention, used))
            answer = found.answers.pop(0) if found.answers else Reclaimed()
            if isinstance(answer, ImageError):
                raise answer
            return answer

    housekeeping = Housekeeping(
        images=Answering(machine, Life(machine)),
        clock=clock,
        used=lambda: {"sha256:1"},
        say=lambda notice: found.said.append(f"{notice.reason}: {notice.message}"),
        settings=HousekeepingSettings(images=ImageRetention(high_percent=50, low_percent=40)),
    )
    task = asyncio.create_task(housekeeping.run())
    yield found
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_it_looks_at_once_and_every_five_minutes(kept: Kept) -> None:
    await kept.clock.advance(700.0)
    assert [time for time, _, _ in kept.asked] == [0.0, 300.0, 600.0]
    assert kept.asked[0][1].high_percent == 50
    assert kept.asked[0][2] == {"sha256:1"}
    assert kept.said == []


async def test_what_is_missing_is_said_once_until_it_is_not(kept: Kept) -> None:
    short = Reclaimed(freed=10, missing=32)
    kept.answers = [short, short, Reclaimed(freed=1), ImageError("no disk"), short, Reclaimed(), short]
    await kept.clock.advance(301.0)
    assert kept.said == [
        "FreeDiskSpaceFailed: Failed to garbage collect required amount of images. "
        "Attempted to free 42 bytes, but only found 10 bytes eligible to free."
    ]
    await kept.clock.advance(300.0 * 6)
    assert [line.split(":")[0] for line in kept.said] == ["FreeDiskSpaceFailed", "ImageGCFailed", "FreeDiskSpaceFailed"]
    assert kept.said[1] == "ImageGCFailed: no disk"


async def test_images_that_a_pod_has_chosen_stay() -> None:
    world = World()
    made = pod("web", container("main", image="wanted"))
    async with world.daemon() as daemon:
        world.manifests.say(made)
        await world.clock.advance(5.0)
        await daemon.supervisor._with.images.ensure("other", made.spec.containers[0].image_pull_policy)
        assert set(world.machine.images) == {"wanted", "other"}
        world.machine.disk_used = 90
        await world.clock.advance(600.0)
        assert set(world.machine.images) == {"wanted"}


@pytest.mark.parametrize(
    "settings",
    [
        {"high_percent": 101},
        {"low_percent": -1},
        {"high_percent": 50},
        {"minimum_age": -1.0},
        {"maximum_age": -1.0},
        {"maximum_age": 60.0},
    ],
)
def test_thresholds_that_nobody_can_mean(settings: dict[str, int]) -> None:
    with pytest.raises(SettingsError):
        ImageRetention(**settings)
