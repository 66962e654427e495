"""/metrics/probes: what probes answered, and how long that took (pkg/kubelet/prober/prober_manager.go). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nsrun.api.figures.exposition import Family, Sample, counter, gauge, histogram, labels
from nsrun.model.pod import Pod
from nsrun.model.probe import ProbeKind
from nsrun.supervisor.counts import Histogram
from nsrun.supervisor.probecounts import DURATIONS, Outcome, ProbeCounts

__all__ = ["probe_metrics"]


def probe_metrics(
    counts: Mapping[tuple[str, str, ProbeKind], ProbeCounts], pods: Iterable[Pod], *, started: float
) -> tuple[Family, ...]:
    """``counts`` by UID, container and kind; ``started``: nsrun, in seconds since the epoch. Failed probes are not in
    the histogram, as the kubelet has it."""
    known = {pod.uid: pod for pod in pods}
    totals, durations = [], []
    for (uid, container, kind), seen in sorted(counts.items()):
        pod = known.get(uid)
        if pod is None:
            continue
        name, namespace = pod.metadata.name, pod.metadata.namespace
        about = labels(probe_type=str(kind), container=container, pod=name, namespace=namespace)
        durations.append((about, Histogram(bounds=DURATIONS, buckets=seen.durations, sum=seen.seconds)))
        results = zip(
            (Outcome.SUCCESSFUL, Outcome.FAILED, Outcome.UNKNOWN),
            (seen.successful, seen.failed, seen.unknown),
            strict=True,
        )
        totals += [
            Sample(count, f"{about},{labels(result=str(outcome), pod_uid=uid)}") for outcome, count in results if count
        ]
    return (
        counter(
            "prober_probe_total",
            "Cumulative number of a liveness, readiness or startup probe for a container by result.",
            totals,
        ),
        histogram("prober_probe_duration_seconds", "Duration in seconds for a probe response.", durations),
        gauge(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            [Sample(started)],
        ),
    )
