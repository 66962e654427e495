"""A container makes itself any device file it likes, and can open none but the default ones."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsrun.host.facts import HostFacts
from nsrun.model.running import ContainerId
from nsrun.runtime.cgroup_open import open_cgroups
from nsrun.runtime.cgroups import Cgroups
from tests.system.cgroups.processes import is_gone, running
from tests.system.cgroups.test_figures import facts
from tests.unit.runtime.pods import container, pod
from tests.waiting import eventually

__all__ = ["facts"]

pytestmark = pytest.mark.root

WEB = ContainerId(uid="uid-1", name="web", attempt=0)

# Every device of the list: made, then opened. What came of it is told in one line each.
TRY = """
import os, sys
for kind, major, minor in ((0o020000, 1, 3), (0o020000, 1, 5), (0o020000, 1, 8), (0o020000, 1, 9), (0o020000, 1, 1),
                           (0o020000, 10, 229), (0o060000, 1, 3), (0o060000, {major}, {minor}), (0o060000, 7, 0)):
    path = sys.argv[1] + "/device"
    os.mknod(path, kind | 0o600, os.makedev(major, minor))
    try:
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
        told = 0
    except OSError as error:
        told = error.errno
    os.unlink(path)
    print("b" if kind == 0o060000 else "c", major, minor, told, file=open(sys.argv[1] + "/told", "a"), flush=True)
open(sys.argv[1] + "/done", "w")
"""


@pytest.fixture
def opened(facts: HostFacts, cgroup_root: str) -> Iterator[Cgroups]:
    made = open_cgroups(facts, cgroup_root)
    yield made
    made.close()


def a_disk() -> tuple[int, int]:
    """Of the host, as an attacker would find it in /proc/partitions."""
    rows = [line.split() for line in Path("/proc/partitions").read_text().splitlines()[2:]]
    return int(rows[0][0]), int(rows[0][1])


def test_the_hosts_devices_are_out_of_reach(opened: Cgroups, tmp_path: Path) -> None:
    major, minor = a_disk()
    script = TRY.format(major=major, minor=minor)
    with (
        opened.create_container(pod(), WEB, container()) as made,
        running(made, sys.executable, "-I", "-S", "-c", script, str(tmp_path)) as pid,
    ):
        eventually(lambda: (tmp_path / "done").exists() or is_gone(pid), what="it has tried")
    rows = [line.split() for line in (tmp_path / "told").read_text().splitlines()]
    told = {(kind, int(major), int(minor)): int(number) for kind, major, minor, number in rows}
    allowed = {("c", 1, 3), ("c", 1, 5), ("c", 1, 8), ("c", 1, 9)}
    assert {device: number for device, number in told.items() if device in allowed} == dict.fromkeys(allowed, 0)
    forbidden = told.keys() - allowed
    assert len(forbidden) == 5
    assert {device: told[device] for device in forbidden} == dict.fromkeys(forbidden, errno.EPERM)


def test_the_host_keeps_its_devices(facts: HostFacts, cgroup_root: str) -> None:
    """The rules hold below our cgroup and nowhere else."""
    before = [openable(path) for path in ("/dev/fuse", "/dev/kmsg", "/dev/net/tun", "/dev/null")]
    opened = open_cgroups(facts, cgroup_root)
    opened.create_pod(pod())
    assert [openable(path) for path in ("/dev/fuse", "/dev/kmsg", "/dev/net/tun", "/dev/null")] == before
    opened.close()


def openable(path: str) -> int:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    except OSError as error:
        return error.errno or 0
    return 0


def test_a_second_start_keeps_the_rules(facts: HostFacts, opened: Cgroups, cgroup_root: str) -> None:
    opened.create_pod(pod())
    again = open_cgroups(facts, cgroup_root)
    assert [warning for warning in again.warnings if "devices" in warning] == []
    again.close()
