"""Keys and items that want out of their volume, and secrets that want to a disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nsrun.errors import VolumeError
from nsrun.model.environment import FieldRef
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

pytestmark = pytest.mark.root

HUSH = b"correct horse battery staple"
KNOWN = objects(config={"x": {"k": HUSH}}, secret={"x": {"k": HUSH}})
BAD_PATHS = ["..", "../out", "a/../../out", "/etc/out", "..data", "..data/k", "..data_tmp", "a/../..data", "a\0b"]


def everything(top: Path) -> list[str]:
    return sorted(str(path.relative_to(top)) for path in top.rglob("*") if path.is_file() or path.is_symlink())


@pytest.mark.parametrize("path", BAD_PATHS)
@pytest.mark.parametrize("kind", ["configMap", "secret", "downwardAPI", "projected"])
async def test_no_path_of_an_item_leads_out(service: VolumeService, tmp_path: Path, path: str, kind: str) -> None:
    items = (KeyFile(key="k", path=path),)
    sources: dict[str, VolumeSource] = {
        "configMap": ConfigMapVolume(name="x", items=items),
        "secret": SecretVolume(name="x", items=items),
        "downwardAPI": DownwardVolume(items=(DownwardFile(path=path, source=FieldRef(field_path="metadata.name")),)),
        "projected": ProjectedVolume(sources=(ConfigMapVolume(name="x", items=items),)),
    }
    with pytest.raises(VolumeError, match=r'cannot mount volume "data": path "'):
        await prepare(service, pod_with(sources[kind]), KNOWN)
    assert everything(tmp_path) == []


@pytest.mark.parametrize("key", ["..", "../out", "..data", "..2026_01_01", "a/../../out", "/etc/out", ""])
async def test_no_key_leads_out(service: VolumeService, tmp_path: Path, key: str) -> None:
    known = objects(config={"x": {key: b""}}, secret={"x": {key: b""}})
    for source in (ConfigMapVolume(name="x"), SecretVolume(name="x")):
        with pytest.raises(VolumeError, match=r'cannot mount volume "data": path "'):
            await prepare(service, pod_with(source), known)
    assert everything(tmp_path) == []


async def test_a_change_for_the_worse_leaves_the_good_files(service: VolumeService) -> None:
    pod = pod_with(ConfigMapVolume(name="x"))
    path = Path((await prepare(service, pod, KNOWN))["data"].path)
    with pytest.raises(VolumeError):
        await service.refresh(pod, objects(config={"x": {"k": b"new", "../out": b"new"}}), None)
    assert (path / "k").read_bytes() == HUSH


async def test_links_planted_in_a_volume_are_not_followed(service: VolumeService, tmp_path: Path) -> None:
    """By a privileged container, which may write where others may not."""
    host = tmp_path / "host"
    host.mkdir()
    (host / "k").write_text("the host's")
    pod = pod_with(ConfigMapVolume(name="x", items=(KeyFile(key="k", path="dir/k"), KeyFile(key="k", path="k"))))
    path = Path((await prepare(service, pod, KNOWN))["data"].path)
    version = path / os.readlink(path / "..data")
    for planted in ("k", "dir", "..data", "..data_tmp"):
        (path / planted).unlink(missing_ok=True)
        (path / planted).symlink_to(host)
    (version / "dir" / "k").unlink()
    (version / "dir").rmdir()
    (version / "dir").symlink_to(host)
    await service.refresh(pod, KNOWN, None)
    assert (path / "k").read_bytes() == (path / "dir" / "k").read_bytes() == HUSH
    assert [(entry.name, entry.read_text()) for entry in host.iterdir()] == [("k", "the host's")]


async def test_a_version_that_is_somewhere_else_is_no_version(service: VolumeService, tmp_path: Path) -> None:
    """The same files elsewhere may be others tomorrow."""
    host = tmp_path / "host"
    host.mkdir()
    (host / "k").write_bytes(HUSH)
    (host / "k").chmod(0o644)
    pod = pod_with(ConfigMapVolume(name="x"))
    path = Path((await prepare(service, pod, KNOWN))["data"].path)
    (path / "..evil").symlink_to(host)
    (path / "..data").unlink()
    (path / "..data").symlink_to("..evil")
    await service.refresh(pod, KNOWN, None)
    assert not (path / os.readlink(path / "..data")).is_symlink()
    assert (path / "k").read_bytes() == HUSH


# --- secrets


def beneath(layout: Layout, tmp_path: Path) -> Path:
    """The pods' directories as they are on the disk, without what is mounted there."""
    target = tmp_path / "beneath"
    target.mkdir(exist_ok=True)
    native.mount(str(layout.root), str(target), "none", native.MS_BIND)
    return target


async def test_a_secret_is_on_no_disk(service: VolumeService, layout: Layout, tmp_path: Path) -> None:
    source = ProjectedVolume(sources=(SecretVolume(name="x"),))
    pod = pod_with(source)
    await prepare(service, pod, KNOWN)
    await service.refresh(pod, objects(secret={"x": {"k": HUSH[::-1]}}), None)
    disk = beneath(layout, tmp_path)
    assert (disk / "pods" / "uid-1" / "volumes" / "kubernetes.io~projected" / "data").is_dir()
    assert everything(disk) == []


async def test_without_memory_a_secret_is_nowhere(
    service: VolumeService, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(1, "operation not permitted")

    monkeypatch.setattr(native, "mount", refuse)
    with pytest.raises(VolumeError, match="operation not permitted"):
        await prepare(service, pod_with(SecretVolume(name="x")), KNOWN)
    assert everything(layout.root) == []


async def test_a_refresh_after_a_reboot_does_not_write_to_the_disk(
    service: VolumeService, layout: Layout, tmp_path: Path
) -> None:
    pod = pod_with(SecretVolume(name="x"))
    path = (await prepare(service, pod, KNOWN))["data"].path
    native.umount(path)
    await service.refresh(pod, KNOWN, None)
    assert everything(beneath(layout, tmp_path)) == []


async def test_no_failure_tells_a_secret(service: VolumeService) -> None:
    known = objects(secret={"x": {"k": HUSH, "..": HUSH}})
    with pytest.raises(VolumeError) as raised:
        await prepare(service, pod_with(SecretVolume(name="x")), known)
    error: BaseException | None = raised.value
    while error is not None:
        assert HUSH.decode() not in repr((error, error.args, getattr(error, "hint", "")))
        error = error.__cause__ or error.__context__
