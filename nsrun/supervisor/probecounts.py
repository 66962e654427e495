"""What probes have answered so far, as values, for whoever measures.

They are what ``prober_probe_total`` and ``prober_probe_duration_seconds`` of the kubelet say."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from enum import StrEnum

__all__ = ["DURATIONS", "LATENESSES", "Outcome", "ProbeCounts"]

DURATIONS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets, in seconds: Prometheus's own, as the kubelet's."""

LATENESSES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""The same of how late probes began."""


class Outcome(StrEnum):
    """What came of one probe, in the words of the kubelet's metrics. UNKNOWN: it could not be tried."""

    SUCCESSFUL = "successful"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ProbeCounts:
    """``durations``: how many answers took up to each of ``DURATIONS``, and in the end longer; the same for
    ``latenesses``. Each is in one bucket. ``seconds`` is the sum of the durations; those of failures are not observed,
    as the kubelet does not."""

    successful: int = 0
    failed: int = 0
    unknown: int = 0
    durations: tuple[int, ...] = (0,) * (len(DURATIONS) + 1)
    seconds: float = 0.0
    latenesses: tuple[int, ...] = (0,) * (len(LATENESSES) + 1)
    latest: float = 0.0

    def observed(self, outcome: Outcome, *, took: float, late: float) -> ProbeCounts:
        """With one more answer. ``took`` and ``late`` in seconds."""
        latenesses, latest = _one_more(self.latenesses, LATENESSES, late), max(self.latest, late)
        if outcome is Outcome.FAILED:
            return replace(self, failed=self.failed + 1, latenesses=latenesses, latest=latest)
        return ProbeCounts(
            successful=self.successful + (outcome is Outcome.SUCCESSFUL),
            failed=self.failed,
            unknown=self.unknown + (outcome is Outcome.UNKNOWN),
            durations=_one_more(self.durations, DURATIONS, took),
            seconds=self.seconds + took,
            latenesses=latenesses,
            latest=latest,
        )


def _one_more(buckets: tuple[int, ...], bounds: tuple[float, ...], value: float) -> tuple[int, ...]:
    index = bisect_left(bounds, value)
    return (*buckets[:index], buckets[index] + 1, *buckets[index + 1 :])
