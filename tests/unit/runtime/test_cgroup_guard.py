"""Who may use which devices, by the files of a directory that stands for a cgroup."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsrun.runtime import cgroup_v1
from nsrun.runtime.cgroup_v1 import V1Tree
from nsrun.runtime.cgroup_v2 import V2Tree
from nsrun.runtime.devices import EVERY_DEVICE
from nsrun.support import native
from nsrun.support.fds import Fd

FILES = ("devices.list", "devices.allow", "devices.deny")


@pytest.fixture
def cgroup(tmp_path: Path) -> Iterator[Fd]:
    for name in FILES:
        (tmp_path / name).touch()
    (tmp_path / "devices.list").write_text("a *:* rwm\n")
    with Fd.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY) as opened:
        yield opened


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What is written, in order."""
    lines: list[tuple[str, str]] = []
    monkeypatch.setattr(cgroup_v1, "write_file", lambda cgroup, name, value: lines.append((name, value)))
    return lines


def v1(cgroup: Fd, *controllers: str) -> V1Tree:
    root = Fd(os.dup(cgroup.fileno()))
    return V1Tree(directory="/x", name="r", controllers=frozenset(controllers), root=root, mount_options=controllers)


def v2(cgroup: Fd, *, guarded: bool = True) -> V2Tree:
    root = Fd(os.dup(cgroup.fileno()))
    return V2Tree(directory="/x", name="r", controllers=frozenset(), root=root, guarded=guarded)


def test_v1_denies_everything_and_allows_the_default_ones(cgroup: Fd, told: list[tuple[str, str]]) -> None:
    assert list(v1(cgroup, "devices").guard(cgroup, every_device=False)) == []
    assert told[0] == ("devices.deny", "a")
    assert ("devices.allow", "c 1:3 rwm") in told
    assert ("devices.allow", "c *:* m") in told
    assert not [value for name, value in told[1:] if name != "devices.allow"]


def test_v1_leaves_the_privileged_alone(cgroup: Fd, told: list[tuple[str, str]]) -> None:
    assert list(v1(cgroup, "devices").guard(cgroup, every_device=True)) == []
    assert told == []


def test_v1_cannot_give_back_what_was_denied_above(cgroup: Fd, tmp_path: Path, told: list[tuple[str, str]]) -> None:
    (tmp_path / "devices.list").write_text("c 1:3 rwm\n")
    [warning] = v1(cgroup, "devices").guard(cgroup, every_device=True)
    assert "cannot let the container use the host's devices" in warning
    assert list(v1(cgroup, "devices").guard(cgroup, every_device=False)) == []
    assert ("devices.deny", "a") not in told  # it was


def test_other_hierarchies_of_v1_have_no_say(cgroup: Fd, told: list[tuple[str, str]]) -> None:
    assert list(v1(cgroup, "cpu").guard(cgroup, every_device=False)) == []
    assert told == []


def test_v1_says_when_it_is_refused(tmp_path: Path, cgroup: Fd) -> None:
    (tmp_path / "devices.allow").unlink()
    [warning] = v1(cgroup, "devices").guard(cgroup, every_device=False)
    assert "cannot keep the container from the host's devices" in warning


def test_v2_has_a_program_for_the_privileged(cgroup: Fd, monkeypatch: pytest.MonkeyPatch) -> None:
    attached: list[bytes] = []
    monkeypatch.setattr(native, "attach_device_program", lambda fd, program: attached.append(program))
    tree = v2(cgroup)
    assert list(tree.guard(cgroup, every_device=False)) == []
    assert attached == []
    assert list(tree.guard(cgroup, every_device=True)) == []
    assert attached == [EVERY_DEVICE]


def test_v2_says_when_it_is_refused(cgroup: Fd, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, program: bytes) -> None:
        raise PermissionError(1, "")

    monkeypatch.setattr(native, "attach_device_program", refuse)
    [warning] = v2(cgroup).guard(cgroup, every_device=True)
    assert "cannot let the container use the host's devices" in warning


def test_v2_without_a_program_has_none_to_replace(cgroup: Fd, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a user namespace nobody may attach one, and none is missed."""
    monkeypatch.setattr(native, "attach_device_program", lambda fd, program: pytest.fail("it may not be"))
    assert list(v2(cgroup, guarded=False).guard(cgroup, every_device=True)) == []
