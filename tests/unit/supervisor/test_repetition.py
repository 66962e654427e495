"""A warning that comes again and again is told ever more seldom."""

from __future__ import annotations

from dataclasses import replace

from nsrun.model.status import Event, EventType
from nsrun.supervisor.repetition import Repetitions

FAILED = Event(
    time=0.0, type=EventType.WARNING, reason="Unhealthy", message="no", namespace="n", pod="p", uid="u", container="c"
)


def told(repetitions: Repetitions, event: Event, seconds: range) -> dict[int, str]:
    """The seconds at which a line came, with its remark."""
    lines = {second: repetitions.remark(replace(event, time=float(second))) for second in seconds}
    return {second: line for second, line in lines.items() if line is not None}


def test_what_fails_every_second_is_told_ever_more_seldom_but_never_forgotten() -> None:
    lines = told(Repetitions(), FAILED, range(1300))
    assert list(lines) == [0, 10, 20, 40, 80, 160, 320, 620, 920, 1220]
    assert lines[0] == ""
    assert (lines[10], lines[80]) == ("(x11 over 10s)", "(x81 over 80s)")


def test_crashes_with_backoff_are_all_told() -> None:
    repetitions = Repetitions()
    times = [0, 11, 33, 75, 157, 319, 621, 923]
    assert all(repetitions.remark(replace(FAILED, time=float(t))) is not None for t in times)


def test_what_is_done_is_always_told() -> None:
    started = replace(FAILED, type=EventType.NORMAL, reason="Started")
    assert told(Repetitions(), started, range(5)) == dict.fromkeys(range(5), "")


def test_another_container_pod_or_message_is_another_event() -> None:
    repetitions = Repetitions()
    for one in (FAILED, replace(FAILED, container="d"), replace(FAILED, uid="v"), replace(FAILED, message="nay")):
        assert repetitions.remark(one) == ""
        assert repetitions.remark(one) is None


def test_a_pod_that_went_begins_anew() -> None:
    repetitions = Repetitions()
    repetitions.remark(FAILED)
    repetitions.forget("another")
    assert repetitions.remark(FAILED) is None
    repetitions.forget("u")
    assert repetitions.remark(FAILED) == ""


def test_a_clock_that_was_set_back_silences_nothing() -> None:
    repetitions = Repetitions()
    repetitions.remark(replace(FAILED, time=1000.0))
    assert repetitions.remark(replace(FAILED, time=500.0)) == ""


def test_messages_that_are_always_different_do_not_pile_up() -> None:
    repetitions = Repetitions()
    for number in range(1001):
        repetitions.remark(replace(FAILED, message=str(number)))
    assert repetitions.remark(replace(FAILED, message="0")) == "", "the oldest is forgotten"
    assert repetitions.remark(replace(FAILED, message="1000")) is None
