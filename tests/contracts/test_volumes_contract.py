"""What every ``Volumes`` keeps to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from nsrun.errors import VolumeError
from nsrun.model.image import Image, ImageConfig
from nsrun.model.objects import Objects
from nsrun.model.pod import ObjectMeta, Pod, PodSpec
from nsrun.model.volume import (
    ClaimVolume,
    ConfigMapVolume,
    EmptyDir,
    EmptyDirMedium,
    ImageVolume,
    SecretVolume,
    Volume,
)
from nsrun.supervisor.ports import Volumes
from nsrun.support.layout import Layout
from tests.contracts.fakes import FakeMachine, FakeVolumes, Life
from tests.contracts.virtualclock import VirtualClock
from tests.unit.runtime.pods import container
from tests.unit.volumes.world import claims, objects, prepare, volume_service


def pod(name: str, *, volumes: Sequence[str] = ()) -> Pod:
    return Pod(
        metadata=ObjectMeta(name=name, namespace="default", uid=f"uid-{name}"),
        spec=PodSpec(containers=(container(),), volumes=tuple(Volume(name=v, source=EmptyDir()) for v in volumes)),
    )


def pod_of(*volumes: Volume) -> Pod:
    return replace(pod("made"), spec=replace(pod("made").spec, volumes=volumes))


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


async def test_a_pod_that_is_cleared_is_an_owner_still(volumes: Volumes) -> None:
    await prepare(volumes, POD)
    for _ in range(2):
        await volumes.clear(POD.uid)
        assert await volumes.owners() == {POD.uid}
    await volumes.clear("never-heard-of")
    assert set(await prepare(volumes, POD)) == {"data", "logs"}
    await volumes.remove(POD.uid)
    assert await volumes.owners() == frozenset()


async def test_pods_do_not_touch_each_others(volumes: Volumes) -> None:
    other = pod("other", volumes=["data"])
    mine, theirs = await prepare(volumes, POD), await prepare(volumes, other)
    assert mine["data"].path != theirs["data"].path
    await volumes.remove(other.uid)
    assert await volumes.owners() == {POD.uid}


# --- volumes that are made of objects

CONFIG = pod_of(Volume(name="config", source=ConfigMapVolume(name="cfg")))
KNOWN = objects(config={"cfg": {"key": b"value"}})


async def test_a_pod_waits_for_the_objects_it_needs(volumes: Volumes) -> None:
    with pytest.raises(VolumeError, match=r'volume "config": .*cfg'):
        await prepare(volumes, CONFIG)
    assert set(await prepare(volumes, CONFIG, KNOWN)) == {"config"}


async def test_what_is_optional_may_be_missing(volumes: Volumes) -> None:
    optional = pod_of(
        Volume(name="config", source=ConfigMapVolume(name="cfg", optional=True)),
        Volume(name="secret", source=SecretVolume(name="key", optional=True)),
    )
    assert set(await prepare(volumes, optional)) == {"config", "secret"}


async def test_refreshing_can_be_repeated_and_needs_nothing(volumes: Volumes) -> None:
    await prepare(volumes, CONFIG, KNOWN)
    for known in (KNOWN, objects(config={"cfg": {"key": b"other"}}), Objects(), Objects()):
        await volumes.refresh(CONFIG, known, None)
    await volumes.refresh(pod("never-heard-of"), Objects(), None)
    assert await volumes.owners() == {CONFIG.uid}


async def test_usage_is_told_of_directories_on_disk_only(volumes: Volumes) -> None:
    mixed = pod_of(
        Volume(name="disk", source=EmptyDir()),
        Volume(name="memory", source=EmptyDir(medium=EmptyDirMedium.MEMORY)),
        Volume(name="config", source=ConfigMapVolume(name="cfg")),
    )
    await prepare(volumes, mixed, KNOWN)
    used = await volumes.usage(mixed)
    assert set(used) == {"disk"}
    assert all(bytes_used >= 0 for bytes_used in used.values())
    assert await volumes.usage(pod("bare")) == {}


async def test_an_image_volume_is_the_layers_of_its_image(volumes: Volumes) -> None:
    image = Image(
        reference="docker.io/library/data:latest",
        digest="sha256:" + "0" * 64,
        config_digest="sha256:" + "1" * 64,
        config=ImageConfig(),
        layers=("/layers/b", "/layers/a"),
        size=1,
    )
    wanted = pod_of(Volume(name="data", source=ImageVolume(reference="data", pull_policy="Never")))
    assert set(await prepare(volumes, wanted, images={"data": image})) == {"data"}
    await volumes.remove(wanted.uid)


async def test_deleting_claims_can_be_repeated(volumes: Volumes) -> None:
    wanted = pod_of(Volume(name="data", source=ClaimVolume(claim_name="data")))
    known = claims("data")
    for _ in range(2):
        await prepare(volumes, wanted, known)
        await volumes.delete_claims([("default", "data")])
        await volumes.delete_claims([])
    await volumes.remove(wanted.uid)
    for _ in range(2):
        await volumes.delete_claims([("default", "data")])
    assert await volumes.owners() == frozenset()
