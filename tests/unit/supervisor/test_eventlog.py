"""Repeats are one series, and nobody's repeats drive out what others have to say."""

from __future__ import annotations

from nsrun.model.status import Event, EventType
from nsrun.supervisor.eventlog import LONGEST, EventLog


def event(message: str, time: float = 0.0, *, uid: str = "web", reason: str = "R") -> Event:
    return Event(time=time, type=EventType.NORMAL, reason=reason, message=message, pod=uid, uid=uid)


def messages(log: EventLog) -> list[str]:
    return [series.event.message for series in log.all()]


def test_the_same_again_is_counted() -> None:
    log = EventLog()
    first = log.add(event("a", 1.0))
    log.add(event("b", 2.0))
    again = log.add(event("a", 5.0))
    other = log.add(event("a", 6.0, reason="Other"))
    assert (first.count, first.event.time, first.last) == (1, 1.0, 1.0)
    assert (again.count, again.event.time, again.last, again.number) == (2, 1.0, 5.0, first.number)
    assert (other.count, other.number) == (1, 3)
    assert messages(log) == ["b", "a", "a"], "the last one seen at the end"


def test_a_pod_has_its_share_and_no_more() -> None:
    log = EventLog(kept=100, kept_of_one=3)
    log.add(event("quiet", uid="quiet"))
    for number in range(50):
        log.add(event(f"{number}"))
    assert messages(log) == ["quiet", "47", "48", "49"]


def test_what_was_not_seen_for_longest_goes_first() -> None:
    log = EventLog(kept=3, kept_of_one=3)
    for uid in "abc":
        log.add(event("said", uid=uid))
    log.add(event("said", uid="a"))
    log.add(event("said", uid="d"))
    assert [series.event.uid for series in log.all()] == ["c", "a", "d"]
    assert log.add(event("said", uid="b")).count == 1, "what was forgotten begins anew"


def test_what_a_container_wrote_takes_no_more_room_than_a_message_may() -> None:
    log = EventLog()
    log.add(event("x" * 10_000_000))
    log.add(event("x" * 5000))
    (series,) = log.all()
    assert (len(series.event.message), series.count) == (LONGEST, 2)
    assert series.event.message.endswith("x…")


def test_nothing_is_kept_of_pods_of_which_nothing_is_told() -> None:
    log = EventLog(kept=2, kept_of_one=2)
    for number in range(1000):
        log.add(event("said", uid=f"{number}"))
    assert len(log._of) == len(log.all()) == 2
