"""Volumes that need no mount: modes, checks, texts, what is kept and what goes."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsrun.errors import VolumeError
from nsrun.model.node import Node
from nsrun.model.pod import Pod
from nsrun.model.resources import Quantity
from nsrun.model.volume import EmptyDir, HostPath, HostPathType, Volume, VolumeSource
from nsrun.supervisor.ports import Volumes
from nsrun.support.layout import Layout
from nsrun.volumes.memory import memory_size
from nsrun.volumes.service import VolumeService
from tests.unit.runtime.pods import container, pod
from tests.unit.volumes.world import NODE, prepare, volume_service

MIB = 1 << 20


@pytest.fixture(autouse=True)
def strict_umask() -> Iterator[None]:
    """The daemon's; no mode may depend on it."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(root=tmp_path / "root", run_dir=tmp_path / "run", log_dir=tmp_path / "log")


@pytest.fixture
def service(layout: Layout) -> VolumeService:
    return volume_service(layout)


def with_volume(source: VolumeSource, name: str = "data", uid: str = "uid-1") -> Pod:
    return pod(uid=uid, volumes=(Volume(name=name, source=source),))


def mode(path: Path | str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


async def test_an_empty_dir_is_everybody_s_and_private_above(service: VolumeService, layout: Layout) -> None:
    prepared = (await prepare(service, with_volume(EmptyDir())))["data"]
    path = layout.volume("uid-1", "kubernetes.io~empty-dir", "data")
    assert (prepared.name, prepared.path, prepared.warnings) == ("data", str(path), ())
    assert mode(path) == 0o777
    assert {mode(parent) for parent in path.parents if layout.root in (parent, *parent.parents)} == {0o700}
    assert await service.owners() == {"uid-1"}


async def test_an_empty_dir_is_kept_as_it_is(service: VolumeService) -> None:
    """Also the mode: the container may have closed it."""
    path = Path((await prepare(service, with_volume(EmptyDir())))["data"].path)
    (path / "file").write_text("kept")
    path.chmod(0o700)
    await prepare(service, with_volume(EmptyDir()))
    assert ((path / "file").read_text(), mode(path)) == ("kept", 0o700)


async def test_an_empty_dir_that_was_half_made_is_made(service: VolumeService, layout: Layout) -> None:
    path = layout.volume("uid-1", "kubernetes.io~empty-dir", "data")
    path.with_name(".data.new").mkdir(parents=True)
    await prepare(service, with_volume(EmptyDir()))
    assert mode(path) == 0o777
    assert [entry.name for entry in path.parent.iterdir()] == ["data"]


def test_the_size_of_a_memory_volume() -> None:
    small, none = Quantity(milli=MIB * 1000, text="1Mi"), Quantity(milli=0, text="0")
    limited = pod(container("a", limits={"memory": 2 * MIB * 1000}), container("b", limits={"memory": 3 * MIB * 1000}))
    half = pod(container("a", limits={"memory": 2 * MIB * 1000}), container("b"))
    assert memory_size(limited, NODE) == 5 * MIB
    assert memory_size(limited, NODE, none) == 5 * MIB
    assert memory_size(limited, NODE, small) == MIB
    assert memory_size(half, NODE) == 1 << 30
    assert memory_size(pod(), NODE, small) == MIB
    assert memory_size(pod(), Node(name="small", allocatable={"memory": 1024000}), small) == 1 << 10
    assert memory_size(pod(), Node(name="unknown")) == 0


@pytest.fixture
def zoo(tmp_path: Path) -> Iterator[Path]:
    """One of each kind of file."""
    (tmp_path / "dir").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("dir")
    (tmp_path / "dangling").symlink_to("nothing")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    yield tmp_path
    listener.close()


T = HostPathType
WHAT = {
    T.DIRECTORY: "directory",
    T.DIRECTORY_OR_CREATE: "directory",
    T.FILE: "file",
    T.FILE_OR_CREATE: "file",
    T.SOCKET: "socket file",
    T.CHAR_DEVICE: "character device",
    T.BLOCK_DEVICE: "block device",
}


@pytest.mark.parametrize(
    ("kind", "fitting"),
    [
        (T.ANY, {"dir", "file", "link", "socket", "dangling", "/dev/null", "missing", "a/b/missing"}),
        (T.DIRECTORY, {"dir", "link"}),
        (T.DIRECTORY_OR_CREATE, {"dir", "link", "missing", "a/b/missing"}),
        (T.FILE, {"file"}),
        (T.FILE_OR_CREATE, {"file", "missing"}),
        (T.SOCKET, {"socket"}),
        (T.CHAR_DEVICE, {"/dev/null"}),
        (T.BLOCK_DEVICE, set()),
    ],
)
@pytest.mark.parametrize("name", ["dir", "file", "link", "socket", "dangling", "/dev/null", "missing", "a/b/missing"])
async def test_host_paths_are_what_they_are_said_to_be(
    service: VolumeService, zoo: Path, kind: HostPathType, fitting: set[str], name: str
) -> None:
    path = str(zoo / name)
    manifest = with_volume(HostPath(path=path, type=kind), name="x")
    if name in fitting:
        assert (await prepare(service, manifest))["x"].path == path
        return
    with pytest.raises(VolumeError) as raised:
        await prepare(service, manifest)
    if kind is T.FILE_OR_CREATE and name == "a/b/missing":
        assert str(raised.value) == f'cannot mount volume "x": "{path}": no such file or directory (ENOENT)'
    else:
        assert str(raised.value) == (
            f'cannot mount volume "x": hostPath type check failed: {path} is not a {WHAT[kind]}'
        )


async def test_what_is_made_has_its_mode_whatever_the_umask(service: VolumeService, tmp_path: Path) -> None:
    for kind, name, expected in (
        (T.DIRECTORY_OR_CREATE, "one/two", 0o755),
        (T.ANY, "three/four", 0o755),
        (T.FILE_OR_CREATE, "five", 0o644),
    ):
        await prepare(service, with_volume(HostPath(path=str(tmp_path / name), type=kind)))
        assert mode(tmp_path / name) == expected
    assert mode(tmp_path / "one") == mode(tmp_path / "three") == 0o755


async def test_what_is_there_keeps_its_mode(service: VolumeService, tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir(mode=0o700)
    await prepare(service, with_volume(HostPath(path=str(tmp_path / "dir"), type=T.DIRECTORY_OR_CREATE)))
    assert mode(tmp_path / "dir") == 0o700


async def test_a_relative_host_path_is_refused(service: VolumeService) -> None:
    with pytest.raises(VolumeError, match="is not absolute"):
        await prepare(service, with_volume(HostPath(path="etc")))


async def test_removing_leaves_the_host_s_own(service: VolumeService, layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()
    (tmp_path / "host" / "file").write_text("kept")
    await prepare(service, with_volume(HostPath(path=str(tmp_path / "host"))))
    await prepare(service, with_volume(EmptyDir()))
    await service.remove("uid-1")
    await service.remove("uid-1")
    assert (tmp_path / "host" / "file").read_text() == "kept"
    assert not layout.pod("uid-1").exists()
    assert await service.owners() == frozenset()


async def test_only_directories_are_owners(service: VolumeService, layout: Layout) -> None:
    assert await service.owners() == frozenset()
    layout.pods.mkdir(parents=True)
    (layout.pods / "file").touch()
    (layout.pods / "link").symlink_to("/")
    (layout.pods / "uid-2").mkdir()
    assert await service.owners() == {"uid-2"}


@pytest.mark.parametrize("uid", ["", "..", "a/b", "../../etc", ".x", "a\nb"])
async def test_no_uid_leads_out_of_the_pods(service: VolumeService, uid: str) -> None:
    with pytest.raises(VolumeError, match="plain name"):
        await service.remove(uid)
    with pytest.raises(VolumeError, match="plain name"):
        await prepare(service, with_volume(EmptyDir(), uid=uid))
    with pytest.raises(VolumeError, match="plain name"):
        await prepare(service, with_volume(EmptyDir(), name=uid))


async def test_what_stands_in_the_way_is_named(service: VolumeService, layout: Layout) -> None:
    layout.pod("uid-1").mkdir(parents=True)
    (layout.pod("uid-1") / "volumes").touch()
    with pytest.raises(VolumeError, match=r'cannot mount volume "data": ".*volumes.*": (not a directory|file exists)'):
        await prepare(service, with_volume(EmptyDir()))


def test_it_is_what_the_supervisor_asks_for(service: VolumeService) -> None:
    port: Volumes = service
    assert port is service
