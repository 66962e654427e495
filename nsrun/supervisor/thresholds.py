"""When a probe asks, and when its answers count (prober/worker.go). Pure: the state of one probe as values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nsrun.model.probe import Probe, ProbeKind

__all__ = ["DECIDING", "EAGER", "Streak", "counted", "eager_waits", "first_wait", "next_due"]

DECIDING = frozenset({ProbeKind.STARTUP, ProbeKind.LIVENESS})
"""The probes that have a container killed."""

EAGER = frozenset({ProbeKind.STARTUP, ProbeKind.READINESS})
"""The probes whose success is waited for."""

SOON = 0.1
"""Seconds from an eager question's failure to the next one; twice as long each time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Streak:
    """The answers so far: ``length`` times ``last`` in a row; ``told`` is what was made of them, None for nothing yet.
    ``held``: nothing is asked any more of this run of the container."""

    last: bool | None = None
    length: int = 0
    told: bool | None = None
    held: bool = False


def counted(streak: Streak, probe: Probe, kind: ProbeKind, success: bool) -> tuple[Streak, bool]:
    """The streak with one more answer, and whether there is something to tell: a change, or a failure that kills.

    Once a startup probe has decided, or a liveness probe has failed, it is held: a container that is being stopped is
    not to be asked, and a next run begins anew."""
    length = streak.length + 1 if streak.last is success else 1
    threshold = probe.success_threshold if success else probe.failure_threshold
    if length < threshold:
        return Streak(last=success, length=length, told=streak.told), False
    kills = not success and kind in DECIDING
    held = kills or kind is ProbeKind.STARTUP
    tell = kills or success is not streak.told
    return Streak(last=success, length=length, told=success, held=held), tell


def first_wait(probe: Probe, kind: ProbeKind, *, age: float, share: float | None) -> float:
    """Seconds from now until the first question. ``age``: of the run, seconds. ``share``: what part of a period is
    waited in any case, 0 ≤ share < 1; None for a run that has just begun.

    A program that has just begun answers nobody yet. The kubelet's first question comes at some point of the first
    period, since it asks from before there is a container. One that may kill comes at the end of it here; one whose
    success is waited for comes at once, and eagerly again (``eager_waits``)."""
    delay = float(probe.initial_delay_seconds)
    if share is None and not delay and kind not in EAGER:
        return float(probe.period_seconds)
    return min(max(delay - age, 0.0), delay) + (share or 0.0) * probe.period_seconds


def eager_waits(probe: Probe) -> Iterator[float]:
    """Seconds from one eager question to the next. They are asked in the first period only, and only a success counts:
    a failure is what was expected."""
    wait = SOON
    while wait < probe.period_seconds:
        yield wait
        wait *= 2


def next_due(due: float, period: float, now: float) -> float:
    """When the next question is due, after that of ``due`` was answered at ``now``.

    Every question is due at a whole number of periods after the first, however late one before was. Those that came due
    while one was being answered are asked once, at once, as Go's ticker keeps one tick and drops the others."""
    missed = int((now - due) // period)
    return due + max(missed, 1) * period
