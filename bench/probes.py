"""Probes: many pods, each with a command and an HTTP request every second. How late they come, and what they cost.

When a probe came is written down by the program that is probed (``native/probed.c``), not by who sends it. Each probe
is held against its own grid: a whole number of seconds after its first, shifted so that the earliest is on time.
"""

from __future__ import annotations

import itertools
import os
import shutil
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Figure
from bench.manifests import probed
from bench.processors import busy_seconds, cpu_seconds
from bench.program import Program, running

__all__ = ["PERIOD", "Lateness", "compile_probed", "figures", "late", "measure"]

PERIOD = 1.0
_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Lateness:
    """In ms, of all probes of a kind. ``missed``: how many never came."""

    p50: float
    p99: float
    worst: float
    count: int
    missed: int


def late(times: Sequence[float], period: float = PERIOD) -> tuple[list[float], int]:
    """How late each probe came, in seconds, and how many never did. ``times``: of one probe, in seconds, sorted.

    A gap that is longer than a period and a half holds probes that were never sent."""
    ticks, missed = [0] if times else [], 0
    for before, after in itertools.pairwise(times):
        steps = max(round((after - before) / period), 1)
        if after - before <= 1.5 * period:
            steps = 1
        ticks.append(ticks[-1] + steps)
        missed += steps - 1
    offsets = [at - tick * period for at, tick in zip(times, ticks, strict=True)]
    earliest = min(offsets, default=0.0)
    return [offset - earliest for offset in offsets], missed


def measure(base: Path, images: Path, *, pods: int, seconds: float) -> dict[str, float | Lateness]:
    """``http`` and ``exec``: Lateness; ``cpu`` and ``all_cpu``: percent of one core, the supervisor's and the whole
    machine's; ``memory``: KiB; ``load``: processes that others had run before."""
    load = os.getloadavg()[0]
    tools, marks = base / "tools", base / "marks"
    tools.mkdir(parents=True)
    marks.mkdir()
    compile_probed(tools)
    names = [f"probed-{n}" for n in range(pods)]
    with running(base / "nsrun", images) as program:
        for name in names:
            (marks / name).mkdir()
            program.apply(name, probed(name, tools=str(tools), marks=str(marks / name)))
        program.wait_ready(pods, 600)
        time.sleep(5)  # what starting them left to do
        found = _watch(program, marks, seconds)
    return {**found, "load": load}


def _watch(program: Program, marks: Path, seconds: float) -> dict[str, float | Lateness]:
    began, before, busy = time.monotonic(), cpu_seconds(program.pid), busy_seconds()
    profiler = _profiler(program.pid, seconds)
    time.sleep(seconds)
    ended = time.monotonic()
    spent = ended - began
    found: dict[str, float | Lateness] = {
        "cpu": 100 * (cpu_seconds(program.pid) - before) / spent,
        "all_cpu": 100 * (busy_seconds() - busy) / spent,
        "memory": float(int(Path(f"/proc/{program.pid}/statm").read_text().split()[1]) * _PAGE_KIB),
    }
    if profiler is not None:
        profiler.wait()
    for kind in ("http", "exec"):
        found[kind] = _lateness([_times(path, began, ended) for path in marks.glob(f"*/{kind}")])
    return found


def _profiler(pid: int, seconds: float) -> subprocess.Popen[bytes] | None:
    """py-spy, if it is asked for (NSRUN_BENCH_PROFILE: where to) and installed."""
    target, program = os.environ.get("NSRUN_BENCH_PROFILE"), shutil.which("py-spy")
    if target is None or program is None:
        return None
    return subprocess.Popen([program, "record", "-d", f"{seconds:g}", "-f", "raw", "-o", target, "-p", str(pid)])


def _lateness(probes: Sequence[Sequence[float]]) -> Lateness:
    lates: list[float] = []
    missed = 0
    for times in probes:
        found, never = late(times)
        lates += found
        missed += never
    lates.sort()
    hundredths = statistics.quantiles(lates, n=100) if len(lates) > 1 else [0.0] * 99
    return Lateness(
        p50=1000 * hundredths[49],
        p99=1000 * hundredths[98],
        worst=1000 * max(lates, default=0.0),
        count=len(lates),
        missed=missed,
    )


def _times(path: Path, began: float, ended: float) -> list[float]:
    data = path.read_bytes()
    found = [stamp / 1e9 for (stamp,) in struct.iter_unpack("=Q", data[: len(data) // 8 * 8])]
    return sorted(at for at in found if began <= at <= ended)


def compile_probed(directory: Path) -> None:
    """Makes ``probed`` there."""
    source = Path(__file__).resolve().parent / "native" / "probed.c"
    flags = ["-std=c17", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-static"]
    subprocess.run(["cc", *flags, str(source), "-o", str(directory / "probed")], check=True)


def figures(found: dict[str, float | Lateness], *, pods: int) -> list[Figure]:
    """With the budgets: p99 within 200 ms, half a core, 60 MiB."""
    rows = []
    for kind in ("http", "exec"):
        lateness = found[kind]
        assert isinstance(lateness, Lateness)
        what = f"{kind} probe every second, {pods} pods: how late"
        rows += [
            Figure(name=f"{what}, p50", unit="ms", ours=lateness.p50, runs=lateness.count),
            Figure(
                name=f"{what}, p99",
                unit="ms",
                ours=lateness.p99,
                bar="≤ 200",
                within=lateness.p99 <= 200 and lateness.missed <= lateness.count / 100,
                runs=lateness.count,
            ),
            Figure(name=f"{what}, worst", unit="ms", ours=lateness.worst, runs=lateness.count),
            Figure(name=f"{kind} probes that never came", unit="", ours=lateness.missed, runs=lateness.count),
        ]
    cpu, memory, load, whole = (found[key] for key in ("cpu", "memory", "load", "all_cpu"))
    assert not isinstance(cpu, Lateness)
    assert not isinstance(memory, Lateness)
    assert not isinstance(load, Lateness)
    assert not isinstance(whole, Lateness)
    print(f"bench: the machine's load before was {load:.1f}, its cores were {whole:.0f} % busy", file=sys.stderr)
    return [
        *rows,
        Figure(name=f"supervisor, CPU, {pods} pods probed", unit="%", ours=cpu, bar="≤ 50", within=cpu <= 50),
        Figure(
            name=f"supervisor, RSS, {pods} pods probed",
            unit="MiB",
            ours=memory / 1024,
            bar="≤ 60",
            within=memory <= 60 * 1024,
        ),
    ]
