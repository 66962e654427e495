"""/stats/summary: what node, pods and containers use, as one document (k8s.io/kubelet/pkg/apis/stats/v1alpha1). Pure.

What is not known is left out, as the kubelet does; a 0 is a 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from nsrun.api.figures.subjects import PodSubject
from nsrun.model.figures import DiskUse, Figures, Filesystem, InterfaceFigures, Pressure, Usage
from nsrun.model.resources import Quantity
from nsrun.model.totals import pod_limit
from nsrun.supervisor.measuring import DiskFigures, Since
from nsrun.supervisor.rates import container_rates, pod_rates, rates_of
from nsrun.support.clock import rfc3339

__all__ = ["summary"]

Document = dict[str, object]
_DEFAULT_INTERFACE = "eth0"


def summary(
    since: Since, pods: Sequence[PodSubject], disk: DiskFigures, *, node_name: str, started: float, brief: bool
) -> Document:
    """``started``: nsrun, in seconds since the epoch. ``brief``: ``only_cpu_and_memory``."""
    return {
        "node": _node(since, disk, node_name=node_name, started=started, brief=brief),
        "pods": [_pod(since, seen, disk, brief=brief) for seen in pods],
    }


def _node(since: Since, disk: DiskFigures, *, node_name: str, started: float, brief: bool) -> Document:
    machine, network = since.now.figures.machine, since.now.network
    usage = machine.usage
    rate = rates_of(since, lambda figures: figures.machine.usage).cpu
    parts: tuple[tuple[str, Callable[[Figures], Usage], float], ...] = (
        ("kubelet", lambda figures: figures.own, started),
        ("pods", lambda figures: figures.all_pods, machine.boot),
    )
    document: Document = {
        "nodeName": node_name,
        "systemContainers": [_system(since, *part) for part in parts],
        "startTime": rfc3339(machine.boot),
        **_used(usage, rate, limit=machine.memory_total, brief=brief),
    }
    if usage.memory is not None and usage.memory.swap is not None:
        free = max(machine.swap_total - usage.memory.swap, 0)
        document["swap"] = _swap(usage, usage.memory.swap, available=free)
    if brief:
        return document
    document["network"] = _network(network.time, network.host)
    if disk.root is not None:
        document["fs"] = _filesystem(disk.root, since.now.network.time)
        images = {"imageFs": _filesystem(disk.images, disk.time)} if disk.images is not None else {}
        document["runtime"] = {**images, "containerFs": _filesystem(disk.root, network.time)}
    document["rlimit"] = {
        "time": rfc3339(usage.time),
        "maxpid": machine.processes_limit,
        "curproc": machine.processes,
    }
    return document


def _system(since: Since, name: str, part: Callable[[Figures], Usage], started: float) -> Document:
    usage = part(since.now.figures)
    return {"name": name, "startTime": rfc3339(started), **_used(usage, rates_of(since, part).cpu, brief=True)}


def _pod(since: Since, seen: PodSubject, disk: DiskFigures, *, brief: bool) -> Document:
    metadata, uid, usage = seen.pod.metadata, seen.pod.uid, seen.figures.usage
    limit = pod_limit(seen.pod, "memory")
    document: Document = {
        "podRef": {"name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid},
        "startTime": rfc3339(seen.figures.started_at),
        "containers": [
            {
                "name": spec.name,
                "startTime": rfc3339(figures.started_at),
                **_used(
                    figures.usage,
                    container_rates(since, uid, spec.name).cpu,
                    limit=_limit(spec.resources.limits.get("memory")),
                    brief=brief,
                ),
                **_swap_of(figures.usage),
                **({} if brief else _container_disk(disk, uid, spec.name)),
            }
            for spec, figures in seen.containers()
        ],
        **_used(usage, pod_rates(since, uid).cpu, limit=limit // 1000 if limit else None, brief=brief),
        **_swap_of(usage),
    }
    return document if brief else {**document, **_pod_rest(since, seen, disk)}


def _limit(quantity: Quantity | None) -> int | None:
    return quantity.value or None if quantity is not None else None


def _pod_rest(since: Since, seen: PodSubject, disk: DiskFigures) -> Document:
    uid, document = seen.pod.uid, Document()
    links = since.now.network.pods.get(uid)
    if links:
        document["network"] = _network(since.now.network.time, links)
    volumes, containers = disk.volumes.get(uid, {}), disk.containers.get(uid, {})
    if disk.root is not None and disk.time:
        if volumes:
            document["volume"] = [
                {**_use(DiskUse(bytes=used), disk.root, disk.time, inodes=False), "name": name}
                for name, used in sorted(volumes.items())
            ]
        uses = [use for container in containers.values() for use in (container.root, container.logs)]
        whole = DiskUse(
            bytes=sum(use.bytes for use in uses) + sum(volumes.values()), inodes=sum(use.inodes for use in uses)
        )
        document["ephemeral-storage"] = _use(whole, disk.root, disk.time)
    processes = [figures.usage.processes for _, figures in seen.containers()]
    # The sandbox's own process is one of the pod's.
    document["process_stats"] = {"process_count": 1 + sum(count for count in processes if count is not None)}
    return document


# --- parts


def _used(usage: Usage, rate: float | None, *, limit: int | None = None, brief: bool) -> Document:
    """``cpu``, ``memory`` and, unless brief, ``io``; each as far as it is known."""
    document: Document = {}
    time = rfc3339(usage.time)
    if usage.cpu is not None:
        cpu: Document = {"time": time, "usageCoreNanoSeconds": usage.cpu.usage}
        if rate is not None:
            cpu["usageNanoCores"] = round(rate)
        document["cpu"] = cpu | _psi(usage.cpu_pressure)
    if (used := usage.memory) is not None:
        memory: Document = {"time": time}
        if limit:
            memory["availableBytes"] = max(limit - used.working_set, 0)
        memory |= {
            "usageBytes": used.usage,
            "workingSetBytes": used.working_set,
            "rssBytes": used.rss,
            "pageFaults": used.page_faults,
            "majorPageFaults": used.major_page_faults,
        }
        document["memory"] = memory | _psi(usage.memory_pressure)
    if not brief and usage.io_pressure is not None:
        document["io"] = {"time": time, **_psi(usage.io_pressure)}
    return document


def _psi(pressure: Pressure | None) -> Document:
    if pressure is None:
        return {}
    shares = {"full": pressure.full, "some": pressure.some}
    return {
        "psi": {
            name: {"total": share.total, "avg10": share.avg10, "avg60": share.avg60, "avg300": share.avg300}
            for name, share in shares.items()
            if share is not None
        }
    }


def _swap_of(usage: Usage) -> Document:
    """Pods have no swap to go to."""
    if usage.memory is None or usage.memory.swap is None:
        return {}
    return {"swap": _swap(usage, usage.memory.swap)}


def _swap(usage: Usage, used: int, *, available: int | None = None) -> Document:
    left = {} if available is None else {"swapAvailableBytes": available}
    return {"time": rfc3339(usage.time), **left, "swapUsageBytes": used}


def _network(time: float, links: Sequence[InterfaceFigures]) -> Document:
    """The default interface is told twice: inline, and among the others."""
    default = next((link for link in links if link.name == _DEFAULT_INTERFACE), None)
    return {
        "time": rfc3339(time),
        **(_interface(default) if default is not None else {"name": ""}),
        "interfaces": [_interface(link) for link in links],
    }


def _interface(link: InterfaceFigures) -> Document:
    return {
        "name": link.name,
        "rxBytes": link.received_bytes,
        "rxErrors": link.received_errors,
        "txBytes": link.sent_bytes,
        "txErrors": link.sent_errors,
    }


def _filesystem(whole: Filesystem, time: float) -> Document:
    return _use(DiskUse(bytes=whole.used, inodes=whole.inodes_used), whole, time)


def _use(use: DiskUse, whole: Filesystem, time: float, *, inodes: bool = True) -> Document:
    document: Document = {
        "time": rfc3339(time),
        "availableBytes": whole.available,
        "capacityBytes": whole.capacity,
        "usedBytes": use.bytes,
        "inodesFree": whole.inodes_free,
        "inodes": whole.inodes,
    }
    return {**document, "inodesUsed": use.inodes} if inodes else document


def _container_disk(disk: DiskFigures, uid: str, name: str) -> Mapping[str, object]:
    found = disk.containers.get(uid, {}).get(name)
    if found is None or disk.root is None:
        return {}
    return {"rootfs": _use(found.root, disk.root, disk.time), "logs": _use(found.logs, disk.root, disk.time)}
