"""What only a machine with pure cgroup v2 and systemd shows. Runs in the machine; ``test_smoke.py`` starts it there.

One nsrun for all of it: an emulated processor takes its time over each.
"""

from __future__ import annotations

import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsrun.host.cgroups import CgroupMode
from nsrun.host.facts import probe
from tests import owned_cgroups
from tests.e2e.manifests import shell_pod
from tests.e2e.nsrunner import Document, Nsrun, container_status, pod_named
from tests.waiting import PATIENCE, eventually

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.xdist_group("on_v2"),
    pytest.mark.skipif(probe().cgroups.mode is not CgroupMode.V2, reason="this machine is not pure cgroup v2"),
]

TOP = Path("/sys/fs/cgroup")

LIMITS = """
    resources:
      requests: {cpu: 250m, memory: 16Mi}
      limits: {cpu: 500m, memory: 32Mi}
"""
ENDLESS = "trap exit TERM; while true; do sleep 1000 & wait; done"
# tail(1) keeps the last line, and this one never ends.
HUNGRY = "sleep 1000 & tail /dev/zero; sleep 1000"


@pytest.fixture(scope="module")
def nsrun(tmp_path_factory: pytest.TempPathFactory, demo_images: Path) -> Iterator[Nsrun]:
    root = owned_cgroups.new_name()
    program = Nsrun(
        base=tmp_path_factory.mktemp("nsrun"), cgroup_root=root, flags=("--verbose", "--pod-max-pids", "40")
    )
    program.cli("load", str(demo_images))
    program.start()
    yield program
    if program.process is not None and program.process.poll() is None:
        program.kill()
    program.cli("down")
    remains = program.remains_of_all()
    owned_cgroups.remove(root)
    assert remains == []


@pytest.fixture(scope="module")
def limited(nsrun: Nsrun) -> Document:
    """A pod with every limit, running."""
    nsrun.apply("limited.yaml", shell_pod("limited", ENDLESS, restart="Always") + LIMITS)
    return nsrun.ready("limited")


def cgroup(nsrun: Nsrun, pod: Document, container: str = "") -> Path:
    metadata = pod["metadata"]
    assert isinstance(metadata, dict)
    (path,) = (TOP / nsrun.cgroup_root).rglob(f"pod{metadata['uid']}")
    return max(path.glob(f"{container}-*"), key=lambda p: int(p.name.rpartition("-")[2])) if container else path


def now(nsrun: Nsrun, name: str) -> Document:
    return pod_named(nsrun.pods(), name) or {}


def restarts(nsrun: Nsrun, name: str) -> int:
    return int(str(container_status(now(nsrun, name), "main")["restartCount"]))


def facts_of(path: Path, *names: str) -> dict[str, str]:
    return {name: (path / name).read_text().strip() for name in names}


def test_the_demo_serves(nsrun: Nsrun, repo: Path) -> None:
    nsrun.apply("nginx.yaml", (repo / "manifests/nginx.yaml").read_text())
    status = nsrun.ready("nginx")["status"]
    assert isinstance(status, dict)

    def page() -> str:
        """Empty until nginx listens: a pod without probes is ready as soon as it runs."""
        try:
            with urllib.request.urlopen(f"http://{status['podIP']}/", timeout=5 * PATIENCE) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    assert "Welcome to nginx!" in eventually(page)
    (log,) = (nsrun.root / "pods").glob("*/volumes/kubernetes.io~empty-dir/nginx-logs/access.log")
    eventually(lambda: page() != "" and log.stat().st_size > 0, what="the access log fills")
    eventually(lambda: log.stat().st_size == 0, seconds=15, what="the access log is emptied")
    (nsrun.manifests / "nginx.yaml").unlink()
    nsrun.gone("nginx")


def test_limits_are_what_the_kernel_holds(nsrun: Nsrun, limited: Document) -> None:
    names = ("cpu.max", "memory.max", "memory.oom.group", "pids.max", "cpu.weight")
    mine = facts_of(cgroup(nsrun, limited, "main"), *names)
    assert mine == {
        "cpu.max": "50000 100000",
        "memory.max": str(32 << 20),
        "memory.oom.group": "1",
        "pids.max": "max",
        "cpu.weight": "35",
    }
    whole = facts_of(cgroup(nsrun, limited), *names)
    assert whole == {**mine, "memory.oom.group": "0", "pids.max": "40", "cpu.weight": "10"}
    assert facts_of(cgroup(nsrun, limited, "main"), "memory.pressure", "cpu.pressure")


