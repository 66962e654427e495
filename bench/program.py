"""nsrun under measurement: a daemon with directories and a cgroup of its own."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from nsrun.api.client import ApiClient

__all__ = ["CGROUP", "Program", "pss_kib", "reachable", "running", "wait"]

CGROUP = "nsrun-bench"


class Program:
    """A started daemon."""

    def __init__(self, base: Path, **variables: str) -> None:
        """``variables``: of the environment, more flags that is."""
        self.manifests = base / "manifests"
        self.manifests.mkdir(parents=True)
        self.run_dir = base / "run"
        self._environment = {
            **os.environ,
            "NSRUN_ROOT": str(base / "root"),
            "NSRUN_RUN_DIR": str(self.run_dir),
            "NSRUN_LOG_DIR": str(base / "log"),
            "NSRUN_CGROUP_ROOT": CGROUP,
            "NSRUN_MAX_PODS": "1000",
            **variables,
        }
        self._api = ApiClient(self.run_dir / "nsrun.sock")
        self._output = base / "nsrun.out"
        self._process: subprocess.Popen[bytes] | None = None
        self._mark = 0  # how long the log was when a manifest was applied last

    @property
    def environment(self) -> Mapping[str, str]:
        """What makes the command line speak of this daemon."""
        return self._environment

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def cli(self, *arguments: str) -> str:
        argv = [sys.executable, "-m", "nsrun", *arguments]
        return subprocess.run(argv, env=self._environment, check=True, capture_output=True, text=True).stdout

    def start(self) -> None:
        with self._output.open("wb") as output:
            argv = [sys.executable, "-m", "nsrun", "--manifests", str(self.manifests)]
            self._process = subprocess.Popen(argv, env=self._environment, stdout=output, stderr=output)
        wait(self._api.running, 30)

    def apply(self, name: str, text: str) -> float:
        """Writes the manifest in one step; returns when (monotonic seconds)."""
        temporary = self.manifests / f".{name}"
        temporary.write_text(text)
        self._mark = self._output.stat().st_size
        before = time.monotonic()
        temporary.rename(self.manifests / f"{name}.yaml")
        return before

    def withdraw(self, *names: str) -> None:
        for name in names:
            (self.manifests / f"{name}.yaml").unlink()

    def told_ready(self, name: str) -> str:
        """The address of the pod, once the log says that it is ready since it was applied last; else nothing."""
        with self._output.open() as log:
            log.seek(self._mark)
            for line in log:
                if f"/{name}" in line and ": Ready: " in line:
                    return line.split()[-1]
        return ""

    def ready(self) -> dict[str, str]:
        """Name → address of the pods whose containers all run."""
        return {name: address for name, address, ready in map(_summary, self._api.pods()) if ready}

    def wait_ready(self, count: int, seconds: float = 300) -> dict[str, str]:
        wait(lambda: len(self.ready()) >= count, seconds, every=0.05)
        return self.ready()

    def wait_gone(self, seconds: float = 300) -> None:
        wait(lambda: not self._api.pods(), seconds, every=0.05)

    def stop(self) -> None:
        self.cli("down")
        if self._process is not None:
            self._process.wait(60)


def _summary(pod: dict[str, object]) -> tuple[str, str, bool]:
    metadata, status = pod["metadata"], pod["status"]
    assert isinstance(metadata, dict)
    assert isinstance(status, dict)
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or [])
    return metadata["name"], status.get("podIP", ""), ready


@contextlib.contextmanager
def running(base: Path, images: Path, **variables: str) -> Iterator[Program]:
    """A daemon with the demo images, taken down at the end. ``variables``: more of its environment."""
    program = Program(base, **variables)
    program.cli("load", str(images))
    program.start()
    try:
        yield program
    finally:
        program.stop()


def wait(condition: Callable[[], object], seconds: float, every: float = 0.004) -> None:
    """Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"never true within {seconds:g} s")
        time.sleep(every)


def reachable(address: str, port: int) -> bool:
    """Does it accept a connection?"""
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


def pss_kib(pids: list[int]) -> int:
    """The proportional set size of the processes together; of those that have ended, none."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total
