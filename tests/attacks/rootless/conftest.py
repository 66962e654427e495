"""The scene: an ordinary user with secrets, his nsrun, and a program for containers that lays hands on them."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.rootless.conftest import Account
from tests.waiting import PATIENCE, eventually

HERE = Path(__file__).parent
KEY, ABSTRACT = "nsrun-attacked", "nsrun-attacked"
MARK = "attacked-by-containers"  # in the victim's command line


def landlock() -> int:
    """The version of what landlock(7) can do here; processes are put out of reach from 6 on, Linux 6.12."""
    create_ruleset, version = 444, 1
    return int(ctypes.CDLL(None).syscall(create_ruleset, None, ctypes.c_size_t(0), version))


@dataclass(frozen=True, kw_only=True)
class Victim:
    """A process of the user's, outside of his namespaces. ``address``: of a secret in its memory; ``key``: whether the
    kernel keeps keys."""

    pid: int
    address: str
    key: bool


class Scene:
    """``account``: the user, whose nsrun runs; ``tools``: where the intruder is."""

    def __init__(self, account: Account, images: Path) -> None:
        self.account = account
        self.base = account.home / MARK
        self.manifests = self.base / "manifests"
        for path in (self.base, self.manifests, self.tools):
            path.mkdir()
        cc = os.environ.get("CC", "cc")
        subprocess.run([cc, "-O2", "-static", "-o", self.intruder, HERE / "intruder.c"], check=True)
        for path in (self.base, self.manifests):
            os.chown(path, account.uid, account.uid)
        words = [sys.executable, str(HERE / "victim.py"), str(self.base), KEY, ABSTRACT]
        self._victim = subprocess.Popen(
            account.command(*words),
            env={**account.environment, "SECRET": "in its environment"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._victim.stdout is not None
        self.victim = Victim(**json.loads(self._victim.stdout.readline()))
        self.nsrun("load", str(images))
        self._daemon = account.start("nsrun", "--manifests", str(self.manifests))
        eventually(self._pods, seconds=60, what="nsrun answers")

    @property
    def tools(self) -> Path:
        return self.base / "tools"

    @property
    def intruder(self) -> Path:
        return self.tools / "intruder"

    @property
    def supervisor(self) -> int:
        return self._daemon.pid

    @property
    def holder(self) -> int:
        return int(self.account.seen(self.account.run_dir / "holder").read_text().split()[0])

    def nsrun(self, *words: str) -> str:
        """What the command writes. Fails when it does."""
        done = self.account.run("nsrun", *words)
        assert done.returncode == 0, f"nsrun {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def outside(self, *words: str) -> dict[str, str]:
        """What the user's own process gets at: the control."""
        return ways(self.account.run(str(self.intruder), *words).stdout)

    def inside(self, *words: str) -> dict[str, str]:
        """What a process of the user's namespaces gets at that is no container's: the other control."""
        return ways(self.nsrun("unshare", "--", str(self.intruder), *words))

    def attack(self, *words: str, script: str = "", privileged: bool = False, **spec: Any) -> dict[str, str]:
        """What the intruder gets at as root of a container. ``script``: instead of it; ``spec``: of the pod."""
        security = {"runAsUser": 0, "privileged": True} if privileged else {"runAsUser": 0}
        command = ["/bin/sh", "-c", script] if script else ["/tools/intruder", *words]
        name = "attacker"
        self._apply(name, command, security, spec)
        try:
            eventually(lambda: self._phase(name) in ("Succeeded", "Failed"), seconds=60, every=0.05, what="it ended")
            written = self.nsrun("logs", name)
            assert self._phase(name) == "Succeeded", f"{written}\n{self.nsrun('inspect', name)}"
            return ways(written)
        finally:
            (self.manifests / f"{name}.json").unlink()
            eventually(lambda: not self._phase(name), seconds=60, every=0.05, what="it is gone")

    def refused(self, **spec: Any) -> str:
        """Why a pod does not start."""
        self._apply("refused", ["true"], {}, spec)
        try:
            return eventually(lambda: self._reason("refused"), seconds=60, what="it does not start")
        finally:
            (self.manifests / "refused.json").unlink()
            eventually(lambda: not self._phase("refused"), seconds=60, what="it is gone")

    @property
    def signalled(self) -> Path:
        """There when the victim was."""
        return self.base / "signalled"

    def close(self) -> None:
        self.account.run("nsrun", "down", "--time", "0")
        self._daemon.communicate(timeout=60 * PATIENCE)
        self._victim.communicate(timeout=60 * PATIENCE)

    def _apply(self, name: str, command: list[str], security: Mapping[str, object], spec: Mapping[str, Any]) -> None:
        container = {
            "name": "main",
            "image": "busybox",
            "imagePullPolicy": "IfNotPresent",
            "command": command,
            "securityContext": security,
            "volumeMounts": [{"name": "tools", "mountPath": "/tools", "readOnly": True}],
        }
        volumes = [{"name": "tools", "hostPath": {"path": str(self.tools)}}]
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {"restartPolicy": "Never", "containers": [container], "volumes": volumes, **spec},
        }
        temporary = self.manifests / f".{name}"
        temporary.write_text(json.dumps(pod))
        temporary.rename(self.manifests / f"{name}.json")

    def _phase(self, name: str) -> str:
        return str(self._status(name).get("phase", ""))

    def _reason(self, name: str) -> str:
        """What is told of a container that could not be started, in whichever state it is at the moment."""
        containers = self._status(name).get("containerStatuses") or []
        states = [state for found in containers for state in (found["state"], found.get("lastState") or {})]
        told = [str(told["message"]) for state in states for told in state.values() if told.get("message")]
        return told[0] if told else ""

    def _status(self, name: str) -> dict[str, Any]:
        found = self._pods()
        assert found is not None
        return next((dict(pod["status"]) for pod in found["items"] or () if pod["metadata"]["name"] == name), {})

    def _pods(self) -> dict[str, Any] | None:
        """By the port for readers: root of the machine is nobody to the user's socket."""
        try:
            with urllib.request.urlopen("http://127.0.0.1:10255/pods", timeout=20 * PATIENCE) as response:
                return dict(json.load(response))
        except OSError:
            return None


def ways(written: str) -> dict[str, str]:
    """``<way> <result>`` a line."""
    return dict(line.split(" ", 1) for line in written.splitlines() if " " in line)


@pytest.fixture(scope="module")
def scene(demo_images: Path) -> Iterator[Scene]:
    """One for all attacks of a module: whoever gets through to it has broken it for the others, too."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    own = Path(tempfile.mkdtemp(prefix="nsrun-user-", dir="/tmp"))
    own.chmod(0o755)
    account = None
    try:
        account = Account(61000 + os.getpid() % 1000, own)
        found = Scene(account, demo_images)
        yield found
        found.close()
    finally:
        if account is not None:
            account.close()
        shutil.rmtree(own)
