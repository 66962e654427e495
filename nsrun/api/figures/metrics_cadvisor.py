"""/metrics/cadvisor: everything that is known of containers, in cAdvisor's names (lib/metrics/prometheus.go). Pure.

One row for each container that runs, one for each pod as a whole (``container`` is empty), one for what the pod's
network did (``container="POD"``), one for the machine (``id="/"``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from nsrun.api.figures.exposition import Family, Sample, counter, gauge, labels
from nsrun.api.figures.subjects import PodSubject
from nsrun.model.container import Container
from nsrun.model.figures import ContainerDisk, CpuFigures, DeviceUse, InterfaceFigures, MemoryFigures, Pressure, Usage
from nsrun.supervisor.measuring import DiskFigures, Look

__all__ = ["cadvisor_metrics"]

_PERIOD = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One subject. ``started`` None: it never was (the machine). ``spec``: of a container."""

    labels: str
    usage: Usage
    started: float | None = None
    spec: Container | None = None
    disk: ContainerDisk | None = None


def cadvisor_metrics(
    look: Look, pods: Sequence[PodSubject], disk: DiskFigures, *, machine: Mapping[str, object]
) -> Iterator[Family]:
    """``machine``: cAdvisor's MachineInfo."""
    rows = tuple(_rows(look, pods, disk))
    yield from _of_machine(machine)
    yield from _of_cpu(rows)
    yield from _of_memory(rows)
    yield from _of_devices(rows, _disk_names(machine))
    yield from _of_disk(rows, disk)
    yield from _of_network(look, pods)
    yield from _of_processes(rows)
    yield from _of_pressure(rows)
    yield from _of_specs(rows)
    yield gauge("container_last_seen", "Last time a container was seen by the exporter", _seen(rows))
    yield gauge(
        "container_start_time_seconds",
        "Start time of the container since unix epoch in seconds.",
        (Sample(row.started, row.labels, row.usage.time) for row in rows if row.started is not None),
    )
    yield gauge(
        "container_scrape_error",
        "1 if there was an error while getting container metrics, 0 otherwise",
        [Sample(min(look.errors, 1))],
    )


def _rows(look: Look, pods: Sequence[PodSubject], disk: DiskFigures) -> Iterator[_Row]:
    machine = look.figures.machine
    yield _Row(labels=labels(id="/"), usage=machine.usage, started=machine.boot)
    for seen in pods:
        path, uid = f"/{seen.figures.path}", seen.pod.uid
        pod = labels(pod=seen.pod.metadata.name, namespace=seen.pod.metadata.namespace)
        yield _Row(labels=f"{labels(id=path)},{pod}", usage=seen.figures.usage, started=seen.figures.started_at)
        disks = disk.containers.get(uid, {})
        for spec, figures in seen.containers():
            own = labels(
                container=spec.name,
                id=f"{path}/{spec.name}-{figures.id.attempt}",
                image=_image(seen, spec),
                name=figures.hash,
            )
            yield _Row(
                labels=f"{own},{pod}",
                usage=figures.usage,
                started=figures.started_at,
                spec=spec,
                disk=disks.get(spec.name),
            )


def _image(seen: PodSubject, spec: Container) -> str:
    status = seen.container_status(spec.name)
    return status.image if status is not None and status.image else spec.image


def _seen(rows: Sequence[_Row]) -> Iterator[Sample]:
    return (Sample(int(row.usage.time), row.labels, row.usage.time) for row in rows)


# --- processor


