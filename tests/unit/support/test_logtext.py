"""Records become text, and the C code agrees with the reader of single records."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsrun.support.crilog import parse_line
from nsrun.support.logtext import BOTH, STDERR, STDOUT, LogText

RECORDS = b"".join(
    line + b"\n"
    for line in (
        b"2026-01-01T00:00:01.000000001Z stdout F one",
        b"2026-01-01T00:00:02.000000002Z stderr P tw",
        b"2026-01-01T00:00:03.000000003Z stderr P:tag o",
        b"2026-01-01T00:00:04.000000004Z stderr F ",
        b"garbage",
        b"2026-01-01T00:00:05.000000005Z stdin F no such stream",
        b"2026-01-01T00:00:06.000000006Z stdout F",
    )
)


def text(records: bytes = RECORDS, *, until: bytes = b"", **wanted: Any) -> bytes:
    return b"".join(bytes(part) for _, part in LogText(**wanted).render(memoryview(records), until=until))


def consumed(records: bytes, until: bytes) -> int:
    return sum(count for count, _ in LogText().render(memoryview(records), until=until))


@pytest.mark.parametrize(
    ("wanted", "written"),
    [
        ({}, b"one\ntwo\n\n"),
        ({"streams": STDOUT}, b"one\n\n"),
        ({"streams": STDERR}, b"two\n"),
        ({"streams": BOTH, "label": b"[a] "}, b"[a] one\n[a] two\n[a] \n"),
        ({"since": b"2026-01-01T00:00:02.000000002Z"}, b"two\n\n"),
        ({"since": b"2027"}, b""),
        ({"streams": STDOUT, "stamps": True}, b"2026-01-01T00:00:01.000000001Z one\n2026-01-01T00:00:06.000000006Z \n"),
        ({"streams": STDERR, "stamps": True, "label": b"> "}, b"> 2026-01-01T00:00:02.000000002Z two\n"),
    ],
)
def test_what_is_wanted(wanted: dict[str, Any], written: bytes) -> None:
    assert text(**wanted) == written


def test_the_first_later_record_waits() -> None:
    first = RECORDS.index(b"\n") + 1
    assert consumed(RECORDS, b"2026-01-01T00:00:01.000000001Z") == first
    assert consumed(RECORDS, b"2026-01-01T00:00:00.9Z") == 0
    assert text(until=b"2026-01-01T00:00:01.000000001Z") == b"one\n"


def test_a_line_that_was_begun_is_ended_first() -> None:
    assert text(until=b"2026-01-01T00:00:02.000000002Z") == b"one\ntwo\n"


def test_a_line_goes_on_from_call_to_call() -> None:
    reader = LogText(label=b"> ")
    parts = [
        bytes(part) for record in RECORDS.splitlines(keepends=True) for _, part in reader.render(memoryview(record))
    ]
    assert b"".join(parts) == b"> one\n> two\n> \n"


def test_text_that_is_longer_than_its_records() -> None:
    records = b"2026-01-01T00:00:01.000000001Z stdout F \n" * 10_000
    label = b"x" * 100
    assert text(records, label=label) == (label + b"\n") * 10_000


def test_a_line_without_an_end_is_left() -> None:
    assert consumed(b"2026-01-01T00:00:01.000000001Z stdout F never ended", b"") == 0


words = st.sampled_from(
    [b"2026-01-01T00:00:00.5Z", b"stdout", b"stderr", b"F", b"P", b"P:x", b"F:", b"FP", b"", b"text"]
)
lines = st.lists(words, max_size=6).map(b" ".join)


@given(st.lists(lines))
def test_agrees_with_the_reader_of_single_records(found: list[bytes]) -> None:
    expected = b""
    for line in found:
        try:
            record = parse_line(line)
        except ValueError:
            continue
        expected += record.content + (b"" if record.partial else b"\n")
    assert text(b"".join(line + b"\n" for line in found)) == expected
