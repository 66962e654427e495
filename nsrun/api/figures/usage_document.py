"""What ``nsrun top`` and ``nsrun stats`` show, as one small document: every pod and container that runs, with what it
uses and how fast. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nsrun.api.figures.subjects import PodSubject
from nsrun.model.container import Container
from nsrun.model.figures import Usage
from nsrun.model.status import PodStatus
from nsrun.model.totals import pod_limit
from nsrun.supervisor.measuring import Since
from nsrun.supervisor.rates import UsageRates, container_rates, network_flow, pod_rates, rates_of

__all__ = ["usage_document"]

Document = dict[str, object]


def usage_document(since: Since, pods: Sequence[PodSubject], *, cores: int) -> Document:
    """``cores``: of the machine. Amounts in bytes and, of the processor, billionths of a core; ``…PerSecond`` in bytes;
    null for what is not known. Metadata, spec and status of a pod are what pods are selected by."""
    machine = since.now.figures.machine
    rates = rates_of(since, lambda figures: figures.machine.usage)
    return {
        "time": machine.usage.time,
        "seconds": round(since.now.monotonic - since.before.monotonic, 3),
        "node": {"cores": cores, "memoryTotalBytes": machine.memory_total, **_used(machine.usage, rates)},
        "pods": [_pod(since, seen) for seen in pods],
    }


def _pod(since: Since, seen: PodSubject) -> Document:
    metadata = seen.pod.metadata
    limits = {name: pod_limit(seen.pod, name) for name in ("cpu", "memory")}
    flow = network_flow(since, metadata.uid)
    network: Mapping[str, object] = {
        "receivedBytes": flow.received if flow is not None else None,
        "sentBytes": flow.sent if flow is not None else None,
        "receivedPerSecond": _whole(flow.received_rate) if flow is not None else None,
        "sentPerSecond": _whole(flow.sent_rate) if flow is not None else None,
    }
    return {
        "metadata": {
            "name": metadata.name,
            "namespace": metadata.namespace,
            "uid": metadata.uid,
            "labels": dict(metadata.labels),
        },
        "spec": {
            "nodeName": seen.pod.spec.node_name,
            "restartPolicy": seen.pod.spec.restart_policy,
            "serviceAccountName": seen.pod.spec.service_account_name,
        },
        "status": {"phase": seen.status.phase, "podIP": seen.status.pod_ip},
        "restarts": _restarts(seen.status),
        **_limits(limits["cpu"], limits["memory"]),
        **_used(seen.figures.usage, pod_rates(since, metadata.uid)),
        **network,
        "containers": [
            {
                "name": spec.name,
                "id": figures.hash,
                "startedAt": figures.started_at,
                "restarts": figures.id.attempt,
                **_limits(*(_milli(spec, name) for name in ("cpu", "memory"))),
                **_used(figures.usage, container_rates(since, metadata.uid, spec.name)),
            }
            for spec, figures in seen.containers()
        ],
    }


def _used(usage: Usage, rates: UsageRates) -> Document:
    return {
        "cpuNanoCores": _whole(rates.cpu),
        "cpuNanoSeconds": usage.cpu.usage if usage.cpu is not None else None,
        "memoryBytes": usage.memory.working_set if usage.memory is not None else None,
        "readBytes": sum(device.read_bytes for device in usage.devices) if usage.devices else None,
        "writtenBytes": sum(device.written_bytes for device in usage.devices) if usage.devices else None,
        "readPerSecond": _whole(rates.read),
        "writtenPerSecond": _whole(rates.written),
        "threads": usage.threads,
    }


def _limits(cpu: int | None, memory: int | None) -> Document:
    """Given in thousandths; null for no limit."""
    return {
        "cpuLimitNanoCores": cpu * 1_000_000 if cpu else None,
        "memoryLimitBytes": memory // 1000 if memory else None,
    }


def _milli(spec: Container, resource: str) -> int | None:
    limit = spec.resources.limits.get(resource)
    return limit.milli if limit is not None else None


def _restarts(status: PodStatus) -> int:
    statuses = (*status.init_container_statuses, *status.container_statuses)
    return sum(container.restart_count for container in statuses)


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