def _of_cpu(rows: Sequence[_Row]) -> Iterator[Family]:
    def cpu(name: str, help: str, value: Callable[[CpuFigures], float], *more: str) -> Family:
        known = ((row, row.usage.cpu) for row in rows)
        return counter(
            f"container_cpu_{name}",
            help,
            (
                Sample(value(used), ",".join((row.labels, *more)), row.usage.time)
                for row, used in known
                if used is not None
            ),
        )

    yield cpu("usage_seconds_total", "Cumulative cpu time consumed in seconds.", lambda c: c.usage / 1e9, 'cpu="total"')
    yield cpu("user_seconds_total", "Cumulative user cpu time consumed in seconds.", lambda c: c.user / 1e9)
    yield cpu("system_seconds_total", "Cumulative system cpu time consumed in seconds.", lambda c: c.system / 1e9)
    limited = [row for row in rows if row.usage.cpu is not None and row.usage.cpu.periods]
    for name, help, value in _CFS:
        yield counter(
            f"container_cpu_cfs_{name}",
            help,
            (Sample(value(row.usage.cpu), row.labels, row.usage.time) for row in limited if row.usage.cpu is not None),
        )


_CFS: tuple[tuple[str, str, Callable[[CpuFigures], float]], ...] = (
    ("periods_total", "Number of elapsed enforcement period intervals.", lambda c: c.periods),
    ("throttled_periods_total", "Number of throttled period intervals.", lambda c: c.throttled_periods),
    (
        "throttled_seconds_total",
        "Total time duration the container has been throttled.",
        lambda c: c.throttled / 1e9,
    ),
    ("burst_periods_total", "Number of periods when burst occurs.", lambda c: c.burst_periods),
    ("burst_seconds_total", "Total time duration the container has been bursted.", lambda c: c.burst / 1e9),
)


# --- memory

_MEMORY: tuple[tuple[str, str, Callable[[MemoryFigures], float | None]], ...] = (
    ("cache", "Number of bytes of page cache memory.", lambda m: m.cache),
    ("rss", "Size of RSS in bytes.", lambda m: m.rss),
    ("kernel_usage", "Size of kernel memory allocated in bytes.", lambda m: m.kernel),
    ("mapped_file", "Size of memory mapped files in bytes.", lambda m: m.mapped_file),
    ("swap", "Container swap usage in bytes.", lambda m: m.swap),
    (
        "usage_bytes",
        "Current memory usage in bytes, including all memory regardless of when it was accessed",
        lambda m: m.usage,
    ),
    ("max_usage_bytes", "Maximum memory usage recorded in bytes", lambda m: m.highest),
    ("working_set_bytes", "Current working set in bytes.", lambda m: m.working_set),
    ("total_active_file_bytes", "Current total active file in bytes.", lambda m: m.active_file),
    ("total_inactive_file_bytes", "Current total inactive file in bytes.", lambda m: m.inactive_file),
)


def _of_memory(rows: Sequence[_Row]) -> Iterator[Family]:
    known = [(row, row.usage.memory) for row in rows if row.usage.memory is not None]
    for name, help, value in _MEMORY:
        yield gauge(
            f"container_memory_{name}",
            help,
            (Sample(found, row.labels, row.usage.time) for row, used in known if (found := value(used)) is not None),
        )
    yield counter(
        "container_memory_failures_total",
        "Cumulative count of memory allocation failures.",
        (sample for row, used in known for sample in _failures(row, used)),
    )
    yield counter(
        "container_oom_events_total",
        "Count of out of memory events observed for the container",
        (Sample(used.kills, row.labels, row.usage.time) for row, used in known if used.kills is not None),
    )


def _failures(row: _Row, used: MemoryFigures) -> Iterator[Sample]:
    """Of the cgroup with all below it; a container has nothing below it but what was run in it."""
    counts = (("pgfault", used.page_faults), ("pgmajfault", used.major_page_faults))
    for kind, count in counts:
        for scope in ("container", "hierarchy"):
            yield Sample(count, f'{row.labels},failure_type="{kind}",scope="{scope}"', row.usage.time)


# --- devices and disk

_DEVICES: tuple[tuple[str, str, Callable[[DeviceUse], int]], ...] = (
    ("reads_bytes_total", "Cumulative count of bytes read", lambda d: d.read_bytes),
    ("writes_bytes_total", "Cumulative count of bytes written", lambda d: d.written_bytes),
    ("reads_total", "Cumulative count of reads completed", lambda d: d.reads),
    ("writes_total", "Cumulative count of writes completed", lambda d: d.writes),
)


