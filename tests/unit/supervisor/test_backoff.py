"""The schedules, step by step."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsrun.supervisor.backoff import BackoffSettings, Crashes, Retry, Schedule, go_duration

SETTINGS = BackoffSettings()


def waits(lengths: list[float], *, crashes: Crashes | None = None) -> list[float]:
    """How long each restart waits, for runs of these lengths, one after the other."""
    crashes, now, waited = crashes or Crashes(), 1_000_000.0, []
    for length in lengths:
        finished = now + length
        at = max(crashes.restart_at(finished, SETTINGS), finished)
        waited.append(at - finished)
        crashes = crashes.restarted(finished, at, SETTINGS)
        now = at
    return waited


def test_a_crash_loop_waits_longer_and_longer() -> None:
    assert waits([1.0] * 9) == [0, 10, 20, 40, 80, 160, 300, 300, 300]


def test_a_run_that_lasted_starts_the_schedule_afresh() -> None:
    assert waits([1, 1, 1, 601, 1, 1]) == [0, 10, 20, 0, 10, 20]


def test_a_run_of_just_ten_minutes_does_not() -> None:
    assert waits([1, 1, 600]) == [0, 10, 20]


@given(st.integers(min_value=0, max_value=40), st.floats(min_value=0.1, max_value=500))
def test_what_is_rebuilt_waits_as_what_was_remembered(restarts: int, length: float) -> None:
    """A supervisor that finds run number n continues as the one that started it would have."""
    remembered = waits([length] * (restarts + 3))
    rebuilt = Crashes.rebuilt(restarts=restarts, started_at=1_000_000.0)
    assert waits([length] * 3, crashes=rebuilt) == pytest.approx(remembered[restarts:])


def test_a_long_run_that_is_found_is_no_crash_loop() -> None:
    assert waits([3600, 1], crashes=Crashes.rebuilt(restarts=7, started_at=1_000_000.0)) == [0, 10]


def test_steps_wait_from_the_first_failure() -> None:
    retry, until = Retry(), []
    for _ in range(7):
        retry = retry.failed(100.0, SETTINGS.image)
        until.append(retry.until - 100.0)
    assert until == [10, 20, 40, 80, 160, 300, 300]
    assert Retry().failed(5.0, SETTINGS.step) == Retry(failures=1, until=6.0)


@given(st.integers(min_value=1, max_value=10**9))
def test_a_delay_stays_within_its_bounds(failures: int) -> None:
    assert 10 <= Schedule(initial=10, maximum=300).delay(failures) <= 300


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (10, "10s"),
        (60, "1m0s"),
        (80, "1m20s"),
        (300.0, "5m0s"),
        (3725, "1h2m5s"),
        (4 * 3600, "4h0m0s"),
        (0.25, "250ms"),
        (0.0125, "12.5ms"),
        (1.234, "1.234s"),
        (90.5, "1m30.5s"),
    ],
)
def test_durations_read_as_go_writes_them(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text
