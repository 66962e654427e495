"""Looking at real pods: logs with and without a daemon, what inspect knows, many followers at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.lives import pod, shell, until
from tests.e2e.nsrunner import Nsrun
from tests.waiting import PATIENCE, eventually, fewer

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

COUNT = 300
SAY = f"while [ ! -e /shared/go ]; do sleep 0.05; done; seq 1 {COUNT}; echo to the other >&2; exec sleep 1000"


def start(nsrun: Nsrun, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        nsrun.command(*arguments),
        env=nsrun.environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def shared(nsrun: Nsrun) -> Path:
    (found,) = nsrun.root.glob("pods/*/volumes/kubernetes.io~empty-dir/shared")
    return found


def test_logs_and_inspect(loaded: Nsrun) -> None:
    loaded.start()
    watcher = start(loaded, "pods", "--watch", "--output", "jsonpath={.metadata.name} {.status.phase};")
    loaded.apply("a.yaml", pod("a", shell("main", SAY), shell("side", "echo aside; exec sleep 1000")))
    loaded.ready("a")
    _watched(watcher)
    (shared(loaded) / "go").touch()
    eventually(lambda: "other" in loaded.cli("logs", "a", "-c", "main").stdout)
    numbers = [str(number) for number in range(1, COUNT + 1)]
    eventually(lambda: "aside" in loaded.cli("logs", "a", "-c", "side").stdout)
    lines = loaded.cli("logs", "a", "--all-containers").stdout.splitlines()
    assert [line for line in lines if line != "aside"] == [*numbers, "to the other"]
    assert loaded.cli("logs", "a", "-c", "main", "--stream", "stderr").stdout == "to the other\n"
    assert loaded.cli("logs", "a", "-c", "side", "--prefix").stdout == "[pod/a/side] aside\n"
    _inspected(loaded)
    _without_an_answer(loaded, numbers)


def test_inspect_tells_the_cgroup(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("a.yaml", pod("a", shell("main", "exec sleep 1000")))
    loaded.ready("a")
    (found,) = json.loads(loaded.cli("inspect", "a/main").stdout)
    cgroup = found["nsrun"]["cgroup"]
    assert cgroup.endswith("/main.0") or f"pod{found['uid']}" in cgroup.replace("-", "")


def _watched(watcher: subprocess.Popen[str]) -> None:
    """It said of the pod what came to be true of it."""
    assert watcher.stdout is not None
    said = ""
    while not said.endswith("a Running;"):
        said += watcher.stdout.read(1)
    assert set(said.split(";")) <= {"a Pending", "a Running", ""}
    watcher.send_signal(signal.SIGINT)
    watcher.communicate(timeout=20 * PATIENCE)
    assert watcher.returncode == 130


def _inspected(nsrun: Nsrun) -> None:
    (found,) = json.loads(nsrun.cli("inspect", "a/main").stdout)
    known = found["nsrun"]
    assert found["config"]["process"]["args"] == ["/bin/sh", "-c", SAY]
    assert Path(f"/proc/{known['pid']}/cmdline").read_bytes() == b"sleep\x001000\x00"
    assert (Path(known["rootfs"]) / "bin/sh").exists()
    assert "to the other" in Path(known["logPath"]).read_text()
    (whole,) = json.loads(nsrun.cli("inspect", "a").stdout)
    assert whole["nsrun"]["containers"]["main"] == known
    assert Path(whole["nsrun"]["netns"]).exists()
    assert Path(f"/proc/{whole['nsrun']['pid']}/comm").read_text() == "pause\n"
    assert nsrun.cli("inspect", found["id"][:12], "-f", "{.name}").stdout == "main\n"
    assert nsrun.cli("ps", "-q", "--filter", "name=main").stdout.strip() == found["id"][:12]


def _without_an_answer(nsrun: Nsrun, numbers: list[str]) -> None:
    """The daemon is stopped, then dead: logs are shown, and followed to their end."""
    assert nsrun.process is not None
    nsrun.process.send_signal(signal.SIGSTOP)
    assert nsrun.cli("logs", "a", "-c", "main").stdout.split("\n")[:COUNT] == numbers
    follower = start(nsrun, "logs", "-f", "a", "-c", "main")
    assert follower.stdout is not None
    assert [follower.stdout.readline().strip() for _ in range(COUNT + 1)][-1] == "to the other"
    nsrun.process.send_signal(signal.SIGCONT)
    (found,) = json.loads(nsrun.cli("inspect", "a/main").stdout)
    nsrun.kill()
    assert nsrun.cli("logs", "a", "-c", "main", "--tail", "2").stdout == f"{COUNT}\nto the other\n"
    os.kill(found["nsrun"]["pid"], signal.SIGKILL)
    assert follower.communicate(timeout=30 * PATIENCE) == ("", "")
    assert follower.returncode == 0


@pytest.mark.slow
def test_two_hundred_followers(loaded: Nsrun) -> None:
    """All of them have every line, in order, the last one included."""
    loaded.start()
    script = f"echo begin; while [ ! -e /shared/go ]; do sleep 0.05; done; seq 1 {COUNT}; echo end"
    loaded.apply("a.yaml", pod("a", shell("main", script), restartPolicy="Never"))
    until(loaded, "a", lambda seen: seen["status"]["phase"] == "Running")
    followers = [start(loaded, "logs", "-f", "a") for _ in range(fewer(200))]
    for follower in followers:
        assert follower.stdout is not None
        assert follower.stdout.readline() == "begin\n"
    (shared(loaded) / "go").touch()
    expected = "".join(f"{number}\n" for number in range(1, COUNT + 1)) + "end\n"
    for follower in followers:
        assert follower.communicate(timeout=240 * PATIENCE) == (expected, "")
        assert follower.returncode == 0