def _of_devices(rows: Sequence[_Row], devices: Mapping[str, str]) -> Iterator[Family]:
    used = [(row, use, labels(device=_device(use, devices))) for row in rows for use in row.usage.devices]
    for name, help, value in _DEVICES:
        yield counter(
            f"container_fs_{name}",
            help,
            (Sample(value(use), _joined(row.labels, device), row.usage.time) for row, use, device in used),
        )
    yield counter(
        "container_blkio_device_usage_total",
        "Blkio Device bytes usage",
        (
            Sample(amount, _joined(row.labels, device, _numbers(use), f'operation="{operation}"'), row.usage.time)
            for row, use, device in used
            for operation, amount in (("Read", use.read_bytes), ("Write", use.written_bytes))
        ),
    )


def _disk_names(machine: Mapping[str, object]) -> dict[str, str]:
    """By ``major:minor``."""
    disks = machine.get("disk_map")
    if not isinstance(disks, Mapping):
        return {}
    return {device: str(disk["name"]) for device, disk in disks.items()}


def _device(use: DeviceUse, devices: Mapping[str, str]) -> str:
    return f"/dev/{devices[use.device]}" if use.device in devices else ""


def _numbers(use: DeviceUse) -> str:
    major, _, minor = use.device.partition(":")
    return labels(major=major, minor=minor)


def _joined(*parts: str) -> str:
    return ",".join(part for part in parts if part)


def _of_disk(rows: Sequence[_Row], disk: DiskFigures) -> Iterator[Family]:
    """What a container wrote over its image, as it was found last."""
    known = [(row, row.disk) for row in rows if row.disk is not None]
    yield gauge(
        "container_fs_usage_bytes",
        "Number of bytes that are consumed by the container on this filesystem.",
        (Sample(use.root.bytes, row.labels, disk.time) for row, use in known),
    )
    if disk.root is not None:
        yield gauge(
            "container_fs_limit_bytes",
            "Number of bytes that can be consumed by the container on this filesystem.",
            [Sample(disk.root.capacity, row.labels, disk.time) for row, _ in known],
        )


# --- network

_NETWORK: tuple[tuple[str, str, Callable[[InterfaceFigures], int]], ...] = (
    ("receive_bytes_total", "Cumulative count of bytes received", lambda i: i.received_bytes),
    ("receive_packets_total", "Cumulative count of packets received", lambda i: i.received_packets),
    (
        "receive_packets_dropped_total",
        "Cumulative count of packets dropped while receiving",
        lambda i: i.received_dropped,
    ),
    ("receive_errors_total", "Cumulative count of errors encountered while receiving", lambda i: i.received_errors),
    ("transmit_bytes_total", "Cumulative count of bytes transmitted", lambda i: i.sent_bytes),
    ("transmit_packets_total", "Cumulative count of packets transmitted", lambda i: i.sent_packets),
    (
        "transmit_packets_dropped_total",
        "Cumulative count of packets dropped while transmitting",
        lambda i: i.sent_dropped,
    ),
    ("transmit_errors_total", "Cumulative count of errors encountered while transmitting", lambda i: i.sent_errors),
)


def _of_network(look: Look, pods: Sequence[PodSubject]) -> Iterator[Family]:
    links = [(labels(id="/"), link) for link in look.network.host]
    for seen in pods:
        own = labels(
            container="POD",
            id=f"/{seen.figures.path}/sandbox",
            pod=seen.pod.metadata.name,
            namespace=seen.pod.metadata.namespace,
        )
        links += [(own, link) for link in look.network.pods.get(seen.pod.uid, ())]
    for name, help, value in _NETWORK:
        yield counter(
            f"container_network_{name}",
            help,
            (Sample(value(link), f"{own},{labels(interface=link.name)}", look.network.time) for own, link in links),
        )


# --- processes and pressure

_PROCESSES: tuple[tuple[str, str, Callable[[Usage], int | None]], ...] = (
    ("processes", "Number of processes running inside the container.", lambda u: u.processes),
    ("threads", "Number of threads running inside the container", lambda u: u.threads),
    (
        "threads_max",
        "Maximum number of threads allowed inside the container, infinity if value is zero",
        lambda u: (u.threads_limit or 0) if u.threads is not None else None,
    ),
)


