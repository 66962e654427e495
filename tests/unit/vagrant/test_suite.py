"""What is told of the suite in the machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from vagrant.suite import (
    DONE,
    NOT_IN_THE_MACHINE,
    SPEAK_TO_SYSTEMD,
    Result,
    commands,
    counts,
    done,
    failed,
    known,
    merged,
    parse,
    summary,
    unparse,
)
from vagrant.suite import (
    RESULTS as KEPT,
)


def result(test: str, outcome: str = "passed", reason: str = "", seconds: float = 1.0, at: float = 100.0) -> Result:
    return Result(test=test, outcome=outcome, reason=reason, seconds=seconds, at=at)


RESULTS = [
    result("tests/unit/model/test_a.py::test_one", at=61.0),
    result("tests/unit/model/test_a.py::test_two[x]", "failed", "assert 1 == 2", seconds=30.0),
    result("tests/system/cgroups/test_b.py::test_three[v1]", "skipped", "no v1\ncontrollers here"),
    result("tests/system/network/test_c.py::test_four", "skipped", "no v1 controllers here"),
    result("tests/test_habits.py::test_five"),
]
TEXT = "".join(json.dumps(asdict(one)) + "\n" for one in RESULTS)


def test_counts_reasons_and_failures() -> None:
    told = list(summary(RESULTS, started=10.0, ended=200.0))
    left_out = [f"not in the machine: {path}: {reason}" for path, reason in NOT_IN_THE_MACHINE.items()]
    assert told == [
        "first test after 50 s, all after 190 s",
        "tests/system/cgroups    1 skipped",
        "tests/system/network    1 skipped",
        "tests/test_habits.py    1 passed",
        "tests/unit/model        1 passed, 1 failed",
        "all                     2 passed, 2 skipped, 1 failed",
        "skipped: no v1 controllers here: 1 in tests/system/cgroups/test_b.py, 1 in tests/system/network/test_c.py",
        *left_out,
        "slowest: test_a.py::test_two[x] 30 s, test_a.py::test_one 1 s, test_b.py::test_three[v1] 1 s, "
        "test_c.py::test_four 1 s, test_habits.py::test_five 1 s",
        "failed: tests/unit/model/test_a.py::test_two[x]",
    ]


def test_a_run_that_never_began() -> None:
    told = list(summary([], started=10.0, ended=12.0))
    assert told[:2] == ["first test after 2 s, all after 2 s", "all                     nothing ran"]


def test_a_line_that_was_cut_off_is_left_out() -> None:
    assert parse(TEXT) == RESULTS
    assert parse(TEXT + '{"test": "half') == RESULTS
    assert parse("") == []


def test_what_failed_last_time(tmp_path: Path) -> None:
    (tmp_path / "results").write_text(TEXT)
    assert failed(known(tmp_path / "results")) == ["tests/unit/model/test_a.py::test_two[x]"]
    assert known(tmp_path / "none") == []


def test_a_run_goes_on_where_another_was_cut_short() -> None:
    assert done(RESULTS) == [one.test for one in RESULTS if one.outcome != "failed"]
    mended = result("tests/unit/model/test_a.py::test_two[x]")
    new = result("tests/unit/model/test_a.py::test_new")
    whole = merged(RESULTS, [mended, new])
    assert [one for one in whole if one.outcome == "failed"] == []
    assert len(whole) == len(RESULTS) + 1
    assert parse(unparse(whole)) == whole
    assert list(counts(whole))[-1] == "all                     4 passed, 2 skipped"


@pytest.mark.parametrize("workers", ["0", "2"])
def test_what_is_done_is_left_out_by_every_worker(repo: Path, tmp_path: Path, workers: str) -> None:
    group = '@pytest.mark.xdist_group("group")'
    tests = [f"{group}\ndef test_{name}(): pass" for name in ("one", "two", "three")]
    (tmp_path / "test_x.py").write_text("\n".join(["import pytest", *tests]))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "build").mkdir()
    (tmp_path / DONE).write_text("test_x.py::test_one\ntest_x.py::test_three\n")
    words = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "vagrant.reporting",
        "-p",
        "no:schemathesis",
        "-n",
        workers,
        "--dist",
        "loadgroup",
        str(tmp_path),
    ]
    environment = {**os.environ, "PYTHONPATH": str(repo), "NSRUN_TEST_WORLD": "here"}
    environment.pop("PYTEST_XDIST_WORKER", None)
    subprocess.run(words, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert [one.test for one in known(tmp_path / KEPT)] == ["test_x.py::test_two"]


def test_both_processors_are_busy_and_the_caller_has_the_last_word() -> None:
    together, apart = commands(["-n", "3", "-x"])
    assert together[together.index("-n") + 1] == "2"
    assert together[-3:] == ["-n", "3", "-x"]
    for path in (*NOT_IN_THE_MACHINE, *SPEAK_TO_SYSTEMD):
        assert f"--ignore={path}" in together
    assert apart[-3 - len(SPEAK_TO_SYSTEMD) :] == ["-x", "-n", "0", *SPEAK_TO_SYSTEMD]
    assert "--noconftest" in apart


def test_what_is_not_asked_for_is_not_run() -> None:
    (together,) = commands(["tests/e2e", "-x"])
    assert together[-2:] == ["-x", "tests/e2e"]
    one = f"{SPEAK_TO_SYSTEMD[0]}::test_it"
    (apart,) = commands([one])
    assert apart[-4:] == ["--noconftest", "-n", "0", one]
    assert [words[-1] for words in commands(["tests/e2e", one])] == ["tests/e2e", one]
    for directory in ("tests", "tests/vm", "tests/vm/guest/"):
        together, apart = commands([directory])
        assert together[-1] == directory
        assert apart[-len(SPEAK_TO_SYSTEMD) :] == [*SPEAK_TO_SYSTEMD]
