"""The user namespace that a process is in, by what /proc says; and what root file systems lie over images by."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from nsrun.host.doctor import Level, examine
from nsrun.host.overlay import Overlay, OverlayFlavour, choose, probe_overlay
from nsrun.host.userns import UserNamespace, own_user_namespace, parse_count
from tests.unit.host.machines import debian_12, machine

USERS = UserNamespace(uids=65537, gids=65537, groups=True)


def proc(tmp_path: Path, uids: str, gids: str, groups: str = "allow\n") -> Path:
    (tmp_path / "ns").mkdir()
    (tmp_path / "ns" / "user").touch()
    for name, text in (("uid_map", uids), ("gid_map", gids), ("setgroups", groups)):
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("         0       1000          1\n         1     100000      65536\n", 65537),
        ("1 100000 65536\n0 1000 1\n", 65537),
        ("0 1000 1\n", 1),
        ("0 1000 1\n1 100000 10\n20 200000 10\n", 11),
        ("5 100000 10\n", 0),
        ("0 0 4294967295\n", (1 << 32) - 1),
        ("", (1 << 32) - 1),
    ],
)
def test_ids_from_0_to_the_first_gap(text: str, count: int) -> None:
    assert parse_count(text) == count


def test_a_users_own(tmp_path: Path) -> None:
    found = own_user_namespace(proc(tmp_path, "0 1000 1\n1 100000 65536\n", "0 1000 1\n1 100000 9\n"))
    assert found == UserNamespace(uids=65537, gids=10, groups=True)
    assert not found.is_single


def test_one_of_a_single_id(tmp_path: Path) -> None:
    found = own_user_namespace(proc(tmp_path, "0 1000 1\n", "0 1000 1\n", "deny\n"))
    assert found == UserNamespace(uids=1, gids=1, groups=False)
    assert found.is_single


def test_what_cannot_be_read_is_the_initial_one(tmp_path: Path) -> None:
    assert own_user_namespace(tmp_path) is None


def test_this_process_agrees_with_the_kernel() -> None:
    """The initial one alone maps every id to itself, unless somebody went to some trouble."""
    whole = Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]
    assert (own_user_namespace() is None) == whole


@pytest.mark.parametrize(
    ("refused", "lacking", "flavour"),
    [
        ("", "", OverlayFlavour.USER),
        ("no", "", OverlayFlavour.FUSE),
        ("no", "neither", OverlayFlavour.COPY),
    ],
)
def test_the_first_that_is_not_refused(refused: str, lacking: str, flavour: OverlayFlavour) -> None:
    assert choose(refused, lacking).flavour is flavour


def test_roots_is_not_tried(tmp_path: Path) -> None:
    assert probe_overlay(tmp_path / "none", None) == Overlay(flavour=OverlayFlavour.TRUSTED)
    assert os.listdir(tmp_path) == []


def overlay_finding(overlay: Overlay) -> tuple[Level, str, str]:
    facts = replace(machine(debian_12()), users=USERS, overlay=overlay)
    finding = next(finding for finding in examine(facts) if finding.subject == "overlayfs")
    return finding.level, finding.text, finding.hint


def test_the_doctor_says_which_and_why() -> None:
    assert overlay_finding(choose("", "")) == (Level.OK, "available, with marks in user.* (userxattr)", "")
    level, text, hint = overlay_finding(choose("it is a tape", ""))
    assert (level, text.split(";")[0]) == (Level.WARNING, "it is a tape")
    assert "fuse-overlayfs" in text
    assert "--root on ext4" in hint
    level, text, hint = overlay_finding(choose("it is a tape", "/dev/fuse is shut"))
    assert (level, text.split(":")[0]) == (Level.WARNING, "it is a tape, and /dev/fuse is shut")
    assert "copy" in text
    assert "install fuse-overlayfs" in hint


def test_facts_that_follow_from_it() -> None:
    facts = machine(debian_12())
    assert (facts.has_pod_users, facts.makes_devices, facts.has_resources) == (True, True, True)
    inside = replace(facts, users=USERS)
    assert (inside.has_pod_users, inside.makes_devices, inside.has_resources) == (False, False, False)
