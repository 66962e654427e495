"""What a cgroup moved to and from block devices, and how long it waited for want of a resource: readers of the kernel's
texts (Documentation/admin-guide/cgroup-v2.rst, accounting/psi.rst, cgroup-v1/blkio-controller.rst). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["DeviceUse", "Pressure", "Strain", "Waiting", "parse_blkio", "parse_io_stat", "parse_pressure"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceUse:
    """Since the cgroup was made. ``device``: ``major:minor``; then bytes, and requests of the device's queue."""

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
class Strain:
    """``devices``: empty also where nothing counts them. Pressures are cgroup v2's: None without it, and where the
    kernel was started with ``psi=0``."""

    devices: tuple[DeviceUse, ...] = ()
    cpu: Pressure | None = None
    memory: Pressure | None = None
    io: Pressure | None = None


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
