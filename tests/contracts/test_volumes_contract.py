"""What every ``Volumes`` keeps to."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsrun.supervisor.ports import Volumes
from nsrun.support.layout import Layout
from nsrun.volumes.service import VolumeService
from tests.contracts.fakes import FakeMachine, FakeVolumes, Life
from tests.contracts.virtualclock import VirtualClock
from tests.unit.supervisor.world import container, pod

POD = pod("web", container("main", volumes=["data", "logs"]), volumes=["data", "logs"])


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.root)])
def volumes(request: pytest.FixtureRequest, tmp_path: Path) -> Volumes:
    if request.param == "real":
        return VolumeService(Layout(root=tmp_path / "root", run_dir=tmp_path / "run"), memory_total=1 << 30)
    machine = FakeMachine(VirtualClock())
    return FakeVolumes(machine, Life(machine))


async def test_every_volume_of_the_pod_is_prepared(volumes: Volumes) -> None:
    prepared = await volumes.prepare(POD)
    assert set(prepared) == {"data", "logs"}
    assert all(volume.name == name for name, volume in prepared.items())
    assert len({volume.path for volume in prepared.values()}) == 2


async def test_preparing_again_keeps_what_is_there(volumes: Volumes) -> None:
    first = await volumes.prepare(POD)
    assert await volumes.prepare(POD) == first


async def test_a_pod_without_volumes_is_prepared_too(volumes: Volumes) -> None:
    assert dict(await volumes.prepare(pod("bare"))) == {}


async def test_owners_are_those_who_have_something(volumes: Volumes) -> None:
    assert await volumes.owners() == frozenset()
    await volumes.prepare(POD)
    await volumes.prepare(pod("other", volumes=["data"]))
    assert await volumes.owners() == {POD.uid, "uid-other"}


async def test_removal_leaves_nothing_and_can_be_repeated(volumes: Volumes) -> None:
    await volumes.prepare(POD)
    await volumes.remove(POD.uid)
    assert await volumes.owners() == frozenset()
    await volumes.remove(POD.uid)
    await volumes.remove("never-heard-of")
    await volumes.prepare(POD)
    assert await volumes.owners() == {POD.uid}


async def test_pods_do_not_touch_each_others(volumes: Volumes) -> None:
    other = pod("other", volumes=["data"])
    mine, theirs = await volumes.prepare(POD), await volumes.prepare(other)
    assert mine["data"].path != theirs["data"].path
    await volumes.remove(other.uid)
    assert await volumes.owners() == {POD.uid}
