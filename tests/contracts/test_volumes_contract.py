"""What every ``Volumes`` keeps to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from nsrun.model.pod import ObjectMeta, Pod, PodSpec
from nsrun.model.volume import EmptyDir, Volume
from nsrun.supervisor.ports import Volumes
from nsrun.support.layout import Layout
from tests.contracts.fakes import FakeMachine, FakeVolumes, Life
from tests.contracts.virtualclock import VirtualClock
from tests.unit.runtime.pods import container
from tests.unit.volumes.world import prepare, volume_service


def pod(name: str, *, volumes: Sequence[str] = ()) -> Pod:
    return Pod(
        metadata=ObjectMeta(name=name, namespace="default", uid=f"uid-{name}"),
        spec=PodSpec(containers=(container(),), volumes=tuple(Volume(name=v, source=EmptyDir()) for v in volumes)),
    )


POD = pod("web", volumes=["data", "logs"])


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.root)])
def volumes(request: pytest.FixtureRequest, tmp_path: Path) -> Volumes:
    if request.param == "real":
        return volume_service(Layout(root=tmp_path / "root", run_dir=tmp_path / "run"))
    machine = FakeMachine(VirtualClock())
    return FakeVolumes(machine, Life(machine))


async def test_every_volume_of_the_pod_is_prepared(volumes: Volumes) -> None:
    prepared = await prepare(volumes, POD)
    assert set(prepared) == {"data", "logs"}
    assert all(volume.name == name for name, volume in prepared.items())
    assert len({volume.path for volume in prepared.values()}) == 2


async def test_preparing_again_keeps_what_is_there(volumes: Volumes) -> None:
    first = await prepare(volumes, POD)
    assert await prepare(volumes, POD) == first


async def test_a_pod_without_volumes_is_prepared_too(volumes: Volumes) -> None:
    assert dict(await prepare(volumes, pod("bare"))) == {}


async def test_owners_are_those_who_have_something(volumes: Volumes) -> None:
    assert await volumes.owners() == frozenset()
    await prepare(volumes, POD)
    await prepare(volumes, pod("other", volumes=["data"]))
    assert await volumes.owners() == {POD.uid, "uid-other"}


async def test_removal_leaves_nothing_and_can_be_repeated(volumes: Volumes) -> None:
    await prepare(volumes, POD)
    await volumes.remove(POD.uid)
    assert await volumes.owners() == frozenset()
    await volumes.remove(POD.uid)
    await volumes.remove("never-heard-of")
    await prepare(volumes, POD)
    assert await volumes.owners() == {POD.uid}


async def test_pods_do_not_touch_each_others(volumes: Volumes) -> None:
    other = pod("other", volumes=["data"])
    mine, theirs = await prepare(volumes, POD), await prepare(volumes, other)
    assert mine["data"].path != theirs["data"].path
    await volumes.remove(other.uid)
    assert await volumes.owners() == {POD.uid}
