"""/metrics: what nsrun itself does, in the kubelet's names (pkg/kubelet/metrics/metrics.go). Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from nsrun.api.figures.exposition import Family, Sample, counter, gauge, histogram, labels
from nsrun.api.figures.httpcounts import HttpCounts
from nsrun.model.pod import Pod
from nsrun.model.status import Phase, PodStatus, Running, Terminated
from nsrun.supervisor.counts import Counts

__all__ = ["kubelet_metrics"]


def kubelet_metrics(
    counts: Counts, http: HttpCounts, pods: Sequence[tuple[Pod, PodStatus]], *, node_name: str, cgroup_version: int
) -> tuple[Family, ...]:
    """``pods``: what the board shows."""
    return (
        gauge("kubelet_node_name", "The node's name. The count is always 1.", [Sample(1, labels(node=node_name))]),
        gauge("kubelet_cgroup_version", "cgroup version on the hosts.", [Sample(cgroup_version)]),
        *_of_pods([status for _, status in pods]),
        *_of_starts(counts),
        *_of_operations(counts),
        counter(
            "kubelet_evictions",
            "Cumulative number of pod evictions by eviction signal",
            _by("eviction_signal", counts.evictions.items()),
        ),
        *_of_requests(http),
    )


def _by(label: str, rows: Iterable[tuple[str, float]]) -> Iterator[Sample]:
    return (Sample(value, labels(**{label: name})) for name, value in rows)


def _of_pods(statuses: Sequence[PodStatus]) -> Iterator[Family]:
    """Pods here come from manifests: to the kubelet they are static."""
    wanted = [status for status in statuses if status.phase not in (Phase.SUCCEEDED, Phase.FAILED)]
    states = Counter(
        {Running: "running", Terminated: "exited"}.get(type(container.state), "created")
        for status in statuses
        for container in (*status.init_container_statuses, *status.container_statuses)
        if container.container_id or isinstance(container.state, Running)
    )
    yield gauge(
        "kubelet_running_pods",
        "Number of pods that have a running pod sandbox",
        [Sample(sum(any(_runs(status)) for status in statuses))],
    )
    yield gauge(
        "kubelet_running_containers", "Number of containers currently running", _by("container_state", states.items())
    )
    of_manifests = labels(static="true")
    yield gauge(
        "kubelet_desired_pods",
        "The number of pods the kubelet is being instructed to run. "
        "static is true if the pod is not from the apiserver.",
        [Sample(len(statuses), of_manifests)],
    )
    yield gauge(
        "kubelet_active_pods",
        "The number of pods the kubelet considers active and which are being considered when admitting new pods. "
        "static is true if the pod is not from the apiserver.",
        [Sample(len(wanted), of_manifests)],
    )


def _runs(status: PodStatus) -> Iterator[bool]:
    containers = (*status.init_container_statuses, *status.container_statuses)
    return (isinstance(container.state, Running) for container in containers)


def _of_starts(counts: Counts) -> Iterator[Family]:
    yield counter("kubelet_started_pods_total", "Cumulative number of pods started", [Sample(counts.sandboxes.count)])
    yield counter(
        "kubelet_started_pods_errors_total",
        "Cumulative number of errors when starting pods",
        [Sample(counts.sandbox_errors)],
    )
    yield counter(
        "kubelet_started_containers_total",
        "Cumulative number of containers started",
        _by("container_type", counts.containers.items()),
    )
    yield counter(
        "kubelet_started_containers_errors_total",
        "Cumulative number of errors when starting containers",
        (
            Sample(count, labels(container_type=kind, code=reason))
            for (kind, reason), count in counts.container_errors.items()
        ),
    )
    yield histogram(
        "kubelet_pod_start_duration_seconds",
        "Duration in seconds from kubelet seeing a pod for the first time to the pod starting to run",
        [("", counts.pod_starts)],
    )
    yield histogram(
        "kubelet_run_podsandbox_duration_seconds",
        "Duration in seconds of the run_podsandbox operations. Broken down by RuntimeClass.Handler.",
        [("", counts.sandboxes)],
    )


def _of_operations(counts: Counts) -> Iterator[Family]:
    operations = counts.operations
    yield counter(
        "kubelet_runtime_operations_total",
        "Cumulative number of runtime operations by operation type.",
        _by("operation_type", ((kind, seen.total) for kind, seen in operations.items())),
    )
    yield counter(
        "kubelet_runtime_operations_errors_total",
        "Cumulative number of runtime operation errors by operation type.",
        _by("operation_type", ((kind, seen.errors) for kind, seen in operations.items() if seen.errors)),
    )
    yield histogram(
        "kubelet_runtime_operations_duration_seconds",
        "Duration in seconds of runtime operations. Broken down by operation type.",
        ((labels(operation_type=kind), seen.durations) for kind, seen in operations.items()),
    )
    yield histogram(
        "kubelet_image_pull_duration_seconds",
        "Duration in seconds to pull an image.",
        ((labels(image_size_in_bytes=size), seen) for size, seen in counts.pulls.items()),
    )


def _of_requests(http: HttpCounts) -> Iterator[Family]:
    yield counter(
        "kubelet_http_requests_total",
        "Number of the http requests received since the server started",
        (Sample(count, about) for about, count in http.begun.items()),
    )
    yield gauge(
        "kubelet_http_inflight_requests",
        "Number of the inflight http requests",
        (Sample(count, about) for about, count in http.in_flight.items()),
    )
    yield histogram(
        "kubelet_http_requests_duration_seconds", "Duration in seconds to serve http requests", http.durations.items()
    )
