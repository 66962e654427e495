"""A running nsrun for manifests as they are found elsewhere: each is started, asked, and stopped without a trace."""

from __future__ import annotations

import itertools
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.nsrunner import Document, Nsrun, pod_named
from tests.waiting import PATIENCE, eventually

__all__ = ["HOST", "SHELF", "Wild", "run"]

SHELF = Path(__file__).resolve().parents[1] / "manifests" / "wild"
HOST = Path("/run/wild")
"""Where hostPath volumes of these manifests lead: the tests have a /run of their own."""

_ASK = """\
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: {image}
    imagePullPolicy: IfNotPresent
    command: {command!r}
"""


def run(*argv: str, given: bytes | None = None) -> str:
    """What a program of this machine prints."""
    done = subprocess.run(argv, input=given, capture_output=True, check=False, timeout=60 * PATIENCE)
    assert done.returncode == 0, f"{argv}: {done.returncode}: {done.stderr.decode(errors='replace')}"
    return done.stdout.decode(errors="replace")


@dataclass(kw_only=True)
class Wild:
    """One manifest in a running nsrun."""

    nsrun: Nsrun
    name: str
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def file(self) -> str:
        return f"{self.name}.yaml"

    def start(self) -> None:
        """Puts it into the manifests' directory."""
        self.nsrun.apply(self.file, (SHELF / self.file).read_text())

    def edit(self, old: str, new: str) -> None:
        """Changes what runs."""
        current = (self.nsrun.manifests / self.file).read_text()
        assert old in current
        self.nsrun.apply(self.file, current.replace(old, new))

    def stop(self) -> None:
        """Takes it away again; nothing of it may be left."""
        for manifest in self.nsrun.manifests.iterdir():
            manifest.unlink()
        eventually(lambda: not self.nsrun.pods(), seconds=90, what=f"every pod is gone: {self.nsrun.pods()}")
        assert self.nsrun.remains() == []

    # --- looking

    def pod(self, name: str) -> Document:
        return pod_named(self.nsrun.pods(), name) or {}

    def uid(self, name: str) -> str:
        """Which pod of that name is there; "" for none."""
        metadata = self.pod(name).get("metadata", {})
        assert isinstance(metadata, dict)
        return str(metadata.get("uid", ""))

    def replaced(self, name: str, before: str) -> None:
        """Returns when another pod has the name."""
        eventually(lambda: self.uid(name) not in ("", before), seconds=90, what=f"{name} is another pod")

    def status(self, name: str) -> dict[str, Any]:
        status = self.pod(name).get("status", {})
        assert isinstance(status, dict)
        return status

    def ready(self, name: str, seconds: float = 120.0) -> str:
        """Returns the pod's address once all of it is ready."""
        status = self.nsrun.ready(name, seconds)["status"]
        assert isinstance(status, dict)
        return str(status["podIP"])

    def ended(self, name: str, phase: str = "Succeeded", seconds: float = 120.0) -> dict[str, Any]:
        """The pod's status once it is over."""
        return eventually(
            lambda: found if (found := self.status(name)).get("phase") == phase else {},
            seconds=seconds,
            every=0.05,
            what=f"{name} is {phase}: {self.status(name)} {self.nsrun.said()[-2000:]}",
        )

    def container(self, pod: str, name: str) -> dict[str, Any]:
        status = self.status(pod)
        for kind in ("containerStatuses", "initContainerStatuses"):
            for found in status.get(kind) or []:
                if found["name"] == name:
                    assert isinstance(found, dict)
                    return found
        return {}

    def logs(self, pod: str, container: str = "", namespace: str = "default", *more: str) -> str:
        words = ["logs", f"{namespace}/{pod}", *(("-c", container) if container else ()), *more]
        return self.nsrun.cli(*words, check=False).stdout

    def said(self, text: str, pod: str, container: str = "", seconds: float = 60.0) -> str:
        """The container's log once it holds the text."""
        return eventually(
            lambda: log if text in (log := self.logs(pod, container)) else "",
            seconds=seconds,
            every=0.2,
            what=f"{pod} says {text!r}: {self.logs(pod, container)}",
        )

    # --- asking

    def fetch(self, url: str, *options: str) -> str:
        """The page, once there is one."""
        return eventually(lambda: _curl(url, *options), seconds=60, every=0.2, what=f"{url} is served")

    def talk(self, address: str, port: int, *lines: str) -> str:
        """Sends lines over TCP, the last of which ends the conversation; returns all that comes back."""
        with closing(socket.create_connection((address, port), timeout=20 * PATIENCE)) as connection:
            connection.sendall("".join(f"{line}\r\n" for line in lines).encode())
            answer = b""
            while more := connection.recv(65536):
                answer += more
        return answer.decode(errors="replace")

    def ask(self, image: str, *command: str) -> str:
        """What a program of an image prints, in a pod of its own."""
        name = f"ask-{self.name}-{next(self._numbers)}"
        self.nsrun.apply(f"{name}.yaml", _ASK.format(name=name, image=image, command=list(command)))
        eventually(lambda: self.status(name).get("phase") in ("Succeeded", "Failed"), seconds=90, what=f"{name} ended")
        answer, phase = self.logs(name), self.status(name)["phase"]
        (self.nsrun.manifests / f"{name}.yaml").unlink()
        assert phase == "Succeeded", f"{command}: {answer}"
        return answer


def _curl(url: str, *options: str) -> str:
    argv = ["curl", "-s", "-f", "-m", str(int(20 * PATIENCE)), *options, url]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout
