"""nsrun as an ordinary user starts it, and all that he may ask of it: what ``sudo`` would give."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.rootless.conftest import Account
from tests.waiting import PATIENCE, eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

WEB = """\
apiVersion: v1
kind: Pod
metadata: {{name: web}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: nginx
    image: docker.io/library/nginx:latest
    imagePullPolicy: IfNotPresent
    ports: [{{containerPort: 80, hostPort: {port}}}]
    volumeMounts: [{{name: logs, mountPath: /var/log/nginx}}]
  - name: log-truncator
    image: docker.io/library/busybox:latest
    imagePullPolicy: IfNotPresent
    command: [/bin/sh, -c, 'while true; do date; sleep 1; done']
    volumeMounts: [{{name: logs, mountPath: /logdir}}]
  volumes: [{{name: logs, emptyDir: {{}}}}]
"""


class Front:
    """One user's nsrun, with nothing told to it but where its manifests are and which ports are still free."""

    def __init__(self, account: Account, images: Path, *, port: int) -> None:
        self.account, self.port = account, port
        self.manifests = account.home / "manifests"
        self.manifests.mkdir()
        self.environment = {"NSRUN_READ_ONLY_PORT": str(port + 1), "NSRUN_PORT": str(port + 2)}
        self.daemon: subprocess.Popen[str] | None = None
        self.nsrun("load", str(images))

    def nsrun(self, *words: str, input: str | None = None) -> str:
        done = self.account.run("nsrun", *words, environment=self.environment, input=input)
        assert done.returncode == 0, f"nsrun {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self) -> None:
        self.daemon = self.account.start("nsrun", "--manifests", str(self.manifests), environment=self.environment)
        eventually(self._answers, seconds=60, what="nsrun answers")

    def _answers(self) -> bool:
        assert self.daemon is not None
        if self.daemon.poll() is not None:
            raise AssertionError(f"nsrun ended with {self.daemon.returncode}: {self.daemon.communicate()[0]}")
        return self.pods() is not None

    def apply(self) -> None:
        """The demo, with a port of the host of this user's own."""
        temporary = self.manifests / ".web"
        temporary.write_text(WEB.format(port=self.port))
        temporary.rename(self.manifests / "web.yaml")

    def pods(self) -> list[dict[str, Any]] | None:
        """By the port for readers."""
        text = _fetched(self.port + 1, "pods")
        return None if text is None else list(json.loads(text)["items"] or [])

    def ready(self) -> dict[str, Any]:
        """The pod ``web``, once it is."""

        def found() -> dict[str, Any] | None:
            for pod in self.pods() or ():
                if "podIP" in pod["status"] and any(
                    c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions") or ()
                ):
                    return pod
            return None

        return eventually(found, seconds=60, every=0.05, what="web is ready") or {}

    def greets(self) -> bool:
        return b"nginx" in (_fetched(self.port) or b"")

    def end(self, number: int = signal.SIGKILL) -> int:
        """The daemon only."""
        assert self.daemon is not None
        self.daemon.send_signal(number)
        self.daemon.communicate(timeout=60 * PATIENCE)
        return self.daemon.returncode


@contextlib.contextmanager
def another(uid: int) -> Iterator[Account]:
    own = Path(tempfile.mkdtemp(prefix="nsrun-user-", dir="/tmp"))
    own.chmod(0o755)
    account = Account(uid, own)
    try:
        yield account
    finally:
        account.close()
        shutil.rmtree(own)


@pytest.fixture
def front(account: Account, demo_images: Path) -> Front:
    """With the demo's pod, ready."""
    found = Front(account, demo_images, port=18080)
    found.apply()
    found.start()
    found.ready()
    return found


def test_the_demo_and_what_can_be_asked_of_it(front: Front) -> None:
    assert eventually(front.greets, what="nginx answers on the host's port")

    table = front.nsrun("pods").splitlines()
    assert table[1].split()[:4] == ["default", "web", "2/2", "Running"]
    assert eventually(lambda: front.nsrun("logs", "web", "-c", "log-truncator"))
    assert front.nsrun("exec", "web", "-c", "log-truncator", "--", "id", "-u") == "0\n"
    assert "web" in front.nsrun("top")
    assert json.loads(front.nsrun("inspect", "web"))

    (front.account.home / "told").write_text("by the user\n")
    os.chown(front.account.home / "told", front.account.uid, front.account.uid)
    front.nsrun("cp", "told", "web:/tmp/told", "-c", "log-truncator")
    assert front.nsrun("exec", "web", "-c", "log-truncator", "--", "cat", "/tmp/told") == "by the user\n"
    front.nsrun("cp", "web:/tmp/told", "back", "-c", "log-truncator")
    assert (front.account.home / "back").read_text() == "by the user\n"
    assert (front.account.home / "back").stat().st_uid == front.account.uid, "it is his own"


def test_a_port_is_forwarded(front: Front) -> None:
    forward = front.account.start("nsrun", "port-forward", "web", "18085:80", environment=front.environment)
    try:
        assert b"nginx" in eventually(lambda: _fetched(18085) or b"", what="it answers on the forwarded port")
    finally:
        forward.send_signal(signal.SIGINT)
        forward.communicate(timeout=60 * PATIENCE)


def test_pods_outlive_a_daemon_that_is_killed(front: Front) -> None:
    before = front.ready()
    assert eventually(front.greets)
    front.end()
    assert front.greets(), "nobody has to be there for it"

    front.start()
    after = front.ready()
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["podIP"] == before["status"]["podIP"]
    assert [c["restartCount"] for c in after["status"]["containerStatuses"]] == [0, 0]
    assert front.greets()


def test_ctrl_c_leaves_the_pods_and_down_leaves_nothing(front: Front) -> None:
    assert eventually(front.greets)
    assert front.end(signal.SIGINT) in (0, 130)
    assert front.greets()

    front.nsrun("down", "--time", "1")
    assert not front.greets()
    eventually(lambda: not front.account.processes(), what="every process of the user's has ended")


def test_users_and_root_side_by_side(front: Front, demo_images: Path, tmp_path: Path, cgroup_root: str) -> None:
    """Pods of the same name, each for himself: whose they are, nobody else sees or reaches by nsrun."""
    with another(front.account.uid + 1000) as other, roots_own(tmp_path, cgroup_root, demo_images) as root:
        second = Front(other, demo_images, port=18090)
        second.apply()
        second.start()
        theirs, mine = second.ready(), front.ready()
        assert eventually(second.greets)
        assert eventually(front.greets)
        assert eventually(root, what="root's own answers as well")

        assert theirs["metadata"]["uid"] != mine["metadata"]["uid"]
        second.nsrun("down", "--time", "1")
        assert not second.greets()
        assert front.greets()
        assert root()


@contextlib.contextmanager
def roots_own(base: Path, cgroup_root: str, images: Path) -> Iterator[Any]:
    """Root's nsrun with the same pod; gives what tells whether it answers."""
    manifests = base / "manifests"
    manifests.mkdir()
    (manifests / "web.yaml").write_text(WEB.format(port=18070))
    environment = {
        **os.environ,
        "NSRUN_ROOT": str(base / "root"),
        "NSRUN_RUN_DIR": str(base / "run"),
        "NSRUN_LOG_DIR": str(base / "log"),
        "NSRUN_CGROUP_ROOT": cgroup_root,
        "NSRUN_READ_ONLY_PORT": "18071",
        "NSRUN_PORT": "18072",
    }
    nsrun = [sys.executable, "-m", "nsrun"]
    subprocess.run([*nsrun, "load", str(images)], env=environment, check=True, capture_output=True)
    with (base / "out").open("w") as output:
        daemon = subprocess.Popen(
            [*nsrun, "--manifests", str(manifests)], env=environment, stdout=output, stderr=output
        )
    try:
        yield lambda: b"nginx" in (_fetched(18070) or b"")
    finally:
        subprocess.run([*nsrun, "down", "--time", "0"], env=environment, check=True, capture_output=True)
        daemon.wait(60 * PATIENCE)


def _fetched(port: int, path: str = "") -> bytes | None:
    with (
        contextlib.suppress(OSError),
        urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=20 * PATIENCE) as answer,
    ):
        return bytes(answer.read())
    return None
