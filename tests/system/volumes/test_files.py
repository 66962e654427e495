"""ConfigMaps, Secrets, the pod's own fields: where they are, who may read them, and how they change."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from nsrun.errors import VolumeError
from nsrun.host.mountinfo import Mount, parse_mountinfo
from nsrun.model.environment import FieldRef
from nsrun.model.objects import Objects
from nsrun.model.security import PodSecurityContext
from nsrun.model.volume import (
    ConfigMapVolume,
    DownwardFile,
    DownwardVolume,
    KeyFile,
    ProjectedVolume,
    SecretVolume,
    VolumeSource,
)
from nsrun.support import native
from nsrun.support.layout import Layout
from nsrun.volumes.service import VolumeService
from tests.unit.volumes.world import objects, pod_with, prepare
from tests.waiting import PATIENCE

pytestmark = pytest.mark.root

CONFIG = ConfigMapVolume(name="cfg")
SECRET = SecretVolume(name="key", default_mode=0o400)
LABELS = DownwardVolume(items=(DownwardFile(path="labels", source=FieldRef(field_path="metadata.labels")),))
EVERYTHING = ProjectedVolume(sources=(CONFIG, SECRET, LABELS))
BEFORE = objects(config={"cfg": {"a": b"1", "b": b"1"}}, secret={"key": {"token": b"hush-hush"}})
AFTER = objects(config={"cfg": {"a": b"2", "c": b"2"}}, secret={"key": {"token": b"whisper"}})


def mounts(layout: Layout) -> list[Mount]:
    found = parse_mountinfo(Path("/proc/self/mountinfo").read_text())
    return [mount for mount in found if mount.point.startswith(f"{layout.root}/")]


def texts(directory: Path) -> dict[str, str]:
    return {entry.name: entry.read_text() for entry in directory.iterdir() if not entry.name.startswith("..")}


@pytest.mark.parametrize(("source", "in_memory"), [(CONFIG, False), (SECRET, True), (LABELS, True), (EVERYTHING, True)])
async def test_only_config_maps_touch_the_disk(
    service: VolumeService, layout: Layout, source: VolumeSource, in_memory: bool
) -> None:
    prepared = (await prepare(service, pod_with(source), BEFORE))["data"]
    assert prepared.read_only
    assert [(mount.point, mount.type) for mount in mounts(layout)] == ([(prepared.path, "tmpfs")] if in_memory else [])
    await prepare(service, pod_with(source), BEFORE)
    assert len(mounts(layout)) == int(in_memory)
    await service.remove("uid-1")
    assert mounts(layout) == []
    assert not layout.pod("uid-1").exists()


async def test_all_of_it_is_there(service: VolumeService) -> None:
    path = Path((await prepare(service, pod_with(EVERYTHING, labels={"app": "x"}), BEFORE))["data"].path)
    assert texts(path) == {"a": "1", "b": "1", "token": "hush-hush", "labels": 'app="x"'}


async def test_modes_are_those_of_the_manifest(service: VolumeService) -> None:
    items = (KeyFile(key="token", path="a"), KeyFile(key="token", path="b", mode=0o755))
    pod = pod_with(SecretVolume(name="key", items=items, default_mode=0o400))
    path = Path((await prepare(service, pod, BEFORE))["data"].path)
    assert [stat.S_IMODE((path / name).stat().st_mode) for name in "ab"] == [0o400, 0o755]
    assert stat.S_IMODE(path.stat().st_mode) == 0o1777


@pytest.mark.parametrize("source", [CONFIG, SECRET])
async def test_the_pod_s_group_may_read_and_nobody_else_more(service: VolumeService, source: VolumeSource) -> None:
    security = PodSecurityContext(fs_group=4242)
    path = Path((await prepare(service, pod_with(source, security=security), BEFORE))["data"].path)
    expected = 0o644 if source is CONFIG else 0o440
    files = [entry for entry in path.iterdir() if not entry.name.startswith("..")]
    assert {(stat.S_IMODE(file.stat().st_mode), file.stat().st_gid) for file in files} == {(expected, 4242)}
    status = path.stat()
    assert (stat.S_IMODE(status.st_mode) & 0o2770, status.st_gid) == (0o2770, 4242)
    before = os.readlink(path / "..data")
    await service.refresh(pod_with(source, security=security), BEFORE, None)
    assert os.readlink(path / "..data") == before


async def test_a_change_is_shown_and_only_a_change(service: VolumeService) -> None:
    pod = pod_with(EVERYTHING, labels={"app": "x"})
    path = Path((await prepare(service, pod, BEFORE))["data"].path)
    version = os.readlink(path / "..data")
    await service.refresh(pod, BEFORE, None)
    assert os.readlink(path / "..data") == version
    await service.refresh(pod, AFTER, None)
    assert os.readlink(path / "..data") != version
    assert texts(path) == {"a": "2", "c": "2", "token": "whisper", "labels": 'app="x"'}
    await service.refresh(pod_with(EVERYTHING, labels={"app": "y"}), AFTER, None)
    assert texts(path)["labels"] == 'app="y"'


async def test_what_is_missing_now_leaves_everything_as_it_is(service: VolumeService) -> None:
    path = Path((await prepare(service, pod_with(EVERYTHING), BEFORE))["data"].path)
    await service.refresh(pod_with(EVERYTHING), Objects(config_maps=AFTER.config_maps), None)
    assert texts(path)["a"] == "1"


async def test_what_is_optional_goes_and_comes(service: VolumeService) -> None:
    pod = pod_with(ConfigMapVolume(name="cfg", optional=True))
    path = Path((await prepare(service, pod))["data"].path)
    for known, expected in ((BEFORE, {"a": "1", "b": "1"}), (Objects(), {}), (AFTER, {"a": "2", "c": "2"})):
        await service.refresh(pod, known, None)
        assert texts(path) == expected


async def test_a_key_that_is_gone_is_told_and_changes_nothing(service: VolumeService) -> None:
    pod = pod_with(ConfigMapVolume(name="cfg", items=(KeyFile(key="b", path="b"),)))
    path = Path((await prepare(service, pod, BEFORE))["data"].path)
    with pytest.raises(VolumeError) as raised:
        await service.refresh(pod, AFTER, None)
    assert str(raised.value) == 'cannot mount volume "data": configmap "cfg" references non-existent key: b'
    assert texts(path) == {"b": "1"}


async def test_a_pod_that_is_not_prepared_gets_nothing(service: VolumeService, layout: Layout) -> None:
    await service.refresh(pod_with(EVERYTHING), BEFORE, None)
    assert not layout.pods.exists()


@pytest.mark.parametrize("source", [CONFIG, SECRET, EVERYTHING])
async def test_a_pod_waits_for_what_it_needs(service: VolumeService, source: VolumeSource) -> None:
    with pytest.raises(VolumeError, match=r'cannot mount volume "data": (configmap|secret) "(cfg|key)" not found'):
        await prepare(service, pod_with(source))
    assert (await prepare(service, pod_with(source), BEFORE))["data"].read_only
    await service.remove("uid-1")


async def test_a_pod_that_has_its_files_keeps_them_when_the_object_goes(service: VolumeService) -> None:
    """nsrun was restarted, and the manifest is gone meanwhile: the pod runs on."""
    first = await prepare(service, pod_with(EVERYTHING), BEFORE)
    assert await prepare(service, pod_with(EVERYTHING)) == first
    assert texts(Path(first["data"].path))["token"] == "hush-hush"


async def test_the_same_path_twice_is_told(service: VolumeService) -> None:
    source = ProjectedVolume(sources=(CONFIG, ConfigMapVolume(name="other")))
    known = objects(config={"cfg": {"a": b"1"}, "other": {"a": b"2"}})
    prepared = (await prepare(service, pod_with(source), known))["data"]
    assert prepared.warnings == ('several sources of volume "data" have path "a": the last one is shown',)
    assert texts(Path(prepared.path)) == {"a": "2"}


async def test_after_a_reboot_a_secret_is_in_memory_again(service: VolumeService, layout: Layout) -> None:
    path = Path((await prepare(service, pod_with(SECRET), BEFORE))["data"].path)
    native.umount(str(path))
    assert os.listdir(path) == []
    await service.refresh(pod_with(SECRET), BEFORE, None)
    assert [mount.type for mount in mounts(layout)] == ["tmpfs"]
    assert texts(path) == {"token": "hush-hush"}


async def test_a_part_of_a_volume_that_is_mounted_does_not_change(service: VolumeService, tmp_path: Path) -> None:
    """As with the kubelet: what a subPath showed when the container started stays."""
    path = Path((await prepare(service, pod_with(CONFIG), BEFORE))["data"].path)
    target = tmp_path / "target"
    target.touch()
    native.mount(str(path / "a"), str(target), "none", native.MS_BIND)
    await service.refresh(pod_with(CONFIG), AFTER, None)
    assert (target.read_text(), (path / "a").read_text()) == ("1", "2")


async def test_many_files_change_quickly(service: VolumeService) -> None:
    """A ConfigMap of 1 MiB, the most there can be, while the machine is busy."""
    one, two = ({f"key-{n}": value * 1024 for n in range(1000)} for value in (b"1", b"2"))
    path = Path((await prepare(service, pod_with(CONFIG), objects(config={"cfg": one})))["data"].path)
    start = time.monotonic()
    await service.refresh(pod_with(CONFIG), objects(config={"cfg": two}), None)
    assert time.monotonic() - start < 10 * PATIENCE
    assert (path / "key-999").read_text().startswith("2")
