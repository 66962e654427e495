"""What ``./dev test`` makes of failures: few are tried once more, alone; attacks, and many, are not."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

# Fails the first time, and writes what failed where pytest does.
PYTEST = """#!/bin/sh
grep SigIgn /proc/self/status >>ignored
echo "$@" >>runs
[ "$(wc -l <runs)" = 1 ] || exit 0
mkdir -p "$NSRUN_TEST_CACHE/v/cache"
cp failed "$NSRUN_TEST_CACHE/v/cache/lastfailed"
exit 1
"""


def runs(repo: Path, directory: Path, failed: list[str]) -> tuple[int, list[str]]:
    """The exit code, and the words of each run of pytest."""
    text = (repo / "dev").read_text()
    functions = re.findall(r"^(?:suite|attempts)\(\) \{\n.*?^\}\n", text, re.MULTILINE | re.DOTALL)
    assert len(functions) == 2
    python = directory / "bin" / "python"
    python.parent.mkdir()
    python.write_text(PYTEST)
    python.chmod(0o755)
    (directory / "failed").write_text(json.dumps(dict.fromkeys(failed, True), indent=2))
    script = "\n".join(["trap '' HUP INT QUIT", 'set -eu; venv=.; say() { echo "$@"; }', *functions, "suite -k word"])
    environment = {**os.environ, "TMPDIR": str(directory)}
    done = subprocess.run(["sh", "-c", script], cwd=directory, env=environment, capture_output=True, check=False)
    assert sorted(path.name for path in directory.iterdir()) == ["bin", "failed", "ignored", "runs"]
    return done.returncode, (directory / "runs").read_text().splitlines()


def test_a_few_are_tried_once_more_alone(repo: Path, tmp_path: Path) -> None:
    code, told = runs(repo, tmp_path, [f"tests/e2e/test_x.py::test_{number}" for number in range(5)])
    assert code == 0
    assert len(told) == 2
    assert "--last-failed" in told[1]
    assert told[1].endswith("-k word -n 0")


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
    ],
    ids=["attack", "native attack", "many"],
)
def test_others_are_not(repo: Path, tmp_path: Path, failed: list[str]) -> None:
    code, told = runs(repo, tmp_path, failed)
    assert (code, len(told)) == (1, 1)
