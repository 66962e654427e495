"""The page about life without sudo tells every difference that the tests know, and no other."""

from __future__ import annotations

from pathlib import Path

from tests.rootless.differences import DIFFERENCES, SAME_FOR_ALL, rows, unmatched

HEADING = "## What differs from root"


def test_the_page_has_the_table(repo: Path) -> None:
    _, _, section = (repo / "docs" / "rootless.md").read_text().partition(f"{HEADING}\n")
    lines = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("|")]
    assert lines[2:] == rows()


def test_every_pattern_names_files_that_are_there(repo: Path) -> None:
    patterns = [*(one.tests for one in SAME_FOR_ALL), *(pattern for one in DIFFERENCES for pattern in one.tests)]
    assert len(set(patterns)) == len(patterns)
    for pattern in patterns:
        # A star of fnmatch goes through directories, too.
        assert list(repo.glob(pattern.partition("::")[0].replace("*", "**/*"))), pattern


def test_a_pattern_that_names_no_test_is_found() -> None:
    one = DIFFERENCES[0].tests[0]
    file = one.partition("::")[0]
    assert one in unmatched([f"{file}::test_something_else"])
    assert one not in unmatched([one.rstrip("*")])
    assert unmatched(["tests/somewhere/test_else.py::test_a"]) == []
