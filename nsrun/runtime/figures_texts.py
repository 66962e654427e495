"""What the kernel writes about a cgroup's use, read: texts in, figures out (Documentation/admin-guide/cgroup-v2.rst,
cgroup-v1/, accounting/psi.rst). Pure.

Every hierarchy tells its part: a ``Reading``. The parts together are a ``Usage``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from nsrun.model.figures import CpuFigures, DeviceUse, MemoryFigures, Pressure, Usage, Waiting

__all__ = ["Reading", "parse_blkio", "parse_io_stat", "parse_pressure", "read_v1", "read_v2", "together"]

Files = Callable[[str], str]
"""The content of one of a cgroup's files; empty when it is not there."""

_US, _TICK = 1000, 10_000_000  # nanoseconds; USER_HZ is 100 wherever Linux runs

# Figure → key of memory.stat.
_V2_MEMORY = {
    "rss": "anon",
    "cache": "file",
    "mapped_file": "file_mapped",
    "active_file": "active_file",
    "inactive_file": "inactive_file",
    "page_faults": "pgfault",
    "major_page_faults": "pgmajfault",
    "kernel": "kernel",
}
_V1_MEMORY = {
    "rss": "total_rss",
    "cache": "total_cache",
    "mapped_file": "total_mapped_file",
    "active_file": "total_active_file",
    "inactive_file": "total_inactive_file",
    "page_faults": "total_pgfault",
    "major_page_faults": "total_pgmajfault",
    "swap": "total_swap",
}
# Figure → key of cpu.stat and how many nanoseconds one of it is, 1 for what is no time.
_V2_CPU = {
    "usage": ("usage_usec", _US),
    "user": ("user_usec", _US),
    "system": ("system_usec", _US),
    "periods": ("nr_periods", 1),
    "throttled_periods": ("nr_throttled", 1),
    "throttled": ("throttled_usec", _US),
    "burst_periods": ("nr_bursts", 1),
    "burst": ("burst_usec", _US),
}
_V1_CPU = {
    "periods": ("nr_periods", 1),
    "throttled_periods": ("nr_throttled", 1),
    "throttled": ("throttled_time", 1),
    "burst_periods": ("nr_bursts", 1),
    "burst": ("burst_time", 1),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one hierarchy knows of a cgroup: the fields of the figures, as far as it counts them."""

    cpu: Mapping[str, int] = field(default_factory=dict)
    memory: Mapping[str, int] = field(default_factory=dict)
    threads: int | None = None
    threads_limit: int | None = None
    devices: tuple[DeviceUse, ...] = ()
    cpu_pressure: Pressure | None = None
    memory_pressure: Pressure | None = None
    io_pressure: Pressure | None = None


def read_v2(files: Files, controllers: frozenset[str], *, brief: bool = False) -> Reading:
    """cgroup v2's tree. Processor time and pressure are told without any controller, on a hybrid machine too.
    ``brief``: processor time and memory, and nothing that takes another file."""
    stat = _flat(files("cpu.stat"))
    cpu = {name: stat[key] * unit for name, (key, unit) in _V2_CPU.items() if key in stat}
    memory = _memory_v2(files, brief=brief) if "memory" in controllers else {}
    if brief:
        return Reading(cpu=cpu, memory=memory)
    return Reading(
        cpu=cpu,
        memory=memory,
        threads=_number(files("pids.current")) if "pids" in controllers else None,
        threads_limit=_number(files("pids.max")) if "pids" in controllers else None,
        devices=parse_io_stat(files("io.stat")) if "io" in controllers else (),
        cpu_pressure=parse_pressure(files("cpu.pressure")),
        memory_pressure=parse_pressure(files("memory.pressure")),
        io_pressure=parse_pressure(files("io.pressure")),
    )


def _memory_v2(files: Files, *, brief: bool) -> dict[str, int]:
    stat = _flat(files("memory.stat"))
    found = {name: stat[key] for name, key in _V2_MEMORY.items() if key in stat}
    numbers = {"usage": "memory.current", "swap": "memory.swap.current"}
    if not brief:
        found["kills"] = _flat(files("memory.events")).get("oom_kill", 0)
        numbers["highest"] = "memory.peak"
    for name, file in numbers.items():
        if (value := _number(files(file))) is not None:
            found[name] = value
    return found


def read_v1(files: Files, controllers: frozenset[str], *, brief: bool = False) -> Reading:
    """One of cgroup v1's hierarchies, with its controllers. From Linux 6.10 on, devices are counted only where they
    have a limit. ``brief`` as for ``read_v2``."""
    cpu = _cpu_v1(files, controllers, brief=brief)
    memory = _memory_v1(files, brief=brief) if "memory" in controllers else {}
    if brief:
        return Reading(cpu=cpu, memory=memory)
    devices: tuple[DeviceUse, ...] = ()
    if "blkio" in controllers:
        devices = parse_blkio(
            files("blkio.throttle.io_service_bytes_recursive"), files("blkio.throttle.io_serviced_recursive")
        )
    return Reading(
        cpu=cpu,
        memory=memory,
        threads=_number(files("pids.current")) if "pids" in controllers else None,
        threads_limit=_number(files("pids.max")) if "pids" in controllers else None,
        devices=devices,
    )


def _cpu_v1(files: Files, controllers: frozenset[str], *, brief: bool) -> dict[str, int]:
    found: dict[str, int] = {}
    if "cpu" in controllers and not brief:
        stat = _flat(files("cpu.stat"))
        found = {name: stat[key] * unit for name, (key, unit) in _V1_CPU.items() if key in stat}
    if "cpuacct" in controllers:
        times = {} if brief else _flat(files("cpuacct.stat"))
        found |= {name: times[name] * _TICK for name in ("user", "system") if name in times}
        if (usage := _number(files("cpuacct.usage"))) is not None:
            found["usage"] = usage
    return found


def _memory_v1(files: Files, *, brief: bool) -> dict[str, int]:
    stat = _flat(files("memory.stat"))
    found = {name: stat[key] for name, key in _V1_MEMORY.items() if key in stat}
    numbers = {"usage": "usage"}
    if not brief:
        found["kills"] = _flat(files("memory.oom_control")).get("oom_kill", 0)
        numbers |= {"highest": "max_usage", "kernel": "kmem.usage"}
    for name, file in numbers.items():
        if (value := _number(files(f"memory.{file}_in_bytes"))) is not None:
            found[name] = value
    return found


def together(parts: Iterable[Reading], *, time: float, monotonic: float, processes: int | None = None) -> Usage:
    """What the hierarchies tell, as one. Where two know the same the later one is believed: v2 comes first, and on a
    hybrid machine it is v1 that has the controllers."""
    cpu: dict[str, int] = {}
    memory: dict[str, int] = {}
    whole = Reading()
    for part in parts:
        cpu |= part.cpu
        memory |= part.memory
        whole = _overlaid(whole, part)
    return Usage(
        time=time,
        monotonic=monotonic,
        cpu=CpuFigures(**cpu) if "usage" in cpu else None,
        memory=MemoryFigures(**memory) if "usage" in memory else None,
        devices=whole.devices,
        processes=processes,
        threads=whole.threads,
        threads_limit=whole.threads_limit,
        cpu_pressure=whole.cpu_pressure,
        memory_pressure=whole.memory_pressure,
        io_pressure=whole.io_pressure,
    )


def _overlaid(whole: Reading, part: Reading) -> Reading:
    return Reading(
        threads=whole.threads if part.threads is None else part.threads,
        threads_limit=whole.threads_limit if part.threads_limit is None else part.threads_limit,
        devices=part.devices or whole.devices,
        cpu_pressure=part.cpu_pressure or whole.cpu_pressure,
        memory_pressure=part.memory_pressure or whole.memory_pressure,
        io_pressure=part.io_pressure or whole.io_pressure,
    )


def _flat(text: str) -> dict[str, int]:
    """A flat keyed file; lines that are none are left out."""
    words = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in words if len(pair) == 2 and pair[1].isdecimal()}


def _number(text: str) -> int | None:
    """A file with one number; None for ``max``, and for a file that is not there."""
    text = text.strip()
    return int(text) if text.isdecimal() else None


# Kernels before 5.15 print devices without any use in front of the next one, on the same line.
_IO_STAT = re.compile(r"([0-9]+:[0-9]+)((?: [a-z_.]+=[0-9]+)+)")
_BLKIO = re.compile(r"^([0-9]+:[0-9]+) (Read|Write) ([0-9]+)$", re.MULTILINE)
_PRESSURE = re.compile(r"^(some|full) avg10=([0-9.]+) avg60=([0-9.]+) avg300=([0-9.]+) total=([0-9]+)$", re.MULTILINE)


def parse_io_stat(text: str) -> tuple[DeviceUse, ...]:
    """cgroup v2's ``io.stat``. What it says of costs, discards and latencies is left out."""
    return tuple(_of_pairs(match[1], match[2].split()) for match in _IO_STAT.finditer(text))


def _of_pairs(device: str, pairs: Iterable[str]) -> DeviceUse:
    values = {key: int(value) for key, _, value in (pair.partition("=") for pair in pairs)}
    return DeviceUse(
        device=device,
        read_bytes=values.get("rbytes", 0),
        written_bytes=values.get("wbytes", 0),
        reads=values.get("rios", 0),
        writes=values.get("wios", 0),
    )


def parse_blkio(service_bytes: str, serviced: str) -> tuple[DeviceUse, ...]:
    """cgroup v1's ``blkio.throttle.io_service_bytes`` and ``blkio.throttle.io_serviced``, or their ``_recursive``."""
    moved = {(match[1], match[2]): int(match[3]) for match in _BLKIO.finditer(service_bytes)}
    asked = {(match[1], match[2]): int(match[3]) for match in _BLKIO.finditer(serviced)}
    return tuple(
        DeviceUse(
            device=device,
            read_bytes=moved.get((device, "Read"), 0),
            written_bytes=moved.get((device, "Write"), 0),
            reads=asked.get((device, "Read"), 0),
            writes=asked.get((device, "Write"), 0),
        )
        for device in dict.fromkeys(device for device, _ in (*moved, *asked))
    )


def parse_pressure(text: str) -> Pressure | None:
    """``cpu.pressure``, ``memory.pressure``, ``io.pressure``; None when the text tells of none."""
    found = {
        match[1]: Waiting(avg10=float(match[2]), avg60=float(match[3]), avg300=float(match[4]), total=int(match[5]))
        for match in _PRESSURE.finditer(text)
    }
    return Pressure(some=found["some"], full=found.get("full")) if "some" in found else None
