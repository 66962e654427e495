"""When a probe asks, and when its answers count."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsrun.model.probe import Exec, Probe, ProbeKind
from nsrun.supervisor.probecounts import DURATIONS, LATENESSES, Outcome, ProbeCounts
from nsrun.supervisor.thresholds import Streak, counted, eager_waits, first_wait, next_due

ACTION = Exec(command=("true",))


def told(kind: ProbeKind, answers: str, *, successes: int = 1, failures: int = 3) -> str:
    """What each answer (``+`` or ``-``) leads to: ``+`` and ``-`` where something is told, ``.`` where nothing is; it
    ends where the probe is held."""
    probe = Probe(action=ACTION, success_threshold=successes, failure_threshold=failures)
    streak, said = Streak(), ""
    for answer in answers:
        streak, tell = counted(streak, probe, kind, answer == "+")
        said += answer if tell else "."
        if streak.held:
            return said + "|"
    return said


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ("+++", "+.."),
        ("--", ".."),
        ("----", "..-."),  # a failure is told once
        ("--+--+", "..+..."),  # never three in a row
        ("+---+", "+..-+"),
        ("---+---", "..-+..-"),
    ],
)
def test_readiness_tells_changes(answers: str, expected: str) -> None:
    assert told(ProbeKind.READINESS, answers) == expected


def test_readiness_may_need_several_successes() -> None:
    assert told(ProbeKind.READINESS, "+-++-++", successes=2, failures=1) == ".-.+-.+"


def test_liveness_tells_its_failure_and_is_held() -> None:
    assert told(ProbeKind.LIVENESS, "++---") == "+...-|"
    assert told(ProbeKind.LIVENESS, "-", failures=1) == "-|"


def test_startup_is_held_once_it_has_decided() -> None:
    assert told(ProbeKind.STARTUP, "--+") == "..+|"
    assert told(ProbeKind.STARTUP, "----") == "..-|"


@pytest.mark.parametrize("kind", list(ProbeKind))
def test_the_first_question_waits_for_the_delay_from_the_start(kind: ProbeKind) -> None:
    probe = Probe(action=ACTION, initial_delay_seconds=5, period_seconds=10)
    for share in (None, 0.0):
        assert first_wait(probe, kind, age=0.0, share=share) == 5.0
        assert first_wait(probe, kind, age=3.5, share=share) == 1.5
        assert first_wait(probe, kind, age=60.0, share=share) == 0.0
        # A clock that was set back does not make it wait for longer.
        assert first_wait(probe, kind, age=-3600.0, share=share) == 5.0
    assert first_wait(probe, kind, age=60.0, share=0.5) == 5.0


def test_without_a_delay_a_probe_that_may_kill_gives_a_new_run_a_period() -> None:
    probe = Probe(action=ACTION, period_seconds=10)
    assert first_wait(probe, ProbeKind.LIVENESS, age=0.0, share=None) == 10.0
    assert first_wait(probe, ProbeKind.LIVENESS, age=0.0, share=0.0) == 0.0
    assert first_wait(probe, ProbeKind.READINESS, age=0.0, share=None) == 0.0
    assert first_wait(probe, ProbeKind.STARTUP, age=0.0, share=None) == 0.0


def test_eager_questions_get_rarer_and_end_with_the_first_period() -> None:
    waits = list(eager_waits(Probe(action=ACTION, period_seconds=10)))
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4])
    assert list(eager_waits(Probe(action=ACTION, period_seconds=1))) == pytest.approx([0.1, 0.2, 0.4, 0.8])


@settings(deadline=None)
@given(
    period=st.integers(1, 600),
    taken=st.lists(st.floats(0.0, 5000.0), max_size=20),
    first=st.floats(0, 1e6),
)
def test_questions_stay_on_the_grid(period: int, taken: list[float], first: float) -> None:
    """Whatever each takes: every one is due a whole number of periods after the first, and no more than one that came
    due meanwhile is asked late."""
    due = now = first
    for seconds in taken:
        now = max(now, due) + seconds
        following = next_due(due, period, now)
        steps = (following - first) / period
        assert steps == pytest.approx(round(steps), abs=1e-6)
        assert following > due
        assert following > now - period or following - due == period
        due = following


def test_a_question_that_took_too_long_is_followed_by_one_at_once() -> None:
    assert next_due(100.0, 1.0, 100.3) == 101.0
    assert next_due(100.0, 1.0, 101.5) == 101.0
    assert next_due(100.0, 1.0, 103.5) == 103.0
    assert next_due(103.0, 1.0, 103.6) == 104.0


def test_counts_are_values() -> None:
    none = ProbeCounts()
    one = none.observed(Outcome.SUCCESSFUL, took=0.005, late=0.0)
    two = one.observed(Outcome.FAILED, took=9.0, late=0.15)
    three = two.observed(Outcome.UNKNOWN, took=99.0, late=7.0)
    assert none == ProbeCounts()
    assert (three.successful, three.failed, three.unknown) == (1, 1, 1)
    # A failure's duration is not observed, as the kubelet does not observe it.
    assert sum(three.durations) == 2
    assert (three.durations[0], three.durations[-1]) == (1, 1)
    assert three.seconds == pytest.approx(99.005)
    assert sum(three.latenesses) == 3
    assert three.latenesses[LATENESSES.index(0.2)] == 1
    assert three.latest == 7.0
    assert len(three.durations) == len(DURATIONS) + 1
