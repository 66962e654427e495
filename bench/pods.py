"""Whole pods: manifest to ready, many at once, what they and the supervisor weigh."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from bench.figures import Figure, median
from bench.manifests import sleeper, two_containers
from bench.podman import Podman
from bench.processors import cpu_seconds
from bench.program import Program, pss_kib, reachable, wait

__all__ = ["figures", "helper_pids", "measure_nsrun", "measure_podman"]

_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


def measure_nsrun(program: Program, *, runs: int, crowd: int) -> dict[str, float]:
    """Medians by name; times in ms, memory in KiB."""
    found = {"two_containers": median([_alone(program) for _ in range(runs)])}
    found.update(_idle(program))
    found.update(_crowd(program, crowd))
    return found


def _one_pod(program: Program, name: str = "two") -> float:
    """ms from the manifest to both containers running and port 80 open.

    The daemon's own log tells when and where: asking the API all the time would be measured too.
    """
    before = program.apply(name, two_containers(name))
    wait(lambda: program.told_ready(name), 30, every=0.001)
    address = program.told_ready(name)
    wait(lambda: reachable(address, 80), 30, every=0.001)
    return (time.monotonic() - before) * 1000


def _alone(program: Program) -> float:
    """The same, and the pod is gone again."""
    took = _one_pod(program)
    program.withdraw("two")
    program.wait_gone()
    return took


def _crowd(program: Program, count: int) -> dict[str, float]:
    """``count`` pods dropped at once; then one more, to see whether it starts as fast as the first."""
    names = [f"crowd-{n}" for n in range(count)]
    before = time.monotonic()
    for name in names:
        program.apply(name, sleeper(name))
    program.wait_ready(count)
    together = time.monotonic() - before
    helpers = helper_pids()
    found = {
        "crowd": together * 1000,
        "pod_memory": pss_kib(helpers) / count,
        "supervisor_crowded": _rss_kib(program.pid),
        "crowded_cpu": _cpu_percent(program.pid),
    }
    found["one_more"] = _one_pod(program, "one-more")
    gone = time.monotonic()
    program.withdraw(*names, "one-more")
    program.wait_gone()
    found["crowd_gone"] = (time.monotonic() - gone) * 1000
    return found


def _idle(program: Program) -> dict[str, float]:
    return {"supervisor": _rss_kib(program.pid), "idle_cpu": _cpu_percent(program.pid)}


def _rss_kib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_KIB


def _cpu_percent(pid: int, seconds: float = 10.0) -> float:
    before = cpu_seconds(pid)
    time.sleep(seconds)
    return 100 * (cpu_seconds(pid) - before) / seconds


def helper_pids() -> list[int]:
    """The shims and pauses of all pods."""
    return _pids(b"nsrun-shim", b"pause")


def _pids(*names: bytes) -> list[int]:
    """Processes whose program's name begins with one of the names."""
    return [pid for pid, program in _programs() if program.rpartition(b"/")[2].startswith(names)]


def _programs() -> Iterator[tuple[int, bytes]]:
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            try:
                yield int(directory.name), (directory / "cmdline").read_bytes().split(b"\0")[0]
            except OSError:
                continue


def measure_podman(podman: Podman, base: Path, *, runs: int, crowd: int) -> dict[str, float]:
    """The same for podman, as far as it has it."""
    manifest = base / "two.yaml"
    manifest.write_text(two_containers("two"))
    podman.play(manifest)  # builds the pause image once
    podman.remove_all()
    found = {"two_containers": median([_play(podman, manifest) for _ in range(runs)])}
    many = base / "crowd.yaml"
    many.write_text("---\n".join(sleeper(f"crowd-{n}") for n in range(crowd)))
    before = time.monotonic()
    podman.play(many)
    found["crowd"] = (time.monotonic() - before) * 1000
    found["pod_memory"] = pss_kib(_pids(b"conmon", b"catatonit")) / crowd
    before = time.monotonic()
    podman.remove_all()
    found["crowd_gone"] = (time.monotonic() - before) * 1000
    return found


def _play(podman: Podman, manifest: Path) -> float:
    before = time.monotonic()
    podman.play(manifest)
    address = podman.address("two")
    wait(lambda: reachable(address, 80), 10, every=0.001)
    took = time.monotonic() - before - _address_cost(podman)
    podman.remove_all()
    return took * 1000


def _address_cost(podman: Podman) -> float:
    """What it costs to ask podman for the address: no part of starting a pod."""
    before = time.monotonic()
    podman.address("two")
    return time.monotonic() - before


def figures(ours: dict[str, float], podman: dict[str, float], *, runs: int, crowd: int) -> list[Figure]:
    """Our figures beside podman's, with the budgets of the design."""
    return [
        _against("manifest → two containers exec'ed and reachable", "ms", "two_containers", ours, podman, 0.1, runs),
        _against(f"{crowd} pods at once → all running", "ms", "crowd", ours, podman, 0.1, 1),
        _against(f"{crowd} pods removed", "ms", "crowd_gone", ours, podman, None, 1),
        _single(f"one more pod beside {crowd}", "ms", ours["one_more"], "as fast as the first", None),
        _single(
            "memory per pod, PSS (shim + pause)", "KiB", ours["pod_memory"], "≤ 400", ours["pod_memory"] <= 400, podman
        ),
        _single("supervisor, RSS, no pods", "MiB", ours["supervisor"] / 1024, "≤ 60", ours["supervisor"] <= 60 * 1024),
        _single(
            f"supervisor, RSS, {crowd} pods",
            "MiB",
            ours["supervisor_crowded"] / 1024,
            "≤ 60",
            ours["supervisor_crowded"] <= 60 * 1024,
        ),
        _single(f"supervisor, CPU, {crowd} idle pods", "%", ours["crowded_cpu"], "≈ 0", ours["crowded_cpu"] < 0.5),
    ]


def _against(
    name: str, unit: str, key: str, ours: dict[str, float], podman: dict[str, float], bar: float | None, runs: int
) -> Figure:
    peers = {"podman": podman[key]} if key in podman else {}
    within = ours[key] <= bar * podman[key] if bar is not None and peers else None
    text = f"≤ {bar:g} × podman" if bar is not None else ""
    return Figure(name=name, unit=unit, ours=ours[key], peers=peers, bar=text, within=within, runs=runs)


def _single(
    name: str, unit: str, ours: float, bar: str, within: bool | None, podman: dict[str, float] | None = None
) -> Figure:
    peers = {"podman": podman["pod_memory"]} if podman else {}
    return Figure(name=name, unit=unit, ours=ours, peers=peers, bar=bar, within=within)
