"""``emptyDir`` in memory: mounted once, bounded, gone with the pod, empty after a reboot."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from nsrun.errors import VolumeError
from nsrun.host.mountinfo import Mount, parse_mountinfo
from nsrun.model.pod import Pod
from nsrun.model.resources import Quantity
from nsrun.model.volume import EmptyDir, EmptyDirMedium, Volume
from nsrun.support import native
from nsrun.support.layout import Layout
from nsrun.volumes.service import VolumeService
from tests.unit.runtime.pods import pod
from tests.unit.volumes.world import prepare, volume_service

pytestmark = pytest.mark.root

MIB = 1 << 20


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(root=tmp_path / "root", run_dir=tmp_path / "run", log_dir=tmp_path / "log")


@pytest.fixture
def service(layout: Layout) -> VolumeService:
    return volume_service(layout)


def memory_pod(size: int = 4 * MIB) -> Pod:
    limit = Quantity(milli=size * 1000, text=f"{size}")
    source = EmptyDir(medium=EmptyDirMedium.MEMORY, size_limit=limit)
    return pod(volumes=(Volume(name="cache", source=source), Volume(name="disk", source=EmptyDir())))


def mounts(layout: Layout) -> list[Mount]:
    found = parse_mountinfo(Path("/proc/self/mountinfo").read_text())
    return [mount for mount in found if mount.point.startswith(f"{layout.root}/")]


async def test_it_is_mounted_once_and_bounded(service: VolumeService, layout: Layout) -> None:
    path = Path((await prepare(service, memory_pod()))["cache"].path)
    (path / "file").write_text("kept")
    await prepare(service, memory_pod())
    (mount,) = mounts(layout)
    assert (mount.point, mount.type) == (str(path), "tmpfs")
    assert {"nosuid", "nodev"} <= mount.options
    assert "size=4096k" in mount.super_options
    assert stat.S_IMODE(path.stat().st_mode) == 0o777
    assert (path / "file").read_text() == "kept"
    with pytest.raises(OSError) as raised:
        (path / "big").write_bytes(bytes(5 * MIB))
    assert raised.value.errno == errno.ENOSPC


async def test_it_is_never_swapped_where_the_kernel_can_promise_it(service: VolumeService, layout: Layout) -> None:
    release = tuple(int(part) for part in os.uname().release.split(".")[:2])
    await prepare(service, memory_pod())
    assert ("noswap" in mounts(layout)[0].super_options) == (release >= (6, 4))


async def test_an_older_kernel_mounts_it_without_that_promise(
    service: VolumeService, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse_noswap(source: str, target: str, fstype: str, flags: int = 0, data: str | None = "") -> None:
        if data is not None and "noswap" in data:
            raise OSError(errno.EINVAL, "invalid argument")
        mount(source, target, fstype, flags, data)

    mount = native.mount
    monkeypatch.setattr(native, "mount", refuse_noswap)
    await prepare(service, memory_pod())
    assert "size=4096k" in mounts(layout)[0].super_options


async def test_it_goes_with_the_pod(service: VolumeService, layout: Layout) -> None:
    path = Path((await prepare(service, memory_pod()))["cache"].path)
    (path / "file").write_text("gone")
    with (path / "file").open():  # somebody still reads it
        await service.remove("uid-1")
    assert mounts(layout) == []
    assert not layout.pod("uid-1").exists()


async def test_after_a_reboot_memory_is_empty_and_disk_is_not(service: VolumeService, layout: Layout) -> None:
    prepared = await prepare(service, memory_pod())
    for name in ("cache", "disk"):
        Path(prepared[name].path, "file").write_text("kept")
    native.umount(prepared["cache"].path)  # what a reboot leaves: the directories, no mount
    again = await prepare(service, memory_pod())
    assert again == prepared
    assert os.listdir(prepared["cache"].path) == []
    assert os.listdir(prepared["disk"].path) == ["file"]
    assert len(mounts(layout)) == 1


async def test_a_mount_that_is_refused_is_told(service: VolumeService, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: str, target: str, fstype: str, flags: int = 0, data: str | None = "") -> None:
        raise PermissionError(errno.EPERM, "operation not permitted", target)

    monkeypatch.setattr(native, "mount", refuse)
    with pytest.raises(
        VolumeError, match=r'cannot mount volume "cache": ".*/cache": operation not permitted \(EPERM\)'
    ):
        await prepare(service, memory_pod())


async def test_an_unmount_that_is_refused_is_told(
    service: VolumeService, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(target: str, flags: int = 0) -> None:
        raise PermissionError(errno.EPERM, "operation not permitted", target)

    await prepare(service, memory_pod())
    with monkeypatch.context() as patched:
        patched.setattr(native, "umount", refuse)
        with pytest.raises(VolumeError, match=r'cannot remove volumes of pod "uid-1": .*\(EPERM\)'):
            await service.remove("uid-1")
    assert len(mounts(layout)) == 1
    await service.remove("uid-1")
    assert mounts(layout) == []
