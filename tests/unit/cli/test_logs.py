"""Reading CRI log files."""

from __future__ import annotations

from nsrun.cli.logs import content

LINES = [
    b"2026-01-01T00:00:00.000000001Z stdout F one",
    b"2026-01-01T00:00:00.000000002Z stdout P tw",
    b"2026-01-01T00:00:00.000000003Z stdout F o",
    b"garbage",
    b"2026-01-01T00:00:00.000000004Z stderr F ",
]


def test_partial_records_are_joined_and_garbage_is_passed_over() -> None:
    assert b"".join(content(iter(LINES))) == b"one\ntwo\n\n"
