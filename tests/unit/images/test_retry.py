"""When to try again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nsrun.images.retry import Backoff, seconds_of_retry_after

NOW = 1_000_000_000.0  # 09 Sep 2001 01:46:40 GMT


def test_pauses_grow_and_are_never_the_same_for_all() -> None:
    backoff = Backoff(attempts=9)
    shortest = [backoff.pause(attempt, None, lambda: 0.0) for attempt in range(9)]
    longest = [backoff.pause(attempt, None, lambda: 1.0) for attempt in range(9)]
    assert shortest == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0, None]
    assert longest == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0, None]


def test_eight_attempts_outlast_a_network_that_is_away_for_ten_seconds() -> None:
    backoff = replace(Backoff(), attempts=8)
    assert sum(backoff.pause(attempt, None, lambda: 0.0) or 0.0 for attempt in range(8)) > 10


def test_the_server_has_its_will_within_reason() -> None:
    backoff = Backoff()
    assert backoff.pause(0, 7.0, lambda: 0.5) == 7.0
    assert backoff.pause(3, 0.0, lambda: 1.0) == 4.0
    assert backoff.pause(0, 61.0, lambda: 0.5) is None
    assert backoff.pause(4, 1.0, lambda: 0.5) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("9" * 40, 999999999.0),
        ("Sun, 09 Sep 2001 01:47:10 GMT", 30.0),
        ("Sun, 09 Sep 2001 01:46:10 GMT", 0.0),
        ("Sunday, 09-Sep-01 01:47:10 GMT", 30.0),
        (None, None),
        ("", None),
        ("-1", None),
        ("soon", None),
        ("٣", None),
    ],
)
def test_retry_after(text: str | None, seconds: float | None) -> None:
    assert seconds_of_retry_after(text, NOW) == seconds