def _of_processes(rows: Sequence[_Row]) -> Iterator[Family]:
    for name, help, value in _PROCESSES:
        found = ((row, value(row.usage)) for row in rows)
        yield gauge(
            f"container_{name}",
            help,
            (Sample(count, row.labels, row.usage.time) for row, count in found if count is not None),
        )


_PRESSURE: tuple[tuple[str, str, Callable[[Usage], Pressure | None]], ...] = (
    ("cpu", "CPU", lambda u: u.cpu_pressure),
    ("memory", "memory", lambda u: u.memory_pressure),
    ("io", "IO", lambda u: u.io_pressure),
)


def _of_pressure(rows: Sequence[_Row]) -> Iterator[Family]:
    for name, word, value in _PRESSURE:
        known = [(row, told) for row in rows if (told := value(row.usage)) is not None]
        yield counter(
            f"container_pressure_{name}_waiting_seconds_total",
            f"Total time duration tasks in the container have waited due to {word} congestion.",
            (Sample(told.some.total / 1e6, row.labels, row.usage.time) for row, told in known),
        )
        yield counter(
            f"container_pressure_{name}_stalled_seconds_total",
            f"Total time duration no tasks in the container could make progress due to {word} congestion.",
            (Sample(told.full.total / 1e6, row.labels, row.usage.time) for row, told in known if told.full is not None),
        )


# --- the machine

_MACHINE = (
    ("cpu_physical_cores", "Number of physical CPU cores.", "num_physical_cores"),
    ("cpu_cores", "Number of logical CPU cores.", "num_cores"),
    ("cpu_sockets", "Number of CPU sockets.", "num_sockets"),
    ("memory_bytes", "Amount of memory installed on the machine.", "memory_capacity"),
    ("swap_bytes", "Amount of swap memory available on the machine.", "swap_capacity"),
)


def _of_machine(machine: Mapping[str, object]) -> Iterator[Family]:
    own = labels(**{name: str(machine.get(name, "")) for name in ("machine_id", "system_uuid", "boot_id")})
    for name, help, key in _MACHINE:
        value = machine.get(key)
        if isinstance(value, int):
            yield gauge(f"machine_{name}", help, [Sample(value, own)])


# --- what was asked for

_SPECS: tuple[tuple[str, str, Callable[[Container], float | None]], ...] = (
    ("cpu_period", "CPU period of the container.", lambda c: _PERIOD),
    ("cpu_shares", "CPU share of the container.", lambda c: _shares(c)),
    ("cpu_quota", "CPU quota of the container.", lambda c: _quota(c)),
    ("memory_limit_bytes", "Memory limit for the container.", lambda c: _amount(c, "memory")),
    ("memory_swap_limit_bytes", "Memory swap limit for the container.", lambda c: 0),
    ("memory_reservation_limit_bytes", "Memory reservation limit for the container.", lambda c: 0),
)


def _of_specs(rows: Iterable[_Row]) -> Iterator[Family]:
    known = [(row, row.spec) for row in rows if row.spec is not None]
    for name, help, value in _SPECS:
        yield gauge(
            f"container_spec_{name}",
            help,
            (Sample(found, row.labels, row.usage.time) for row, spec in known if (found := value(spec)) is not None),
        )


def _shares(container: Container) -> int:
    resources = container.resources
    asked = resources.requests.get("cpu") or resources.limits.get("cpu")
    return max((asked.milli if asked is not None else 0) * 1024 // 1000, 2)


def _quota(container: Container) -> int | None:
    """Microseconds in each period; no sample without a limit."""
    limit = container.resources.limits.get("cpu")
    return max(limit.milli * _PERIOD // 1000, 1000) if limit is not None and limit.milli else None


def _amount(container: Container, resource: str) -> int:
    """0 without a limit, as cAdvisor has it."""
    limit = container.resources.limits.get(resource)
    return limit.value if limit is not None else 0
