"""Rootless beside rootful, and beside podman's rootless: start, memory, bytes through the network.

The rootful side is measured by this process; the other by a second one, of an unprivileged user made for it
(``tests/rootless/as_user.sh``), which runs this module. Pods of an unprivileged user are reached by ports of the host,
so all are here.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.figures import Figure, median
from bench.manifests import sleeper, streaming, web
from bench.podman import Podman
from bench.pods import helper_pids
from bench.program import Program, pss_kib, reachable, running, wait

__all__ = ["figures", "measure"]

REPO = Path(__file__).resolve().parent.parent
AS_USER = REPO / "tests" / "rootless" / "as_user.sh"
IMAGES = REPO / "build" / "images"
# crun refuses hybrid hosts; an unprivileged user has no cgroups there anyway. What is hidden stays so for him alone.
HIDING_UNIFIED = ("unshare", "--mount", "sh", "-c", 'umount -q /sys/fs/cgroup/unified; exec "$@"', "sh")
WEB, SINK = 18080, 18081
BAR = 1.3


def measure(base: Path, *, runs: int, crowd: int, seconds: float, peers: bool) -> dict[str, dict[str, float]]:
    """By who it is: ``rootful``, ``rootless``, ``podman``; start in ms, memory in KiB a pod, streams in MiB/s."""
    rootful = measure_nsrun(base, compile_stream(base / "tools"), runs=runs, crowd=crowd, seconds=seconds)
    argv = [*HIDING_UNIFIED, str(AS_USER), sys.executable, "-m", "bench.rootless", str(runs), str(crowd), str(seconds)]
    found: dict[str, dict[str, float]] = json.loads(subprocess.check_output([*argv, "podman" if peers else ""]))
    return {"rootful": rootful, **found}


def compile_stream(directory: Path) -> Path:
    """``stream``, static, in a directory made for it."""
    directory.mkdir(parents=True)
    program, source = str(directory / "stream"), str(REPO / "bench" / "native" / "stream.c")
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-static", "-o", program, source], check=True)
    return directory


def measure_nsrun(base: Path, tools: Path, *, runs: int, crowd: int, seconds: float) -> dict[str, float]:
    """Of the nsrun of whoever this process is. ``tools``: where ``stream`` is."""
    marks = base / "marks"
    marks.mkdir(parents=True)
    with running(base / "nsrun", IMAGES) as program:
        found = {"start": median([_start(program) for _ in range(runs)]), "memory": _memory(program, crowd)}
        program.apply(
            "sink", streaming("sink", "/tools/stream sink 5000", tools=str(tools), marks=str(marks), port=SINK)
        )
        address = program.wait_ready(1)["sink"]
        found["host_to_pod"] = _from_the_host(tools, seconds)
        send = f"/tools/stream send {address} 5000 {seconds:g} > /marks/found.new && mv /marks/found.new /marks/found"
        program.apply("sender", streaming("sender", send, tools=str(tools), marks=str(marks)))
        found["pod_to_pod"] = _told(marks, seconds)
        program.withdraw("sink", "sender")
        program.wait_gone()
    return found


def _start(program: Program) -> float:
    """ms from the manifest to an answer on the host's port."""
    before = program.apply("web", web("web", WEB))
    wait(lambda: program.told_ready("web"), 30, every=0.001)
    wait(lambda: _answers(WEB), 30, every=0.001)
    took = time.monotonic() - before
    program.withdraw("web")
    program.wait_gone()
    return took * 1000