def test_out_of_memory_ends_all_of_the_container(nsrun: Nsrun) -> None:
    nsrun.apply("hungry.yaml", shell_pod("hungry", HUNGRY) + LIMITS)

    def ended() -> Document | None:
        pod = now(nsrun, "hungry")
        state = container_status(pod, "main")["state"] if pod else {}
        assert isinstance(state, dict)
        return state.get("terminated")

    terminated = eventually(ended, seconds=40, every=0.5, what="the hungry one has ended") or {}
    assert terminated["reason"] == "OOMKilled"
    assert terminated["exitCode"] == 137
    (nsrun.manifests / "hungry.yaml").unlink()
    nsrun.gone("hungry")


def test_the_limit_of_processes_holds(nsrun: Nsrun) -> None:
    bomb = "n=0; while true; do sleep 1000 & n=$((n+1)); done 2>/dev/null"
    nsrun.apply("bomb.yaml", shell_pod("bomb", f"({bomb}); exec sleep 1000"))
    path = cgroup(nsrun, nsrun.ready("bomb"))

    def refused() -> bool:
        """Kernels before 6.11 count where the fork was tried, later ones where the limit is."""
        return any("max 0" not in events.read_text() for events in path.rglob("pids.events"))

    eventually(refused, seconds=40, what="a fork was refused")
    assert int((path / "pids.current").read_text()) <= 40
    (nsrun.manifests / "bomb.yaml").unlink()
    nsrun.gone("bomb")


def test_a_frozen_container_is_killed_all_the_same(nsrun: Nsrun, limited: Document) -> None:
    before = restarts(nsrun, "limited")
    path = cgroup(nsrun, limited, "main")
    (path / "cgroup.freeze").write_text("1")
    eventually(lambda: "frozen 1" in (path / "cgroup.events").read_text(), what="it is frozen")
    (path / "cgroup.kill").write_text("1")
    eventually(lambda: restarts(nsrun, "limited") > before, seconds=60, every=0.5, what="it was started again")
    nsrun.ready("limited")


def shim_of(pid: int) -> int:
    """The parent of a container's first process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_containers_are_born_in_their_cgroup_or_moved_there(nsrun: Nsrun, tmp_path: Path) -> None:
    """The first clone into the cgroup is forbidden, by injection; the shim does without, and next time need not."""
    nsrun.apply("born.yaml", shell_pod("born", ENDLESS, restart="Always"))
    pod = nsrun.ready("born")
    first = int((cgroup(nsrun, pod, "main") / "cgroup.procs").read_text().split()[0])
    shim, trace = shim_of(first), tmp_path / "trace"
    calls: list[str] = []
    for count, inject in ((1, ("-e", "inject=clone3:error=EBUSY:when=1")), (2, ())):
        argv = ("strace", "-f", "-qq", "-o", str(trace), "-e", "trace=clone3", *inject, "-p", str(shim))
        strace = subprocess.Popen(argv)
        try:
            eventually(lambda p=strace.pid: f"TracerPid:\t{p}" in Path(f"/proc/{shim}/status").read_text())  # type: ignore[misc]
            (cgroup(nsrun, pod, "main") / "cgroup.kill").write_text("1")
            eventually(lambda n=count: restarts(nsrun, "born") >= n, seconds=60, every=0.5)  # type: ignore[misc]
            nsrun.ready("born")
            eventually(lambda: (cgroup(nsrun, pod, "main") / "cgroup.procs").read_text() != "", what="it is in there")
        finally:
            strace.terminate()
            strace.wait(10 * PATIENCE)
        calls += [line for line in trace.read_text().splitlines() if "clone3(" in line]
    assert "CLONE_INTO_CGROUP" in calls[0]
    assert "INJECTED" in calls[0]
    assert "CLONE_INTO_CGROUP" not in calls[1]
    assert "CLONE_INTO_CGROUP" in calls[2]
    assert "INJECTED" not in calls[2]
    (nsrun.manifests / "born.yaml").unlink()
    nsrun.gone("born")


def test_pods_outlive_a_killed_supervisor(nsrun: Nsrun, limited: Document) -> None:
    before = container_status(nsrun.ready("limited"), "main")
    started = time.monotonic()
    nsrun.kill()
    nsrun.start()
    after = container_status(nsrun.ready("limited"), "main")
    assert (after["containerID"], after["restartCount"]) == (before["containerID"], before["restartCount"])
    assert time.monotonic() - started < 120 * PATIENCE
