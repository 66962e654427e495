from __future__ import annotations

import os
from pathlib import Path

import pytest

from nsrun.errors import HostError
from nsrun.host.rootless.places import home_directory, places, runtime_directory


def test_by_default() -> None:
    assert places({}, home="/home/me", runtime="/run/user/1000") == {
        "HOME": "/home/me",
        "XDG_RUNTIME_DIR": "/run/user/1000",
        "NSRUN_ROOT": "/home/me/.local/share/nsrun",
        "NSRUN_RUN_DIR": "/run/user/1000/nsrun",
        "NSRUN_LOG_DIR": "/home/me/.local/state/nsrun/log",
        "NSRUN_NETNS_DIR": "/run/user/1000/nsrun/netns",
    }


def test_what_is_set_stays() -> None:
    environment = {"XDG_DATA_HOME": "/data", "XDG_STATE_HOME": "relative", "NSRUN_RUN_DIR": "/r", "NSRUN_LOG_DIR": ""}
    found = places(environment, home="/h", runtime="/run/user/1000")
    assert found["NSRUN_ROOT"] == "/data/nsrun"
    assert found["NSRUN_LOG_DIR"] == "/h/.local/state/nsrun/log"
    assert "NSRUN_RUN_DIR" not in found
    assert found["NSRUN_NETNS_DIR"] == "/r/netns"


def test_home() -> None:
    assert home_directory({"HOME": "/h/"}, 12345678) == "/h"
    assert home_directory({"HOME": "odd"}, 0) == "/root"
    with pytest.raises(HostError, match="cannot tell where user 12345678 is at home"):
        home_directory({}, 12345678)


def test_the_first_directory_that_is_ones_own(tmp_path: Path) -> None:
    mine, open_to_all, link = tmp_path / "mine", tmp_path / "open", tmp_path / "link"
    mine.mkdir(mode=0o700)
    open_to_all.mkdir(mode=0o755)
    link.symlink_to(mine)
    candidates = ("", "/nonexistent", str(link), str(open_to_all), str(mine))
    assert runtime_directory({}, os.getuid(), candidates=candidates) == str(mine)


def test_somebody_elses_is_not_taken(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir(mode=0o700)
    other = os.getuid() + 54321
    assert runtime_directory({}, other, candidates=(str(mine),)) == f"/tmp/nsrun-run-{other}"
