"""An ordinary user's pods in cgroups that systemd's user manager hands over. Runs in the machine, whose user ``dev`` it
gives a manager: the machine is thrown away afterwards.

systemd is spoken to, so this is for the machine's own namespaces, without the suite's: ``--noconftest``.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.manifests import shell_pod
from tests.vm.guest.managed import HOME, IMAGES, MARKS, NSRUN, as_dev, manager, said
from tests.waiting import PATIENCE, eventually

__all__ = ["manager"]

pytestmark = MARKS

SERVICE = Path("/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service")

LIMITS = """
    resources:
      requests: {cpu: 250m, memory: 16Mi}
      limits: {cpu: 500m, memory: 32Mi}
  hostNetwork: true
"""
ENDLESS = "cat /proc/self/cgroup; ls /sys/fs/cgroup; trap exit TERM; while true; do sleep 1000 & wait; done"
HUNGRY = "sleep 1000 & tail /dev/zero; sleep 1000"


class Daemon:
    """nsrun of the user's, with manifests."""

    def __init__(self, manifests: Path) -> None:
        self.manifests = manifests
        self.start()

    def start(self) -> None:
        words = as_dev(NSRUN, "--manifests", str(self.manifests), "--pod-max-pids", "40", "--verbose")
        with (self.manifests.parent / "log").open("a") as log:
            self.process = subprocess.Popen(words, cwd=HOME, stdout=log, stderr=log)

    def pod(self, name: str) -> Mapping[str, Any]:
        try:
            listed = json.loads(said(*as_dev(NSRUN, "pods", "-o", "json")))
        except AssertionError:
            return {}  # it does not answer yet
        pods = listed["items"] if isinstance(listed, dict) else listed
        return next((pod for pod in pods if pod["metadata"]["name"] == name), {})

    def state(self, name: str) -> Mapping[str, Any]:
        statuses = self.pod(name).get("status", {}).get("containerStatuses") or [{}]
        return dict(statuses[0].get("state") or {})

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def daemon(manager: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    base = tmp_path_factory.mktemp("delegation")
    for path in (base, base.parent, base.parent.parent):
        path.chmod(0o755)
    (base / "manifests").mkdir()
    said(*as_dev(NSRUN, "load", str(IMAGES)))
    daemon = Daemon(base / "manifests")
    yield daemon
    daemon.kill()
    said(*as_dev(NSRUN, "down"))
    print((base / "log").read_text())


def write(daemon: Daemon, name: str, script: str) -> None:
    (daemon.manifests / f"{name}.yaml").write_text(shell_pod(name, script, restart="Never") + LIMITS)


def cgroup(daemon: Daemon, name: str) -> Path:
    (pod,) = (SERVICE / "app.slice/nsrun.scope/pods").glob(f"*/pod{daemon.pod(name)['metadata']['uid']}")
    return pod


def test_limits_are_what_the_kernel_holds(daemon: Daemon) -> None:
    write(daemon, "limited", ENDLESS)
    eventually(lambda: "running" in daemon.state("limited"), seconds=60, every=1, what="the pod runs")
    pod = cgroup(daemon, "limited")
    held = {name: (pod / "main-0" / name).read_text().strip() for name in ("cpu.max", "memory.max", "cpu.weight")}
    assert held == {"cpu.max": "50000 100000", "memory.max": str(32 << 20), "cpu.weight": "35"}
    assert (pod / "pids.max").read_text().strip() == "40"
    assert (pod / "main-0/cgroup.procs").read_text().split()
    assert "cannot enforce" not in json.dumps(daemon.pod("limited")["status"])


def test_a_container_sees_its_own_cgroup(daemon: Daemon) -> None:
    output = eventually(lambda: said(*as_dev(NSRUN, "logs", "limited")), what="what it said")
    assert output.splitlines()[0] == "0::/"
    assert "memory.max" in output


def test_out_of_memory_is_told(daemon: Daemon) -> None:
    write(daemon, "hungry", HUNGRY)
    eventually(lambda: "terminated" in daemon.state("hungry"), seconds=60, every=1, what="it has ended")
    ended = daemon.state("hungry")["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


def test_the_next_nsrun_goes_into_the_same_scope(daemon: Daemon) -> None:
    before = daemon.pod("limited")["status"]["containerStatuses"][0]["containerID"]
    daemon.kill()
    daemon.start()
    eventually(lambda: "running" in daemon.state("limited"), seconds=60, every=1, what="it answers again")
    assert daemon.pod("limited")["status"]["containerStatuses"][0]["containerID"] == before
    place = Path(f"/proc/{daemon.process.pid}/cgroup").read_text().strip()
    assert place.endswith("/user@1000.service/app.slice/nsrun.scope/supervisor")


def test_the_doctor_is_content(daemon: Daemon) -> None:
    assert (
        "v2, a part of which systemd's user manager hands over"
        in subprocess.run(
            as_dev(NSRUN, "doctor"), capture_output=True, text=True, timeout=100 * PATIENCE, cwd=HOME, check=False
        ).stdout
    )
