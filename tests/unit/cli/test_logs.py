"""Reading CRI log files."""

from __future__ import annotations

import io

import pytest

from nsrun.cli.logs import content, tail_offset

LINES = [
    b"2026-01-01T00:00:00.000000001Z stdout F one",
    b"2026-01-01T00:00:00.000000002Z stdout P tw",
    b"2026-01-01T00:00:00.000000003Z stdout F o",
    b"garbage",
    b"2026-01-01T00:00:00.000000004Z stderr F ",
]


def test_partial_records_are_joined_and_garbage_is_passed_over() -> None:
    assert b"".join(content(iter(LINES))) == b"one\ntwo\n\n"


@pytest.mark.parametrize("ending", [b"\n", b""])
@pytest.mark.parametrize("wanted", [0, 1, 2, 5, 9])
def test_the_tail_begins_at_a_line(wanted: int, ending: bytes) -> None:
    text = b"\n".join(b"line %d" % n for n in range(5)) + ending
    offset = tail_offset(io.BytesIO(text), wanted)
    assert text[offset:].count(b"line") == min(wanted, 5)
    assert offset == 0 or text[offset - 1 : offset] == b"\n" or offset == len(text)


def test_the_tail_of_a_file_of_many_blocks() -> None:
    text = b"".join(b"%0100d\n" % n for n in range(5000))
    assert text[tail_offset(io.BytesIO(text), 3000) :].count(b"\n") == 3000
    assert tail_offset(io.BytesIO(b""), 3) == 0
