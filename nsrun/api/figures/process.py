"""nsrun's own process, as every Prometheus client tells of its own (process_*). Reading procfs blocks for a moment."""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nsrun.api.figures.exposition import Family, Sample, counter, gauge

__all__ = ["OwnProcess", "process_metrics", "read_process"]

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnProcess:
    """Seconds of processor time, bytes of memory, descriptors. ``started``: seconds since the epoch."""

    cpu: float
    resident: int
    virtual: int
    started: float
    descriptors: int
    descriptors_limit: int


def read_process() -> OwnProcess:
    """Now. What this machine does not tell is 0."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    fields = _read("self/stat").rpartition(")")[2].split()
    boot = re.search(r"^btime (\d+)$", _read("stat"), re.MULTILINE)
    ticks = os.sysconf("SC_CLK_TCK")
    known = len(fields) > 21 and boot is not None
    return OwnProcess(
        cpu=used.ru_utime + used.ru_stime,
        # proc_pid_stat(5): starttime is the 22nd field, vsize the 23rd, rss the 24th; these begin with the 3rd.
        resident=int(fields[21]) * os.sysconf("SC_PAGE_SIZE") if known else 0,
        virtual=int(fields[20]) if known else 0,
        started=int(boot[1]) + int(fields[19]) / ticks if known and boot is not None else 0.0,
        descriptors=len(os.listdir(_PROC / "self/fd")),
        descriptors_limit=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    )


def process_metrics(own: OwnProcess) -> Iterator[Family]:
    """In the words of the Prometheus clients."""
    yield counter(
        "process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", [Sample(round(own.cpu, 6))]
    )
    for name, help, value in (
        ("resident_memory_bytes", "Resident memory size in bytes.", own.resident),
        ("virtual_memory_bytes", "Virtual memory size in bytes.", own.virtual),
        ("start_time_seconds", "Start time of the process since unix epoch in seconds.", own.started),
        ("open_fds", "Number of open file descriptors.", own.descriptors),
        ("max_fds", "Maximum number of open file descriptors.", own.descriptors_limit),
    ):
        yield gauge(f"process_{name}", help, [Sample(value)])


def _read(name: str) -> str:
    try:
        return (_PROC / name).read_text()
    except OSError:
        return ""
