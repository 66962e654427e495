"""/metrics/resource: processor time and memory of node, pods and containers, as metrics-server reads them
(pkg/kubelet/metrics/collectors/resource_metrics.go). Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from nsrun.api.figures.exposition import Family, Sample, counter, gauge, labels
from nsrun.api.figures.subjects import PodSubject
from nsrun.model.figures import Usage
from nsrun.supervisor.measuring import Look

__all__ = ["resource_metrics"]

Row = tuple[str, Usage]


def resource_metrics(look: Look, pods: Sequence[PodSubject]) -> tuple[Family, ...]:
    """Every value carries the time when it was read, but for start times and errors."""
    node: list[Row] = [("", look.figures.machine.usage)]
    of_pods = [(_labels(seen), seen.figures.usage) for seen in pods]
    starts, of_containers, swap_limits = [], list[Row](), []
    for seen in pods:
        for container, figures in seen.containers():
            written = labels(container=container.name) + "," + _labels(seen)
            of_containers.append((written, figures.usage))
            starts.append(Sample(figures.started_at, written))
            if "memory" in container.resources.limits:
                swap_limits.append(Sample(0, written, figures.usage.time))
    what = "Reported only on non-windows systems"
    return (
        counter("node_cpu_usage_seconds_total", "Cumulative cpu time consumed by the node in core-seconds", _cpu(node)),
        gauge("node_memory_working_set_bytes", "Current working set of the node in bytes", _memory(node)),
        gauge("node_swap_usage_bytes", f"Current swap usage of the node in bytes. {what}", _swap(node)),
        gauge("container_start_time_seconds", "Start time of the container since unix epoch in seconds", starts),
        counter(
            "container_cpu_usage_seconds_total",
            "Cumulative cpu time consumed by the container in core-seconds",
            _cpu(of_containers),
        ),
        gauge(
            "container_memory_working_set_bytes",
            "Current working set of the container in bytes",
            _memory(of_containers),
        ),
        gauge(
            "container_swap_usage_bytes",
            f"Current amount of the container swap usage in bytes. {what}",
            _swap(of_containers),
        ),
        gauge(
            "container_swap_limit_bytes",
            f"Current amount of the container swap limit in bytes. {what}",
            swap_limits,
        ),
        counter(
            "pod_cpu_usage_seconds_total", "Cumulative cpu time consumed by the pod in core-seconds", _cpu(of_pods)
        ),
        gauge("pod_memory_working_set_bytes", "Current working set of the pod in bytes", _memory(of_pods)),
        gauge("pod_swap_usage_bytes", f"Current amount of the pod swap usage in bytes. {what}", _swap(of_pods)),
        *(gauge(name, _ERROR, [Sample(min(look.errors, 1))]) for name in ("scrape_error", "resource_scrape_error")),
    )


_ERROR = "1 if there was an error while getting container metrics, 0 otherwise"


def _labels(seen: PodSubject) -> str:
    return labels(pod=seen.pod.metadata.name, namespace=seen.pod.metadata.namespace)


def _cpu(rows: Sequence[Row]) -> Iterator[Sample]:
    return _samples(rows, lambda usage: usage.cpu.usage / 1e9 if usage.cpu is not None else None)


def _memory(rows: Sequence[Row]) -> Iterator[Sample]:
    return _samples(rows, lambda usage: usage.memory.working_set if usage.memory is not None else None)


def _swap(rows: Sequence[Row]) -> Iterator[Sample]:
    return _samples(rows, lambda usage: usage.memory.swap if usage.memory is not None else None)


def _samples(rows: Sequence[Row], value: Callable[[Usage], float | None]) -> Iterator[Sample]:
    for written, usage in rows:
        if (found := value(usage)) is not None:
            yield Sample(found, written, usage.time)
