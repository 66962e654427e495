"""When something that failed is tried again: the kubelet's schedules, as functions of what happened. No clock in here.

A crash loop (kuberuntime_manager.go doBackOff, client-go flowcontrol.Backoff): the first restart is immediate, the next
ones wait 10, 20, 40, 80, 160 and then 300 seconds, counted from the end of the last run. A run that ends more than 600
seconds after it was begun starts the schedule afresh.

Steps that fail (image pulls; address, volumes, sandbox, removal) wait after the first failure already.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["BackoffSettings", "Crashes", "Retry", "Schedule", "go_duration"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Waits that double: ``initial``, twice that, … up to ``maximum``. Seconds."""

    initial: float
    maximum: float

    def delay(self, failures: int) -> float:
        """The wait after so many failures in a row (1 or more)."""
        # 2**63 is beyond any maximum; the bound keeps a count of years from becoming a number of megabytes.
        return min(self.initial * 2.0 ** min(failures - 1, 63), self.maximum)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackoffSettings:
    """Every schedule, with the kubelet's values. ``reset_after``: a run that lasted longer is not a crash loop.

    ``step`` is ours: the kubelet tries a failed sandbox, network or volume again when its pod worker comes round, after
    10 to 15 seconds; these are local and cheap, so we begin sooner.
    """

    crash: Schedule = field(default_factory=lambda: Schedule(initial=10.0, maximum=300.0))
    reset_after: float = 600.0
    image: Schedule = field(default_factory=lambda: Schedule(initial=10.0, maximum=300.0))
    step: Schedule = field(default_factory=lambda: Schedule(initial=1.0, maximum=30.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Crashes:
    """How deep in a crash loop a container is. ``count`` restarts were made so far, the last one at ``restarted_at``
    (seconds since the epoch)."""

    count: int = 0
    restarted_at: float = 0.0

    @classmethod
    def rebuilt(cls, *, restarts: int, started_at: float) -> Crashes:
        """From a run that was found on the machine: its attempt number, and when it was started.

        The runs before it are not remembered, so they all count as crashes; a run that lasts puts that right.
        """
        return cls(count=restarts, restarted_at=started_at)

    def restart_at(self, finished_at: float, settings: BackoffSettings) -> float:
        """When a run that ended at ``finished_at`` may be followed by the next; not later than ``finished_at`` when at
        once."""
        if self.count == 0 or self._expired(finished_at, settings):
            return finished_at
        return finished_at + settings.crash.delay(self.count)

    def restarted(self, finished_at: float, now: float, settings: BackoffSettings) -> Crashes:
        """After the next run was begun at ``now``."""
        count = 1 if self._expired(finished_at, settings) else self.count + 1
        return Crashes(count=count, restarted_at=now)

    def _expired(self, finished_at: float, settings: BackoffSettings) -> bool:
        return finished_at - self.restarted_at > settings.reset_after


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """A step that failed ``failures`` times in a row and is tried again at ``until`` (seconds since the epoch).
    ``message``: how it failed last; ``reason``: what containers that wait for it wait with, "" for nothing special."""

    failures: int = 0
    until: float = 0.0
    message: str = ""
    reason: str = ""

    def failed(self, now: float, schedule: Schedule, message: str = "", reason: str = "") -> Retry:
        """After one more failure."""
        failures = self.failures + 1
        return Retry(failures=failures, until=now + schedule.delay(failures), message=message, reason=reason)


def go_duration(seconds: float) -> str:
    """As Go prints a time.Duration, which is how the kubelet's messages have it: ``1m20s``, ``1.5s``, ``250ms``."""
    if seconds == 0:
        return "0s"
    if seconds < 1:
        return f"{seconds * 1000:.6g}ms"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    shown = f"{rest:.9f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{shown}"
    return f"{minutes}m{shown}" if minutes else shown
