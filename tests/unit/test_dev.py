"""``./dev test`` is the suite as root, and again as an unprivileged user. Few tests that fail are tried once more,
alone; attacks, and many, are not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

# Fails the first time, and writes what failed where pytest does.
PYTEST = """#!/bin/sh
grep SigIgn /proc/self/status >>ignored
echo "$@" >>runs
found=$NSRUN_TEST_CACHE/v/cache/lastfailed
if [ "$(wc -l <runs)" != 1 ]; then
    [ ! -f "$found" ] || cp "$found" again
    exit 0
fi
mkdir -p "$NSRUN_TEST_CACHE/v/cache"
cp failed "$found"
exit "$(cat code)"
"""


def runs(
    repo: Path, directory: Path, failed: list[str], *, code: int = 1, call: str = "suite -k word"
) -> tuple[int, list[str]]:
    """The exit code, and the words of each run of pytest, the first of which ends with ``code``."""
    text = (repo / "dev").read_text()
    functions = re.findall(r"^(?:suites?|attempts)\(\) \{\n.*?^\}\n", text, re.MULTILINE | re.DOTALL)
    assert len(functions) == 3
    python = directory / "bin" / "python"
    python.parent.mkdir()
    python.write_text(PYTEST)
    python.chmod(0o755)
    (directory / "failed").write_text(json.dumps(dict.fromkeys(failed, True), indent=2))
    (directory / "code").write_text(str(code))
    script = "\n".join(["trap '' HUP INT QUIT", 'set -eu; venv=.; say() { echo "$@"; }', *functions, call])
    environment = {**os.environ, "TMPDIR": str(directory)}
    done = subprocess.run(["sh", "-c", script], cwd=directory, env=environment, capture_output=True, check=False)
    assert {path.name for path in directory.iterdir()} - {"again"} == {"bin", "code", "failed", "ignored", "runs"}
    return done.returncode, (directory / "runs").read_text().splitlines()


def test_a_few_are_tried_once_more_alone(repo: Path, tmp_path: Path) -> None:
    code, told = runs(repo, tmp_path, [f"tests/e2e/test_x.py::test_{number}" for number in range(5)])
    assert code == 0
    assert len(told) == 2
    assert "--last-failed" in told[1]
    assert told[1].endswith("-k word -n 0")


def test_names_are_those_of_a_run_alone(repo: Path, tmp_path: Path) -> None:
    """pytest-xdist adds the group of a test to its name."""
    runs(repo, tmp_path, ["tests/e2e/test_x.py::test_y[a@b]@wild", "tests/e2e/test_x.py::test_z"])
    assert set(json.loads((tmp_path / "again").read_text())) == {
        "tests/e2e/test_x.py::test_y[a@b]",
        "tests/e2e/test_x.py::test_z",
    }


def test_one_of_them_can_be_tried_alone_as_a_user(repo: Path, tmp_path: Path) -> None:
    """The table of differences names other tests of its file, which are not there then."""
    name = "tests/e2e/test_wild.py::test_it_runs[two-containers-shared]"
    (tmp_path / "v" / "cache").mkdir(parents=True)
    (tmp_path / "v" / "cache" / "lastfailed").write_text(json.dumps({name: True}))
    words = ["--collect-only", "-q", "--rootless", "--last-failed", "-n", "0", "-o", f"cache_dir={tmp_path}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words], cwd=repo, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0] == name


def test_twice(repo: Path, tmp_path: Path) -> None:
    code, told = runs(repo, tmp_path, ["tests/attacks/api/test_x.py::test_y"], call="suites")
    assert code == 1
    assert ["--rootless" in words for words in told] == [False, True]


def test_whoever_stops_it_stops_all_of_it(repo: Path, tmp_path: Path) -> None:
    code, told = runs(repo, tmp_path, [], code=2, call="suites")
    assert (code, len(told)) == (2, 1)


def test_what_the_shell_of_a_background_ignores_is_not_ignored(repo: Path, tmp_path: Path) -> None:
    """SIGHUP 1, SIGINT 2, SIGQUIT 3 (proc_pid_status(5))."""
    runs(repo, tmp_path, ["tests/e2e/test_x.py::test_y"])
    ignored = [int(line.split()[1], 16) & 0b111 for line in (tmp_path / "ignored").read_text().splitlines()]
    assert ignored == [0, 0]


@pytest.mark.parametrize(
    "failed",
    [
        ["tests/attacks/api/test_x.py::test_y"],
        ["tests/e2e/test_x.py::test_y", "tests/native/test_attacks.py::test_y[asan]"],
        [f"tests/e2e/test_x.py::test_{number}" for number in range(6)],
        ["gw0"],
    ],
    ids=["attack", "native attack", "many", "not collected"],
)
def test_others_are_not(repo: Path, tmp_path: Path, failed: list[str]) -> None:
    code, told = runs(repo, tmp_path, failed)
    assert (code, len(told)) == (1, 1)
