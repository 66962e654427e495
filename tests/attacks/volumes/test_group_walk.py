"""A volume whose files are given to a group: what a container left in it must not give it the host's."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from nsrun.support import native
from nsrun.support.fds import Fd
from nsrun.volumes.group import give_to_group

pytestmark = pytest.mark.root

GID = 4242


def give(path: Path) -> None:
    with Fd.open(path, os.O_RDONLY) as top:
        give_to_group(top, GID)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / "volume"
    path.mkdir()
    return path


@pytest.fixture
def host(tmp_path: Path) -> Path:
    path = tmp_path / "host"
    (path / "dir").mkdir(parents=True)
    for file in ("shadow", "dir/shadow"):
        (path / file).touch(mode=0o600)
    return path


def untouched(host: Path) -> bool:
    files = [host / "shadow", host / "dir" / "shadow"]
    return all(
        (stat.S_IMODE(path.stat().st_mode), path.stat().st_gid) == (0o600, os.getegid()) for path in files
    ) and all(path.stat().st_gid == os.getegid() for path in (host, host / "dir"))


def test_links_are_not_followed(volume: Path, host: Path) -> None:
    (volume / "file").symlink_to(host / "shadow")
    (volume / "dir").symlink_to(host / "dir")
    (volume / "up").symlink_to("..")
    give(volume)
    assert untouched(host)
    assert (volume / "file").lstat().st_gid == GID
    assert (volume.parent).stat().st_gid == os.getegid()


def test_mounts_are_not_entered(volume: Path, host: Path) -> None:
    """Also of the same file system: a container that may propagate mounts chooses what lies there."""
    (volume / "mounted").mkdir()
    (volume / "file").touch()
    native.mount(str(host), str(volume / "mounted"), "none", native.MS_BIND)
    native.mount(str(host / "shadow"), str(volume / "file"), "none", native.MS_BIND)
    try:
        give(volume)
        assert untouched(host)
    finally:
        native.umount(str(volume / "mounted"))
        native.umount(str(volume / "file"))


def test_a_file_of_many_names_is_the_same_file(volume: Path) -> None:
    (volume / "one").touch(mode=0o600)
    (volume / "two").hardlink_to(volume / "one")
    give(volume)
    assert stat.S_IMODE((volume / "two").stat().st_mode) == 0o660


def test_nothing_is_opened_that_does_something_when_it_is(volume: Path) -> None:
    """A FIFO would wait for ever; a device could do anything."""
    os.mkfifo(volume / "fifo")
    os.mknod(volume / "tty", stat.S_IFCHR | 0o600, os.makedev(4, 255))
    give(volume)
    assert {entry.stat().st_gid for entry in volume.iterdir()} == {GID}


def test_links_and_directories_that_change_places_lead_nowhere(volume: Path, host: Path) -> None:
    for number in range(20):
        (volume / f"d{number}").mkdir()
        (volume / f"d{number}" / "shadow").touch()
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            for number in range(20):
                (volume / f"d{number}").rename(volume / "aside")
                (volume / f"d{number}").symlink_to(host / "dir")
                (volume / f"d{number}").unlink()
                (volume / f"f{number}").symlink_to(host / "shadow")
                (volume / f"f{number}").unlink()
                (volume / f"f{number}").touch()
                (volume / f"f{number}").unlink()
                (volume / "aside").rename(volume / f"d{number}")

    attacker = threading.Thread(target=swap)
    attacker.start()
    try:
        for _ in range(60):
            give(volume)
    finally:
        over.set()
        attacker.join()
    assert untouched(host)
