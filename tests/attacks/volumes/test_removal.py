"""CVE-2017-1002102 and its like: what a container leaves in a volume leads nowhere when the pod is removed."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

import pytest

from nsrun.errors import VolumeError
from nsrun.model.volume import ConfigMapVolume, EmptyDir, EmptyDirMedium, SecretVolume, Volume
from nsrun.support import native
from nsrun.support.layout import Layout
from tests.unit.runtime.pods import pod
from tests.unit.volumes.world import objects, prepare, volume_service

pytestmark = pytest.mark.root


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(root=tmp_path / "root", run_dir=tmp_path / "run", log_dir=tmp_path / "log")


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """What must survive: a directory with a file, and one with a mount."""
    directory = tmp_path / "host"
    (directory / "sub").mkdir(parents=True)
    (directory / "file").write_text("the host's")
    (directory / "sub" / "file").write_text("the host's")
    return directory


def bind(source: Path, target: Path) -> None:
    native.mount(str(source), str(target), "none", native.MS_BIND)


def contents(host: Path) -> list[str]:
    return sorted(str(path.relative_to(host)) for path in host.rglob("*") if path.is_file())


@pytest.mark.parametrize("medium", [EmptyDirMedium.DISK, EmptyDirMedium.MEMORY])
async def test_links_and_mounts_in_a_volume_lead_nowhere(layout: Layout, host: Path, medium: EmptyDirMedium) -> None:
    service = volume_service(layout)
    volume = Volume(name="data", source=EmptyDir(medium=medium))
    path = Path((await prepare(service, pod(volumes=(volume,))))["data"].path)
    (path / "to-directory").symlink_to(host)
    (path / "to-file").symlink_to(host / "file")
    (path / "deep" / "er").mkdir(parents=True)
    (path / "deep" / "er" / "link").symlink_to(host / "sub")
    (path / "mounted").mkdir()
    (path / "mounted-twice").mkdir()
    (path / "mounted-file").touch()
    bind(host, path / "mounted")
    bind(host / "sub", path / "mounted" / "sub")
    bind(host, path / "mounted-twice")
    bind(host / "sub", path / "mounted-twice")
    bind(host / "file", path / "mounted-file")
    await service.remove("uid-1")
    assert contents(host) == ["file", "sub/file"]
    assert not layout.pod("uid-1").exists()
    assert str(layout.root) not in Path("/proc/self/mountinfo").read_text()


async def test_a_mount_below_another_is_unmounted_too(layout: Layout, host: Path) -> None:
    """One that is hidden shows only once the one above it is gone."""
    service = volume_service(layout)
    path = Path((await prepare(service, pod(volumes=(Volume(name="data", source=EmptyDir()),))))["data"].path)
    (path / "a" / "b").mkdir(parents=True)
    bind(host, path / "a" / "b")
    native.mount("tmpfs", str(path / "a"), "tmpfs")
    await service.remove("uid-1")
    assert contents(host) == ["file", "sub/file"]
    assert not layout.pod("uid-1").exists()


async def test_a_link_put_in_place_of_a_mounted_directory_unmounts_nothing(
    layout: Layout, host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel said that ``a/b`` is a mount; by the time it is opened, ``a`` is a link to the host's."""
    from nsrun.volumes import mounts as module

    service = volume_service(layout)
    path = Path((await prepare(service, pod(volumes=(Volume(name="data", source=EmptyDir()),))))["data"].path)
    (host / "b").mkdir()
    native.mount("tmpfs", str(host / "b"), "tmpfs")
    (host / "b" / "precious").touch()
    (path / "a").symlink_to(host)
    monkeypatch.setattr(module, "_mounts_below", lambda top: [f"{os.path.realpath(path)}/a/b"])
    await service.remove("uid-1")
    assert contents(host) == ["b/precious", "file", "sub/file"]
    assert os.path.ismount(host / "b")
    native.umount(str(host / "b"))


async def test_a_link_put_in_place_of_a_directory_is_not_entered(
    layout: Layout, host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``victim`` was a directory when it was listed, and is a link to the host's when it is opened."""
    service = volume_service(layout)
    path = Path((await prepare(service, pod(volumes=(Volume(name="data", source=EmptyDir()),))))["data"].path)
    (path / "victim").mkdir()
    open_descriptor = os.open

    def exchange_then_open(name: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if name == "victim" and not (path / "victim").is_symlink():
            (path / "victim").rename(host.parent / "moved")
            (path / "victim").symlink_to(host)
        return open_descriptor(name, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", exchange_then_open)
    await service.remove("uid-1")
    assert contents(host) == ["file", "sub/file"]


@pytest.mark.parametrize("call", ["umount", "unlink", "rmdir"])
@pytest.mark.parametrize("nth", range(5))
async def test_a_removal_that_ended_anywhere_is_finished_by_the_next(
    layout: Layout, host: Path, monkeypatch: pytest.MonkeyPatch, call: str, nth: int
) -> None:
    """As after a crash: by another service, which knows nothing."""
    known = objects(config={"cfg": {"a": b"1", "b": b"2"}}, secret={"key": {"token": b"x"}})
    volumes = (
        Volume(name="memory", source=EmptyDir(medium=EmptyDirMedium.MEMORY)),
        Volume(name="config", source=ConfigMapVolume(name="cfg")),
        Volume(name="secret", source=SecretVolume(name="key")),
        Volume(name="data", source=EmptyDir()),
    )
    prepared = await prepare(volume_service(layout), pod(volumes=volumes), known)
    path = Path(prepared["data"].path)
    (path / "deep" / "er").mkdir(parents=True)
    bind(host, path / "deep" / "er")
    module = native if call == "umount" else os
    real, left = getattr(module, call), [nth]

    def until_power_fails(*arguments: object, **options: object) -> object:
        if left[0] == 0:
            raise OSError(errno.EIO, "power failure")
        left[0] -= 1
        return real(*arguments, **options)

    with monkeypatch.context() as patched, suppress(VolumeError):
        patched.setattr(module, call, until_power_fails)
        await volume_service(layout).remove("uid-1")
    later = volume_service(layout)
    assert await later.owners() <= {"uid-1"}
    await later.remove("uid-1")
    assert contents(host) == ["file", "sub/file"]
    assert not layout.pod("uid-1").exists()
    assert str(layout.root) not in Path("/proc/self/mountinfo").read_text()
    assert await later.owners() == frozenset()
