"""What is used, as numbers: by a container, a pod, the machine, a network interface, a file system.

Counters count since their subject was made; whoever wants a rate takes two of them (``rate``). None: nothing here
counts it. Bytes, nanoseconds of processor time, and seconds since the epoch unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nsrun.model.running import ContainerId

__all__ = [
    "ContainerDisk",
    "ContainerFigures",
    "CpuFigures",
    "DeviceUse",
    "DiskUse",
    "Figures",
    "Filesystem",
    "InterfaceFigures",
    "MachineFigures",
    "MemoryFigures",
    "NetworkFigures",
    "PodFigures",
    "Pressure",
    "Usage",
    "Waiting",
    "rate",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuFigures:
    """Nanoseconds of one core. ``periods``: of the quota, in which the tasks wanted to run; ``throttled_periods``: in
    which they used it up, and then waited for ``throttled`` ns; the same of bursts over the quota."""

    usage: int
    user: int = 0
    system: int = 0
    periods: int = 0
    throttled_periods: int = 0
    throttled: int = 0
    burst_periods: int = 0
    burst: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryFigures:
    """``usage``: all that is charged, the page cache too. ``highest``: the most that ``usage`` has been. ``rss``:
    anonymous memory. ``kernel``: what the kernel keeps for the tasks, slabs and stacks. ``kills``: how many processes
    the kernel killed for want of memory. The other fields as memory.stat has them; page faults are counted. Where no
    cgroup counts, what only one knows is None."""

    usage: int
    rss: int = 0
    cache: int | None = 0
    mapped_file: int = 0
    active_file: int | None = 0
    inactive_file: int | None = 0
    page_faults: int = 0
    major_page_faults: int = 0
    kernel: int | None = None
    highest: int | None = None
    swap: int | None = None
    kills: int | None = 0

    @property
    def working_set(self) -> int:
        """What could not be given back at once: without the page cache that was not used for long, as cAdvisor has
        it."""
        return max(self.usage - (self.inactive_file or 0), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceUse:
    """Of one block device, ``major:minor``: bytes, and requests of the device's queue."""

    device: str
    read_bytes: int = 0
    written_bytes: int = 0
    reads: int = 0
    writes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The share of time, in percent, over the last 10, 60 and 300 s; ``total``: µs since the cgroup was made."""

    avg10: float
    avg60: float
    avg300: float
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressure:
    """``some``: at least one task waited; ``full``: all of them did, None where the kernel does not tell."""

    some: Waiting
    full: Waiting | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a control group, or the whole machine, uses. ``time``: when it was read, by the clock on the wall;
    ``monotonic``: by one that never jumps. ``devices``: empty also where nothing counts them. ``threads``: how many
    tasks there are, ``threads_limit`` how many there may be, None for any number; ``processes``: of them, processes.
    The pressures are cgroup v2's: None without it, and where the kernel was started with ``psi=0``."""

    time: float
    monotonic: float = 0.0
    cpu: CpuFigures | None = None
    memory: MemoryFigures | None = None
    devices: tuple[DeviceUse, ...] = ()
    processes: int | None = None
    threads: int | None = None
    threads_limit: int | None = None
    cpu_pressure: Pressure | None = None
    memory_pressure: Pressure | None = None
    io_pressure: Pressure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerFigures:
    """A run that is under way."""

    id: ContainerId
    hash: str
    started_at: float
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFigures:
    """A pod whose sandbox runs. ``usage``: of all in it, the sandbox and what commands in containers use too;
    ``path``: of its cgroup, below the hierarchy's root. ``containers`` by name."""

    usage: Usage
    path: str
    started_at: float
    containers: Mapping[str, ContainerFigures] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFigures:
    """The machine as a whole. ``memory_total`` and ``swap_total`` are what it has; ``processes_limit``: the highest
    process number, so how many there can be; ``boot``: when it was started."""

    usage: Usage
    memory_total: int
    swap_total: int
    processes: int
    processes_limit: int
    boot: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One look at all that runs. ``pods`` by UID; ``all_pods``: the cgroup that holds them; ``own``: nsrun's own
    process."""

    machine: MachineFigures
    own: Usage
    all_pods: Usage
    pods: Mapping[str, PodFigures] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceFigures:
    """A network interface, as whoever has it sees it: a pod's ``eth0`` received what the host sent there."""

    name: str
    received_bytes: int = 0
    received_packets: int = 0
    received_errors: int = 0
    received_dropped: int = 0
    sent_bytes: int = 0
    sent_packets: int = 0
    sent_errors: int = 0
    sent_dropped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFigures:
    """``host``: the machine's own interfaces, neither its loopback nor what belongs to pods. ``pods`` by UID; those in
    the host's network have none. The times say when."""

    time: float
    monotonic: float = 0.0
    host: tuple[InterfaceFigures, ...] = ()
    pods: Mapping[str, tuple[InterfaceFigures, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskUse:
    """What a tree takes: bytes on its disk, and inodes."""

    bytes: int = 0
    inodes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerDisk:
    """``root``: what was written over the image; ``logs``: what was said."""

    root: DiskUse = DiskUse()
    logs: DiskUse = DiskUse()


@dataclass(frozen=True, slots=True, kw_only=True)
class Filesystem:
    """A file system; ``available`` to whoever is not root. ``used`` and ``inodes_used``: by everybody, or by what one
    asks about."""

    capacity: int
    available: int
    used: int
    inodes: int
    inodes_free: int
    inodes_used: int


def rate(before: int | None, after: int | None, seconds: float) -> float | None:
    """How much a counter grew in each of ``seconds``; None when it is not known, or began anew meanwhile."""
    if before is None or after is None or after < before or seconds <= 0:
        return None
    return (after - before) / seconds
