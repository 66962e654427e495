"""nfs by mount(8): with a helper of the test's own in place of mount.nfs, since no server is here."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsrun.errors import VolumeError
from nsrun.host.mountinfo import parse_mountinfo
from nsrun.model.volume import NfsVolume
from nsrun.support import native
from nsrun.support.layout import Layout
from nsrun.volumes.service import VolumeService
from tests.contracts.virtualclock import VirtualClock
from tests.unit.volumes.world import NODE, pod_with, prepare, volume_service
from tests.waiting import eventually, eventually_async

pytestmark = pytest.mark.root

SHARE = NfsVolume(server="192.0.2.9", path="/export/data")


class Helper:
    """A mount.nfs for this mount namespace only."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def does(self, script: str) -> None:
        path = Path("/usr/sbin/mount.nfs")
        path.write_text(f'#!/bin/sh\necho $$ > {self.directory}/pid\necho "$@" > {self.directory}/asked\n{script}\n')
        path.chmod(0o755)

    @property
    def asked(self) -> str:
        return (self.directory / "asked").read_text().strip()


@pytest.fixture
def helper(tmp_path: Path) -> Iterator[Helper]:
    upper, work = tmp_path / "upper", tmp_path / "work"
    upper.mkdir()
    work.mkdir()
    target = os.path.realpath("/sbin")
    assert target == "/usr/sbin"
    native.mount("tmpfs", str(upper), "tmpfs")
    for name in ("u", "w"):
        (upper / name).mkdir()
    native.mount("overlay", target, "overlay", 0, f"lowerdir={target},upperdir={upper}/u,workdir={upper}/w")
    yield Helper(tmp_path)
    native.umount(target, native.MNT_DETACH)
    native.umount(str(upper), native.MNT_DETACH)


def mounted(layout: Layout) -> list[str]:
    found = parse_mountinfo(Path("/proc/self/mountinfo").read_text())
    return [mount.point for mount in found if mount.point.startswith(f"{layout.root}/")]


@pytest.mark.parametrize("read_only", [False, True])
async def test_it_is_mounted_once_and_unmounted_at_removal(
    service: VolumeService, layout: Layout, helper: Helper, read_only: bool
) -> None:
    helper.does('mount -t tmpfs -o ro tmpfs "$2" || exit 1')
    pod = pod_with(NfsVolume(server=SHARE.server, path=SHARE.path, read_only=read_only))
    prepared = (await prepare(service, pod))["data"]
    assert prepared.path == str(layout.volume("uid-1", "kubernetes.io~nfs", "data"))
    assert prepared.read_only == read_only
    assert helper.asked.startswith(f"192.0.2.9:/export/data {prepared.path} ")
    assert ("ro," if read_only else "rw,") in helper.asked
    again = volume_service(layout)  # nsrun was restarted
    assert (await prepare(again, pod))["data"] == prepared
    assert mounted(layout) == [prepared.path]
    await again.remove("uid-1")
    assert mounted(layout) == []
    assert not layout.pod("uid-1").exists()


async def test_without_the_helper_the_remedy_is_told(service: VolumeService) -> None:
    with pytest.raises(VolumeError) as raised:
        await prepare(service, pod_with(SHARE))
    assert str(raised.value) == 'cannot mount volume "data": the program mount.nfs is not installed'
    assert raised.value.hint == "install nfs-common (Debian, Ubuntu) or nfs-utils (Fedora)"


async def test_what_the_helper_says_is_told(service: VolumeService, helper: Helper) -> None:
    helper.does("echo first >&2; echo 'mount.nfs: access denied by server' >&2; exit 32")
    with pytest.raises(VolumeError, match=r'cannot mount volume "data": mount.nfs: access denied by server'):
        await prepare(service, pod_with(SHARE))
    helper.does("exit 32")
    with pytest.raises(VolumeError, match="mount ended with 32"):
        await prepare(service, pod_with(SHARE))


def is_gone(directory: Path) -> bool:
    """A zombie is gone: whoever is init here takes its time."""
    try:
        status = Path(f"/proc/{(directory / 'pid').read_text().strip()}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return "\nState:\tZ" in status


async def test_a_server_that_does_not_answer_is_given_up(layout: Layout, helper: Helper, tmp_path: Path) -> None:
    service = VolumeService(layout, node=NODE, clock=VirtualClock(), nfs_seconds=0.3)
    helper.does("trap '' TERM; sleep 1000")
    with pytest.raises(VolumeError, match=r"192.0.2.9:/export/data did not answer within 0.3 s"):
        await prepare(service, pod_with(SHARE))
    eventually(lambda: is_gone(tmp_path), what="the helper to be killed")


async def test_a_cancelled_mount_leaves_no_process(service: VolumeService, helper: Helper, tmp_path: Path) -> None:
    helper.does("sleep 1000")
    async with asyncio.TaskGroup() as group:
        task = group.create_task(prepare(service, pod_with(SHARE)))
        await eventually_async(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip() != "")
        task.cancel()
    assert task.cancelled()
    eventually(lambda: is_gone(tmp_path), what="the helper to be killed")


async def test_the_event_loop_goes_on_meanwhile(service: VolumeService, helper: Helper, tmp_path: Path) -> None:
    helper.does('until [ -e "$(dirname $0)/go" ]; do sleep 0.01; done; mount -t tmpfs tmpfs "$2"')
    async with asyncio.TaskGroup() as group:
        task = group.create_task(prepare(service, pod_with(SHARE)))
        await eventually_async(lambda: (tmp_path / "pid").exists())
        assert not task.done()
        Path("/usr/sbin/go").touch()
    assert task.result()["data"].name == "data"


async def test_a_name_that_looks_like_an_option_is_none(service: VolumeService, helper: Helper) -> None:
    helper.does('mount -t tmpfs tmpfs "$2"')
    await prepare(service, pod_with(NfsVolume(server="-oexec", path="/x")))
    assert helper.asked.startswith("-oexec:/x ")
