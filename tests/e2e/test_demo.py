"""The main job, as a user sees it: the demo manifest becomes nginx and its log-truncator, and goes without a trace."""

from __future__ import annotations

import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.e2e.nsrunner import Nsrun, container_status
from tests.waiting import PATIENCE, eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]


def pod_ip(pod: dict[str, object]) -> str:
    status = pod["status"]
    assert isinstance(status, dict)
    return str(status["podIP"])


def fetch(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/", timeout=5 * PATIENCE) as answer:
        return str(answer.read().decode())


def pod_exec(*argv: str) -> str:
    return subprocess.run(
        ["ip", "netns", "exec", "default_nginx", *argv], capture_output=True, text=True, check=True
    ).stdout


def test_the_demo_runs_and_goes(loaded: Nsrun, repo: Path) -> None:
    demo = (repo / "manifests" / "nginx.yaml").read_text()
    loaded.start()
    manifest = loaded.apply("nginx.yaml", demo)
    pod = loaded.ready("nginx")
    address = pod_ip(pod)

    assert "Welcome to nginx!" in eventually(lambda: fetch(address))

    logs = list((loaded.root / "pods").glob("*/volumes/kubernetes.io~empty-dir/nginx-logs/access.log"))
    assert len(logs) == 1
    eventually(lambda: logs[0].stat().st_size > 0 or fetch(address) == "", what="the access log fills")
    eventually(lambda: logs[0].stat().st_size == 0, seconds=15, what="the access log is emptied")

    assert "default_nginx" in subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert ":80" in pod_exec("ss", "-lnt")

    listing = loaded.cli("ps").stdout
    assert "log-truncator" in listing
    assert "nginx" in listing

    manifest.unlink()
    loaded.gone("nginx")
    eventually(lambda: loaded.remains() == [], seconds=10, what="nothing is left")


def test_both_containers_share_address_ports_and_ipc(loaded: Nsrun, repo: Path) -> None:
    loaded.start()
    loaded.apply("nginx.yaml", (repo / "manifests" / "nginx.yaml").read_text())
    pod = loaded.ready("nginx")
    spaces = {name: namespaces(pid_of(loaded, pod, name)) for name in ("nginx", "log-truncator")}
    for shared in ("net", "ipc", "uts"):
        assert spaces["nginx"][shared] == spaces["log-truncator"][shared]
        assert spaces["nginx"][shared] != namespaces(1)[shared]
    for own in ("mnt", "pid", "cgroup"):
        assert spaces["nginx"][own] != spaces["log-truncator"][own]
    assert container_status(pod, "nginx")["restartCount"] == 0


def namespaces(pid: int) -> dict[str, str]:
    return {
        name: str(Path(f"/proc/{pid}/ns/{name}").readlink()) for name in ("net", "ipc", "uts", "mnt", "pid", "cgroup")
    }


def pid_of(nsrun: Nsrun, pod: dict[str, object], container: str) -> int:
    """Found as an administrator would: the first process in the container's cgroup."""
    metadata = pod["metadata"]
    assert isinstance(metadata, dict)
    for mount in ("pids", "unified", ""):
        for procs in Path("/sys/fs/cgroup", mount).glob(
            f"{nsrun.cgroup_root}/**/pod{metadata['uid']}/{container}-*/cgroup.procs"
        ):
            pids = procs.read_text().split()
            if pids:
                return int(pids[0])
    raise AssertionError(f"{container} has no process")
