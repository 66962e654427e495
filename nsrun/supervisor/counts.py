"""What happened so far, as numbers, for whoever measures: the counters behind the kubelet's own metrics. Pure.

Everything begins at nothing with each start of nsrun, as a kubelet's counters do.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field, replace

from nsrun.model.status import Phase, PodStatus

__all__ = [
    "DEFAULT_BOUNDS",
    "OPERATION_BOUNDS",
    "POD_START_BOUNDS",
    "PULL_BOUNDS",
    "Counts",
    "Histogram",
    "Operation",
    "eviction_signal",
    "pull_size",
]

DEFAULT_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds: Prometheus's own."""
OPERATION_BOUNDS = tuple(round(0.005 * 2.5**step, 9) for step in range(14))
POD_START_BOUNDS = (
    *(0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600),
    *(900, 1200, 1800, 2700, 3600),
)
PULL_BOUNDS = (1, 5, 10, 20, 30, 60, 180, 300, 600, 900, 1200, 1800, 2700, 3600)
"""The kubelet's (pkg/kubelet/metrics/metrics.go)."""

_MB, _GB = 1 << 20, 1 << 30
_PULL_SIZES = (
    (10 * _MB, "0-10MB"),
    (100 * _MB, "10MB-100MB"),
    (500 * _MB, "100MB-500MB"),
    (1 * _GB, "500MB-1GB"),
    (5 * _GB, "1GB-5GB"),
    (10 * _GB, "5GB-10GB"),
    (20 * _GB, "10GB-20GB"),
    (30 * _GB, "20GB-30GB"),
    (40 * _GB, "30GB-40GB"),
    (60 * _GB, "40GB-60GB"),
    (100 * _GB, "60GB-100GB"),
)
# How the message of an eviction begins → the kubelet's signal (pkg/kubelet/eviction/eviction_manager.go).
_SIGNALS = (
    ("Usage of EmptyDir volume", "emptydirfs.limit"),
    ("Pod ephemeral local storage", "ephemeralpodfs.limit"),
    ("Container ", "ephemeralcontainerfs.limit"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """How many values were up to each of ``bounds``, and in the end above; each is in one bucket."""

    bounds: tuple[float, ...]
    buckets: tuple[int, ...] = ()
    sum: float = 0.0

    def observed(self, value: float) -> Histogram:
        """With one more value."""
        buckets = list(self.buckets or (0,) * (len(self.bounds) + 1))
        buckets[bisect_left(self.bounds, value)] += 1
        return replace(self, buckets=tuple(buckets), sum=self.sum + value)

    @property
    def count(self) -> int:
        return sum(self.buckets)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One kind of thing that the runtime was asked for."""

    total: int = 0
    errors: int = 0
    durations: Histogram = Histogram(bounds=OPERATION_BOUNDS)


def pull_size(size: int) -> str:
    """``image_size_in_bytes``: in which class of sizes an image is."""
    return next((name for limit, name in _PULL_SIZES if size < limit), "GT100GB")


def eviction_signal(message: str) -> str:
    """What a pod had too much of, from what its eviction says."""
    return next((signal for beginning, signal in _SIGNALS if message.startswith(beginning)), "unknown")


@dataclass(slots=True, kw_only=True)
class Counts:
    """Belongs to one event loop. Whoever does something tells it here; whoever measures reads."""

    operations: dict[str, Operation] = field(default_factory=dict)
    """By operation_type."""
    sandboxes: Histogram = Histogram(bounds=DEFAULT_BOUNDS)
    sandbox_errors: int = 0
    containers: dict[str, int] = field(default_factory=dict)
    """Those that were started, by container_type."""
    container_errors: dict[tuple[str, str], int] = field(default_factory=dict)
    """By container_type and the reason."""
    pod_starts: Histogram = Histogram(bounds=POD_START_BOUNDS)
    pulls: dict[str, Histogram] = field(default_factory=dict)
    """By image_size_in_bytes."""
    evictions: dict[str, int] = field(default_factory=dict)
    """By eviction_signal."""

    def operation(self, kind: str, seconds: float, *, failed: bool = False) -> None:
        """The runtime did something, or could not; ``kind`` in the kubelet's words."""
        known = self.operations.get(kind, Operation())
        self.operations[kind] = Operation(
            total=known.total + 1, errors=known.errors + failed, durations=known.durations.observed(seconds)
        )

    def sandbox(self, seconds: float, *, failed: bool = False) -> None:
        """A pod's sandbox was started, or could not be."""
        self.operation("run_podsandbox", seconds, failed=failed)
        self.sandboxes = self.sandboxes.observed(seconds)
        self.sandbox_errors += failed

    def container(self, kind: str, seconds: float, *, error: str = "") -> None:
        """A container was started, or could not be for the reason ``error``."""
        self.operation("start_container", seconds, failed=bool(error))
        self.containers[kind] = self.containers.get(kind, 0) + 1
        if error:
            self.container_errors[kind, error] = self.container_errors.get((kind, error), 0) + 1

    def pulled(self, size: int, seconds: float) -> None:
        """An image came from a registry."""
        self.operation("pull_image", seconds)
        name = pull_size(size)
        self.pulls[name] = self.pulls.get(name, Histogram(bounds=PULL_BOUNDS)).observed(seconds)

    def evicted(self, message: str) -> None:
        """A pod was ended for what it used."""
        signal = eviction_signal(message)
        self.evictions[signal] = self.evictions.get(signal, 0) + 1

    def published(self, before: PodStatus | None, after: PodStatus, now: float) -> None:
        """A pod's status is another one: the time from when it was first seen until it ran is counted once."""
        begins = before is not None and before.phase is Phase.PENDING and after.phase is Phase.RUNNING
        if begins and after.start_time is not None:
            self.pod_starts = self.pod_starts.observed(max(now - after.start_time, 0.0))
