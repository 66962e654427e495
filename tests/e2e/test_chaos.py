"""Whatever dies, nothing is lost, doubled or left behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from nsrun.support.crilog import parse_line
from tests.e2e.manifests import shell_pod
from tests.e2e.nsrunner import Document, Nsrun, container_status, pod_named
from tests.waiting import eventually, fewer

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(600)]

COUNTING = "n=0; while true; do echo $n; n=$((n+1)); sleep 0.02; done"


def terminated(pod: Document) -> dict[str, object] | None:
    state = container_status(pod, "main")["state"]
    assert isinstance(state, dict)
    return state.get("terminated")


def all_ended(nsrun: Nsrun, names: list[str]) -> bool:
    pods = nsrun.pods()
    found = [pod_named(pods, name) for name in names]
    return all(pod is not None and terminated(pod) is not None for pod in found)


def test_two_hundred_pods_come_and_go(loaded: Nsrun) -> None:
    loaded.start()
    for round_number in range(fewer(10)):
        names = [f"cycle-{round_number}-{n}" for n in range(20)]
        paths = [loaded.apply(f"{name}.yaml", shell_pod(name, "exit 0")) for name in names]
        eventually(lambda names=names: all_ended(loaded, names), seconds=60, every=0.1, what=f"all ended: {names}")  # type: ignore[misc]
        for path in paths:
            path.unlink()
        eventually(lambda: loaded.pods() == [], seconds=60, every=0.1, what="all gone")
    eventually(lambda: loaded.remains() == [], seconds=15, what="nothing is left")


def test_fifty_kills_lose_no_exit_and_leave_nothing(loaded: Nsrun) -> None:
    dice = random.Random(50)
    kills = fewer(50)
    loaded.start()
    loaded.apply("counter.yaml", shell_pod("counter", COUNTING, restart="Always"))
    loaded.ready("counter")
    expected: dict[str, int] = {}
    for kill in range(kills):
        name, code = f"ends-{kill}", dice.randrange(0, 200)
        seconds = dice.choice(["0", "0.05", "0.3", "1"])
        loaded.apply(f"{name}.yaml", shell_pod(name, f"sleep {seconds}; exit {code}"))
        expected[name] = code
        if kill % 3 == 2:
            gone = f"ends-{kill - 2}"
            (loaded.manifests / f"{gone}.yaml").unlink()
            del expected[gone]
        subprocess.run(["sleep", str(dice.uniform(0, 0.6))], check=True)
        loaded.kill()
        loaded.start()
    names = list(expected)
    eventually(lambda: all_ended(loaded, names), seconds=60, every=0.2, what="every exit is known")
    pods = loaded.pods()
    codes = {name: (terminated(pod_named(pods, name) or {}) or {}).get("exitCode") for name in names}
    assert codes == expected
    assert sorted(_names(pods)) == sorted([*names, "counter"])
    assert container_status(pod_named(pods, "counter") or {}, "main")["restartCount"] == 0
    assert_no_gap(loaded, least=20 * kills)
    for path in loaded.manifests.glob("*.yaml"):
        path.unlink()
    eventually(lambda: loaded.pods() == [], seconds=60, every=0.1, what="all gone")
    eventually(lambda: loaded.remains() == [], seconds=15, what="nothing is left")


def _names(pods: list[Document]) -> list[str]:
    return [str(pod["metadata"]["name"]) for pod in pods]  # type: ignore[index]


def assert_no_gap(nsrun: Nsrun, *, least: int = 10) -> None:
    """The counter wrote every number once, in one log."""
    logs = list((nsrun.log_dir / "pods").glob("default_counter_*/main/*.log"))
    assert [log.name for log in logs] == ["0.log"]
    numbers = [int(parse_line(line).content) for line in logs[0].read_bytes().splitlines()]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= least


def test_a_killed_shim_takes_its_pod_along_and_the_pod_starts_again(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("counter.yaml", shell_pod("counter", COUNTING, restart="Always"))
    before = container_status(loaded.ready("counter"), "main")["containerID"]
    ((shim, _),) = loaded.processes("nsrun-shim")
    os.kill(shim, signal.SIGKILL)

    def again() -> bool:
        pod = pod_named(loaded.pods(), "counter")
        return pod is not None and container_status(pod, "main").get("containerID") not in ("", before)

    eventually(again, what="another container")
    loaded.ready("counter")
    assert len(loaded.processes("nsrun-shim")) == 1
    assert "SandboxChanged" in loaded.said()
    assert len(counters(loaded)) == 1


def counters(nsrun: Nsrun) -> list[int]:
    """Live processes that run the counting script."""
    return [pid for pid, _ in nsrun.processes("sh") if COUNTING.encode() in command_line(pid)]


def command_line(pid: int) -> bytes:
    """Nothing of a process that has ended meanwhile."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_daemon_leaves_the_pods_running_and_says_so(loaded: Nsrun, number: int) -> None:
    loaded.start()
    loaded.apply("counter.yaml", shell_pod("counter", COUNTING, restart="Always"))
    before = container_status(loaded.ready("counter"), "main")["containerID"]
    assert loaded.terminate(number) == 0
    assert "1 pod keeps running" in loaded.said()
    assert len(counters(loaded)) == 1
    loaded.start()
    assert container_status(loaded.ready("counter"), "main")["containerID"] == before
    assert_no_gap(loaded)


def test_after_a_reboot_pods_start_afresh(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("counter.yaml", shell_pod("counter", COUNTING, restart="Always"))
    loaded.apply("other.yaml", shell_pod("other", COUNTING, restart="Always"))
    first = container_status(loaded.ready("counter"), "main")
    loaded.ready("other")
    reboot(loaded)
    loaded.start()
    second = container_status(loaded.ready("counter"), "main")
    loaded.ready("other")
    assert second["containerID"] != first["containerID"]
    assert second["restartCount"] == 1
    addresses = {str(pod["status"]["podIP"]) for pod in loaded.pods()}  # type: ignore[index]
    assert len(addresses) == 2
    assert len(loaded.processes("nsrun-shim")) == 2


def reboot(nsrun: Nsrun) -> None:
    """What a reboot does to nsrun: every process gone, every namespace and link with them, the run directory empty."""
    nsrun.kill()
    for pid, _ in nsrun.processes("nsrun-shim", "pause"):
        with suppress(ProcessLookupError):  # a pause ends with its shim
            os.kill(pid, signal.SIGKILL)
    eventually(lambda: counters(nsrun) == [], what="the containers died with their shims")
    for pin in Path("/run/netns").iterdir():
        subprocess.run(["ip", "netns", "delete", pin.name], check=True)
    subprocess.run(["ip", "link", "delete", "nsrun0"], check=True)
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    subprocess.run(["sh", "-c", 'umount -R "$1"/* 2>/dev/null; rm -rf "$1"', "sh", str(nsrun.run_dir)], check=True)


def test_down_removes_everything_also_without_a_daemon(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("counter.yaml", shell_pod("counter", COUNTING, restart="Always"))
    loaded.ready("counter")
    loaded.kill()
    loaded.cli("down")
    assert loaded.remains_of_all() == []
    assert counters(loaded) == []
