"""Processes by their marks, in a directory that looks like /proc."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nsrun.runtime.cgroup_marks import Marks, mark_of

ROOT = "30 20 0:30 / / rw,relatime - overlay overlay rw,lowerdir=/l\n"


def mark(source: str, kind: str = "tmpfs") -> str:
    return f"31 30 0:31 / /sys/fs/cgroup ro,nosuid shared:3 master:2 - {kind} {source} ro,size=4k,mode=555\n"


@pytest.mark.parametrize(
    ("mountinfo", "name"),
    [
        (ROOT + mark("nsrun/poduid/web-0"), "poduid/web-0"),
        (mark("a/b/nsrun/poduid/web-0"), ""),
        (mark("nsrunx/poduid/web-0"), ""),
        (mark("nsrun"), ""),
        (mark("nsrun/poduid/web-0", kind="ext4"), ""),
        (ROOT.replace("/l", "- tmpfs nsrun/poduid/web-0"), ""),
        (ROOT, ""),
        ("", ""),
        ("garbage\n - \n", ""),
    ],
)
def test_a_mark_is_a_file_system_of_this_name(mountinfo: str, name: str) -> None:
    assert mark_of(mountinfo, "nsrun") == name


class Proc:
    """``/proc`` with processes of mount namespaces."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.task("self", 1, "")

    def task(self, place: str, namespace: int, name: str) -> None:
        """A process, or a thread of one."""
        ns = self.top / place / "ns"
        ns.mkdir(parents=True)
        os.symlink(f"mnt:[{namespace}]", ns / "mnt")
        (self.top / place / "mountinfo").write_text(ROOT + mark(f"nsrun/{name}") if name else ROOT)


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Proc:
    """In the order of their numbers, as Linux lists processes."""
    listed = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: sorted(listed(path)))
    return Proc(tmp_path)


def test_who_shares_a_namespace_shares_its_mark(proc: Proc) -> None:
    proc.task("10", 1, "podother/x-0")  # in nsrun's own namespace nothing is a mark
    proc.task("11", 5, "poduid/web-0")
    proc.task("12", 5, "")  # whatever it says: the namespace was looked at
    proc.task("13", 6, "poduid/web-1")
    proc.task("14", 7, "")
    (proc.top / "15").mkdir()  # has ended meanwhile
    (proc.top / "version").touch()
    marks = Marks("nsrun", proc=proc.top)
    found = marks.find()
    assert found["poduid/web-1"] == {13}
    assert set(found) == {"poduid/web-0", "poduid/web-1"}
    assert sum(map(len, found.values())) == 3
    assert marks.pids("poduid/", below=True) == {11, 12, 13}
    assert marks.pids("poduid/web-1") == {13}
    assert marks.pids("poduid/web-") == set()


def test_who_ends_at_that_moment_says_nothing_of_its_namespace(proc: Proc) -> None:
    proc.task("10", 5, "poduid/web-0")
    (proc.top / "10" / "mountinfo").unlink()
    proc.task("11", 5, "poduid/web-0")
    assert Marks("nsrun", proc=proc.top).pids("poduid/web-0") == {11}


def test_where_the_first_thread_has_ended_another_one_tells(proc: Proc) -> None:
    (proc.top / "20" / "ns").mkdir(parents=True)
    (proc.top / "20" / "task" / "20").mkdir(parents=True)
    proc.task("20/task/21", 5, "poduid/web-0")
    assert Marks("nsrun", proc=proc.top).pids("poduid/web-0") == {20}


def test_a_number_that_is_given_again_is_looked_at_again(proc: Proc) -> None:
    """The kernel gives the number of a namespace that is gone to the next one."""
    marks = Marks("nsrun", proc=proc.top)
    proc.task("30", 5, "poduid/web-0")
    assert marks.pids("poduid/web-0") == {30}
    (proc.top / "30" / "mountinfo").write_text(ROOT + mark("nsrun/podother/web-0"))
    assert marks.pids("poduid/web-0") == set()
    assert marks.pids("podother/web-0") == {30}
