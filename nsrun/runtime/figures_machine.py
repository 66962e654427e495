"""What the machine as a whole uses, and nsrun's own process: procfs, read (proc(5)). The parsing is pure."""

from __future__ import annotations

import os
import re
import resource
import time
from collections.abc import Mapping
from pathlib import Path

from nsrun.model.figures import CpuFigures, MachineFigures, MemoryFigures, Usage
from nsrun.runtime.figures_texts import parse_pressure

__all__ = ["machine_figures", "own_usage", "parse_cpu", "parse_memory", "read_machine_figures"]

_TICK = 10_000_000  # nanoseconds: USER_HZ is 100 wherever Linux runs
_FILES = (
    "stat",
    "meminfo",
    "vmstat",
    "loadavg",
    "sys/kernel/pid_max",
    *(f"pressure/{n}" for n in ("cpu", "memory", "io")),
)


def parse_cpu(stat: str) -> CpuFigures | None:
    """``/proc/stat``: all cores together since the boot. Idle time and waiting for disks are no use; what another
    machine on the same hardware took (steal) counts, as in the root cgroup."""
    match = re.search(r"^cpu +([0-9 ]+)$", stat, re.MULTILINE)
    if match is None:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = [*map(int, match[1].split()), *[0] * 8][:8]
    return CpuFigures(
        usage=(user + nice + system + irq + softirq + steal) * _TICK,
        user=(user + nice) * _TICK,
        system=(system + irq + softirq) * _TICK,
    )


def parse_memory(meminfo: str, vmstat: str) -> MemoryFigures | None:
    """What is not free is used, as in cAdvisor's figures of the root cgroup."""
    held = {name: int(value) * 1024 for name, value in re.findall(r"^([\w()]+): +(\d+) kB$", meminfo, re.MULTILINE)}
    events = dict(re.findall(r"^(\w+) (\d+)$", vmstat, re.MULTILINE))
    if not {"MemTotal", "MemFree"} <= held.keys():
        return None
    return MemoryFigures(
        usage=held["MemTotal"] - held["MemFree"],
        rss=held.get("AnonPages", 0),
        cache=held.get("Cached", 0),
        mapped_file=held.get("Mapped", 0),
        active_file=held.get("Active(file)", 0),
        inactive_file=held.get("Inactive(file)", 0),
        page_faults=int(events.get("pgfault", 0)),
        major_page_faults=int(events.get("pgmajfault", 0)),
        kernel=held.get("Slab", 0) + held.get("KernelStack", 0),
        swap=held.get("SwapTotal", 0) - held.get("SwapFree", 0),
        kills=int(events.get("oom_kill", 0)),
    )


def machine_figures(files: Mapping[str, str], *, time: float, monotonic: float) -> MachineFigures:
    """``files``: what is in procfs, by the name below ``/proc``; what is not there is empty."""
    stat, meminfo = files.get("stat", ""), files.get("meminfo", "")
    boot = re.search(r"^btime (\d+)$", stat, re.MULTILINE)
    sizes = dict(re.findall(r"^(MemTotal|SwapTotal): +(\d+) kB$", meminfo, re.MULTILINE))
    tasks = re.match(r"\S+ \S+ \S+ \d+/(\d+) ", files.get("loadavg", ""))
    usage = Usage(
        time=time,
        monotonic=monotonic,
        cpu=parse_cpu(stat),
        memory=parse_memory(meminfo, files.get("vmstat", "")),
        threads=int(tasks[1]) if tasks else None,
        cpu_pressure=parse_pressure(files.get("pressure/cpu", "")),
        memory_pressure=parse_pressure(files.get("pressure/memory", "")),
        io_pressure=parse_pressure(files.get("pressure/io", "")),
    )
    return MachineFigures(
        usage=usage,
        memory_total=int(sizes.get("MemTotal", 0)) * 1024,
        swap_total=int(sizes.get("SwapTotal", 0)) * 1024,
        processes=usage.threads or 0,
        processes_limit=int(files.get("sys/kernel/pid_max", "").strip() or 0),
        boot=float(boot[1]) if boot else 0.0,
    )


def read_machine_figures() -> MachineFigures:
    """Of this machine, now. Blocks."""
    files = {name: _read(name) for name in _FILES}
    return machine_figures(files, time=time.time(), monotonic=time.monotonic())


def own_usage() -> Usage:
    """Of this process, with all its threads. Blocks."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    user, system = round(used.ru_utime * 1e9), round(used.ru_stime * 1e9)
    pages = [int(field) for field in _read("self/statm").split()]
    resident = pages[1] * os.sysconf("SC_PAGE_SIZE") if len(pages) > 1 else 0
    shared = pages[2] * os.sysconf("SC_PAGE_SIZE") if len(pages) > 2 else 0
    return Usage(
        time=time.time(),
        monotonic=time.monotonic(),
        cpu=CpuFigures(usage=user + system, user=user, system=system),
        memory=MemoryFigures(
            usage=resident,
            rss=resident - shared,
            page_faults=used.ru_minflt + used.ru_majflt,
            major_page_faults=used.ru_majflt,
        ),
    )


def _read(name: str) -> str:
    try:
        return Path("/proc", name).read_text()
    except OSError:
        return ""
