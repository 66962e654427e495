"""``fsGroup``: whose files become the pod's, whose do not, and when."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from nsrun.model.security import GroupChangePolicy, PodSecurityContext
from nsrun.model.volume import ClaimVolume, EmptyDir, EmptyDirMedium, HostPath
from nsrun.support.fds import Fd
from nsrun.support.removal import remove_tree
from nsrun.volumes.group import give_to_group
from nsrun.volumes.service import VolumeService
from tests.unit.volumes.world import claims, pod_with, prepare

pytestmark = pytest.mark.root

GID = 4242
GROUP = PodSecurityContext(fs_group=GID)


def give(path: Path, *, policy: GroupChangePolicy = GroupChangePolicy.ALWAYS, read_only: bool = False) -> None:
    with Fd.open(path, os.O_RDONLY) as top:
        give_to_group(top, GID, policy=policy, read_only=read_only)


def state(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return stat.S_IMODE(status.st_mode), status.st_gid


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    (top / "dir").mkdir(parents=True)
    for path, mode in ((top, 0o755), (top / "dir", 0o700), (top / "file", 0o600), (top / "dir" / "tool", 0o4711)):
        if not path.exists():
            path.touch()
        path.chmod(mode)
    (top / "link").symlink_to("file")
    os.mkfifo(top / "fifo", 0o600)
    return top


def test_everything_gets_the_group_and_what_it_may(tree: Path) -> None:
    give(tree)
    assert {path.name: state(path) for path in (tree, *tree.rglob("*"))} == {
        "tree": (0o2775, GID),
        "dir": (0o2770, GID),
        "file": (0o660, GID),
        "tool": (0o4771, GID),
        "link": (0o777, GID),
        "fifo": (0o660, GID),
    }


def test_what_is_read_only_is_read_by_the_group(tree: Path) -> None:
    give(tree, read_only=True)
    assert [state(tree / name)[0] for name in ("", "dir", "file")] == [0o2755, 0o2750, 0o640]


def test_on_root_mismatch_looks_at_the_top_only(tree: Path) -> None:
    policy = GroupChangePolicy.ON_ROOT_MISMATCH
    give(tree, policy=policy)
    assert state(tree / "file") == (0o660, GID)
    os.chown(tree / "file", 0, 0)
    (tree / "file").chmod(0o600)
    give(tree, policy=policy)
    assert state(tree / "file") == (0o600, 0)
    tree.chmod(0o755)  # no set-group-ID bit: new files would not be the group's
    give(tree, policy=policy)
    assert state(tree / "file") == (0o660, GID)
    os.chown(tree / "file", 0, 0)
    give(tree)
    assert state(tree / "file")[1] == GID


def test_a_crash_on_the_way_is_seen_on_root_mismatch(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chown, left = os.chown, [3]

    def until_power_fails(path: str, uid: int, gid: int) -> None:
        if left[0] == 0:
            raise OSError(errno.EIO, "power failure")
        left[0] -= 1
        chown(path, uid, gid)

    with monkeypatch.context() as patched:
        patched.setattr(os, "chown", until_power_fails)
        with pytest.raises(OSError, match="power failure"):
            give(tree)
    give(tree, policy=GroupChangePolicy.ON_ROOT_MISMATCH)
    assert {path.lstat().st_gid for path in (tree, *tree.rglob("*"))} == {GID}


def test_trees_deeper_than_paths_can_say(tmp_path: Path) -> None:
    top = tmp_path / "deep"
    top.mkdir()
    depth, parent = 1200, Fd.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d" * 8, dir_fd=parent.fileno())
        with parent as above:
            parent = Fd.open("d" * 8, os.O_RDONLY, dir_fd=above.fileno())
    with parent:
        give(top)
        assert os.fstat(parent.fileno()).st_gid == GID
    remove_tree(top)  # pytest cannot


@pytest.mark.parametrize("medium", [EmptyDirMedium.DISK, EmptyDirMedium.MEMORY, EmptyDirMedium.HUGE_PAGES])
async def test_an_empty_dir_is_the_group_s_from_its_beginning(service: VolumeService, medium: EmptyDirMedium) -> None:
    pod = pod_with(EmptyDir(medium=medium), security=GROUP)
    path = Path((await prepare(service, pod))["data"].path)
    assert state(path) == (0o2777, GID)
    (path / "mine").mkdir(mode=0o700)
    os.chown(path / "mine", 0, 0)
    await prepare(service, pod)
    assert state(path / "mine")[1] == 0  # as the kubelet: once, when it is made


async def test_a_host_path_keeps_its_group(service: VolumeService, tmp_path: Path) -> None:
    (tmp_path / "host").mkdir(mode=0o755)
    await prepare(service, pod_with(HostPath(path=str(tmp_path / "host")), security=GROUP))
    assert state(tmp_path / "host") == (0o755, os.getegid())


@pytest.mark.parametrize("read_only", [False, True])
async def test_a_claim_is_given_once_to_each_pod(service: VolumeService, read_only: bool) -> None:
    known = claims("data")
    path = Path((await prepare(service, pod_with(ClaimVolume(claim_name="data")), known))["data"].path)
    (path / "old").touch(mode=0o600)
    pod = pod_with(ClaimVolume(claim_name="data", read_only=read_only), uid="uid-2", security=GROUP)
    await prepare(service, pod, known)
    assert state(path / "old") == (0o640 if read_only else 0o660, GID)
    os.chown(path / "old", 0, 0)
    await prepare(service, pod, known)
    assert state(path / "old")[1] == 0
