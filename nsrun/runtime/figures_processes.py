"""What processes use, read from procfs (proc(5)), where no cgroup counts it. The parsing is pure.

A page that n processes share counts 1/n for each (``smaps_rollup``, Linux 4.14): the sum is what they take together.
Of processor time a process tells its own, and that of the children that it waited for; what ended and
was waited for by nobody in the container is missing. What only a cgroup knows is absent: the page cache, limits, kills
for want of memory, devices, pressure.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nsrun.model.figures import CpuFigures, MemoryFigures, Usage

__all__ = ["ProcessUse", "parse_rollup", "parse_stat", "read_process", "summed"]

_TICK = 10_000_000  # nanoseconds: USER_HZ is 100 wherever Linux runs
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessUse:
    """Of one process: nanoseconds, bytes, counts."""

    user: int = 0
    system: int = 0
    page_faults: int = 0
    major_page_faults: int = 0
    threads: int = 0
    memory: int = 0
    anonymous: int = 0
    mapped_file: int = 0
    swap: int = 0


def parse_stat(text: str) -> dict[str, int]:
    """``/proc/PID/stat``: faults, times and threads. The second field may hold anything, so count from its last
    parenthesis. Raises ValueError and IndexError when it is none."""
    fields = text.rpartition(")")[2].split()
    minor, of_children, major, major_of_children, user, system, user_of_children, system_of_children = map(
        int, fields[7:15]
    )
    return {
        "page_faults": minor + of_children,
        "major_page_faults": major + major_of_children,
        "user": (user + user_of_children) * _TICK,
        "system": (system + system_of_children) * _TICK,
        "threads": int(fields[17]),
    }


_ROLLUP = {"Pss:": "memory", "Pss_Anon:": "anonymous", "Pss_File:": "mapped_file", "SwapPss:": "swap"}


def parse_rollup(text: str) -> dict[str, int]:
    """``/proc/PID/smaps_rollup``, as far as it is told: the parts of Pss came with Linux 5.10."""
    rows = (line.split() for line in text.splitlines())
    return {_ROLLUP[row[0]]: int(row[1]) * 1024 for row in rows if len(row) == 3 and row[0] in _ROLLUP}


def read_process(pid: int, proc: Path = _PROC) -> ProcessUse | None:
    """None for one that has ended. Memory of one that may not be looked into is its resident pages."""
    place = proc / str(pid)
    try:
        times = parse_stat((place / "stat").read_text(errors="replace"))
    except (OSError, ValueError, IndexError):
        return None
    try:
        memory = parse_rollup((place / "smaps_rollup").read_text())
    except OSError:
        memory = {}
    return ProcessUse(**times, **(memory or _resident(place)))


def _resident(place: Path) -> dict[str, int]:
    try:
        pages = (place / "statm").read_text().split()
        return {"memory": int(pages[1]) * os.sysconf("SC_PAGE_SIZE")}
    except (OSError, ValueError, IndexError):
        return {}


def summed(uses: Iterable[ProcessUse], *, time: float, monotonic: float, brief: bool = False) -> Usage:
    """Processes as one. ``brief``: only processor time and memory."""
    all_of_them = list(uses)

    def total(name: str) -> int:
        return sum(int(getattr(use, name)) for use in all_of_them)

    user, system = total("user"), total("system")
    return Usage(
        time=time,
        monotonic=monotonic,
        cpu=CpuFigures(usage=user + system, user=user, system=system),
        memory=MemoryFigures(
            usage=total("memory"),
            rss=total("anonymous"),
            cache=None,
            active_file=None,
            inactive_file=None,
            kills=None,
            mapped_file=total("mapped_file"),
            page_faults=total("page_faults"),
            major_page_faults=total("major_page_faults"),
            swap=total("swap"),
        ),
        processes=None if brief else len(all_of_them),
        threads=None if brief else total("threads"),
    )
