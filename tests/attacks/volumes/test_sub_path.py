"""CVE-2017-1002101, CVE-2021-25741: a subPath is resolved in what a container can change at any moment."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from nsrun.errors import RuntimeFailure
from nsrun.model.volume import VolumeMount
from nsrun.runtime.volume_trees import open_sub_path
from nsrun.support.fds import Fd
from tests.system.runtime.world import World, pod, shell

pytestmark = pytest.mark.root

TURNS = 3000
AT_FDCWD, RENAME_EXCHANGE = -100, 2


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / "volume"
    path.mkdir()
    return path


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """What no container may see or change."""
    path = tmp_path / "host"
    (path / "inner").mkdir(parents=True)
    (path / "inner" / "secret").write_text("the host's")
    return path


def exchange(one: Path, other: Path) -> None:
    """Both names exist at every moment: the swap that the CVEs were shown with."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(AT_FDCWD, bytes(one), AT_FDCWD, bytes(other), RENAME_EXCHANGE) != 0:
        raise OSError(ctypes.get_errno(), "cannot exchange")


@contextmanager
def meanwhile(step: Callable[[], None]) -> Iterator[None]:
    """Repeats ``step`` in another thread as fast as it goes."""
    over = threading.Event()

    def repeat() -> None:
        while not over.is_set():
            step()

    attacker = threading.Thread(target=repeat)
    attacker.start()
    try:
        yield
    finally:
        over.set()
        attacker.join()


def inodes(top: Path) -> set[int]:
    return {path.lstat().st_ino for path in (top, *top.rglob("*"))}


def attempt(volume: Path, sub_path: str) -> int | None:
    """The inode that a container would see; None when that is refused."""
    with Fd.open(volume, os.O_PATH) as top, suppress(OSError), open_sub_path(top, sub_path, make=True) as found:
        return os.fstat(found.fileno()).st_ino
    return None


@pytest.mark.parametrize("target", ["host", "../host", "relative"])
def test_a_directory_that_becomes_a_link_while_it_is_resolved(volume: Path, host: Path, target: str) -> None:
    links = {"host": str(host), "../host": "../host", "relative": "a/../../host"}
    (volume / "x" / "inner").mkdir(parents=True)
    (volume / "a").mkdir()
    (volume / "link").symlink_to(links[target])
    outside = inodes(host)
    seen = set()
    with meanwhile(lambda: exchange(volume / "x", volume / "link")):
        for _ in range(TURNS):
            seen.add(attempt(volume, "x/inner"))
    assert seen & outside == set()
    assert seen - {None}, "nothing was resolved at all"
    assert None in seen, "the link was never met"


def test_nothing_is_made_outside_while_links_and_directories_change_places(volume: Path, host: Path) -> None:
    (volume / "x").mkdir()
    (volume / "link").symlink_to(host)
    with meanwhile(lambda: exchange(volume / "x", volume / "link")):
        for number in range(TURNS):
            attempt(volume, f"x/made-{number}/deep")
    assert sorted(os.listdir(host)) == ["inner"]
    assert list(volume.rglob("made-*")), "nothing was made at all"


def test_a_directory_that_moves_up_while_its_parent_is_asked_for(volume: Path, host: Path) -> None:
    """``..`` from a directory that is moved meanwhile leads one too far."""
    (volume / "deep" / "er" / "dir").mkdir(parents=True)
    (volume / "deep" / "er" / "link").symlink_to("dir/../../../inside")
    (volume / "inside").mkdir()
    (volume.parent / "inside").mkdir()
    outside = inodes(volume.parent / "inside") | inodes(host)

    def move() -> None:
        (volume / "deep" / "er" / "dir").rename(volume / "dir")
        (volume / "dir").rename(volume / "deep" / "er" / "dir")

    with meanwhile(move):
        seen = {attempt(volume, "deep/er/link") for _ in range(TURNS)}
    assert seen & outside == set()


@pytest.mark.parametrize("link", ["/", "/proc/self/root", "/proc/1/cwd", "..", "../..", "a/../..", "/etc/passwd"])
@pytest.mark.parametrize("rest", ["", "/etc", "/made"])
def test_links_that_lead_out_are_refused(volume: Path, host: Path, link: str, rest: str) -> None:
    (volume / "a").mkdir()
    (volume / "x").symlink_to(link)
    before = sorted(os.listdir(volume.parent))
    with Fd.open(volume, os.O_PATH) as top, pytest.raises(OSError):
        open_sub_path(top, f"x{rest}", make=True)
    assert sorted(os.listdir(volume.parent)) == before
    assert not Path("/made").exists()


def test_magic_links_in_a_volume_that_has_proc_are_refused(volume: Path) -> None:
    """A hostPath of /proc, say: its links lead anywhere without a path."""
    with Fd.open("/proc/self", os.O_PATH) as top, pytest.raises(OSError):
        open_sub_path(top, "root/etc", make=False)
    with Fd.open("/proc/self", os.O_PATH) as top, pytest.raises(OSError):
        open_sub_path(top, "fd/0", make=False)


async def test_a_real_container_swaps_while_another_starts(world: World, tmp_path: Path) -> None:
    """The proof of CVE-2021-25741, with the containers of one pod."""
    shared, host = world.root / "shared", world.root / "host"
    (shared / "x").mkdir(parents=True)
    host.mkdir()
    (host / "secret").write_text("the host's")
    (shared / "evil").symlink_to(host)
    swap = "while :; do mv -T /v/x /v/y 2>/dev/null; ln -sfn ../host /v/x; rm -f /v/x; mv -T /v/y /v/x; done"
    whole = (VolumeMount(name="v", mount_path="/v"),)
    part = (VolumeMount(name="v", mount_path="/p", sub_path="x"),)
    one = pod(
        shell("main", swap, volume_mounts=whole),
        shell("victim", "cat /p/secret; touch /p/was-here; echo done", volume_mounts=part),
    )
    await world.start(one, volumes={"v": shared})
    started = 0
    for number in range(15):
        try:
            running = await world.start(one, "victim", attempt=number, volumes={"v": shared})
        except RuntimeFailure:
            continue
        started += 1
        await world.end(running.id)
        assert "the host's" not in world.output(one, running.id)
    assert started
    assert sorted(os.listdir(host)) == ["secret"]
