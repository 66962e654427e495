"""What is told of the suite in the machine."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from vagrant.suite import NOT_IN_THE_MACHINE, Result, command, counts, done, failed, merged, parse, summary, unparse


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
    assert failed(tmp_path / "results") == ["tests/unit/model/test_a.py::test_two[x]"]
    assert failed(tmp_path / "none") == []


def test_a_run_goes_on_where_another_was_cut_short(tmp_path: Path) -> None:
    kept = tmp_path / "results"
    kept.write_text(TEXT)
    assert done(kept) == [one.test for one in RESULTS if one.outcome != "failed"]
    assert done(tmp_path / "none") == []
    mended = result("tests/unit/model/test_a.py::test_two[x]")
    new = result("tests/unit/model/test_a.py::test_new")
    whole = merged(RESULTS, [mended, new])
    assert [one for one in whole if one.outcome == "failed"] == []
    assert len(whole) == len(RESULTS) + 1
    assert parse(unparse(whole)) == whole
    assert list(counts(whole))[-1] == "all                     4 passed, 2 skipped"


def test_both_processors_are_busy_and_the_caller_has_the_last_word() -> None:
    words = command(["-n", "0", "tests/unit"])
    assert words[words.index("-n") + 1] == "2"
    assert words[-3:] == ["-n", "0", "tests/unit"]
    for path in NOT_IN_THE_MACHINE:
        assert f"--ignore={path}" in words
