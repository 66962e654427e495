"""What a terminal shows, out of what was written to it."""

from __future__ import annotations

from docs.capture import picture, settled


def test_all_that_was_written() -> None:
    assert picture(b"one\r\ntwo\r\n\r\n") == "one\ntwo"
    assert picture(b"\x1b[31mred\x1b[0m\x1b[K\r\n\x1b[?25lx") == "\x1b[31mred\x1b[0m\nx"


def test_the_last_picture() -> None:
    drawn = b"\x1b[?1049h\x1b[Hold\x1b[K\x1b[J\x1b[Hnew\x1b[K\r\r\nline\x1b[K\x1b[J\x1b[?1049lafter"
    assert picture(drawn) == "new\nline"


def test_a_line_that_is_written_over() -> None:
    assert picture(b"10 %\r20 %\r\ndone") == "20 %\ndone"


def test_what_differs_from_run_to_run() -> None:
    one, other = settled("0123456789ab   web   Up 3s    0"), settled("ba9876543210   web   Up 7s    0")
    assert one == other
    assert "Up 12s" in one
    assert settled("no id: 12345") == "no id: 12345"