def _answers(port: int) -> bool:
    """A forwarder accepts before its pod does: only an answer counts."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _memory(program: Program, crowd: int) -> float:
    names = [f"crowd-{n}" for n in range(crowd)]
    for name in names:
        program.apply(name, sleeper(name))
    program.wait_ready(crowd)
    found = pss_kib(helper_pids()) / crowd
    program.withdraw(*names)
    program.wait_gone()
    return found


def _from_the_host(tools: Path, seconds: float) -> float:
    wait(lambda: reachable("127.0.0.1", SINK), 30)
    return float(subprocess.check_output([tools / "stream", "send", "127.0.0.1", str(SINK), f"{seconds:g}"]))


def _told(marks: Path, seconds: float) -> float:
    wait((marks / "found").exists, 60 + seconds)
    return float((marks / "found").read_text())


def measure_podman(base: Path, tools: Path, *, runs: int, seconds: float) -> dict[str, float]:
    """The same of podman, by its default network of ``kube play``."""
    podman = Podman(base)
    for image in ("nginx", "busybox"):
        podman.load(IMAGES, f"docker.io/library/{image}:latest")
    marks = base / "marks"
    marks.mkdir()
    with _played(podman, base, web("web", WEB)):
        pass  # builds the pause image once
    found = {"start": median([_podman_start(podman, base) for _ in range(runs)])}
    sink = streaming("sink", "/tools/stream sink 5000", tools=str(tools), marks=str(marks), port=SINK)
    with _played(podman, base, sink):
        found["host_to_pod"] = _from_the_host(tools, seconds)
        address = podman.address("sink")
        send = f"/tools/stream send {address} 5000 {seconds:g} > /marks/found.new && mv /marks/found.new /marks/found"
        sender = base / "sender.yaml"
        sender.write_text(streaming("sender", send, tools=str(tools), marks=str(marks)))
        podman.play(sender)
        found["pod_to_pod"] = _told(marks, seconds)
    return found


def _podman_start(podman: Podman, base: Path) -> float:
    before = time.monotonic()
    with _played(podman, base, web("web", WEB)):
        wait(lambda: _answers(WEB), 30, every=0.001)
        return (time.monotonic() - before) * 1000


@contextmanager
def _played(podman: Podman, base: Path, text: str) -> Iterator[None]:
    manifest = base / "played.yaml"
    manifest.write_text(text)
    podman.play(manifest)
    try:
        yield
    finally:
        podman.remove_all()


def figures(found: dict[str, dict[str, float]], *, runs: int, crowd: int) -> list[Figure]:
    """Rootless against the rootful nsrun, which has the bar, and podman's rootless, which has none."""
    return [
        _row("rootless: manifest → answer on the host's port", "ms", "start", found, runs),
        _row(f"rootless: memory per pod of {crowd}, PSS (shim + pause)", "KiB", "memory", found, 1),
        _row("rootless: host → pod by hostPort", "MiB/s", "host_to_pod", found, 1),
        _row("rootless: pod → pod", "MiB/s", "pod_to_pod", found, 1),
    ]


def _row(name: str, unit: str, key: str, found: dict[str, dict[str, float]], runs: int) -> Figure:
    ours, theirs = found["rootless"][key], found["rootful"][key]
    peers = {"rootful": theirs}
    if key in found.get("podman", {}):
        peers["podman rootless"] = found["podman"][key]
    barred = key in ("start", "memory")
    return Figure(
        name=name,
        unit=unit,
        ours=ours,
        peers=peers,
        bar=f"≤ {BAR:g} × rootful" if barred else "",
        within=ours <= BAR * theirs if barred else None,
        runs=runs,
    )


def _as_user(runs: int, crowd: int, seconds: float, peer: str) -> None:
    """The unprivileged side: measures, and prints what it found as JSON."""
    base = Path.home() / "bench"
    tools = compile_stream(base / "tools")
    found = {"rootless": measure_nsrun(base / "rootless", tools, runs=runs, crowd=crowd, seconds=seconds)}
    if peer and Podman.installed():
        try:
            found["podman"] = measure_podman(base / "podman", tools, runs=min(runs, 5), seconds=seconds)
        except (RuntimeError, TimeoutError, subprocess.CalledProcessError) as error:
            print(f"bench: no figures of podman's: {error}", file=sys.stderr)
    print(json.dumps(found))


if __name__ == "__main__":
    _as_user(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4])
