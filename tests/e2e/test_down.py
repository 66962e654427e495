"""``nsrun down``, and what is said of pods on their way out."""

from __future__ import annotations

import signal
import subprocess

import pytest

from tests.e2e.manifests import shell_pod
from tests.e2e.nsrunner import Nsrun
from tests.waiting import PATIENCE, eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

DEAF = 'trap "" TERM; while true; do sleep 1; done'


def test_down_takes_the_grace_it_is_given(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("deaf.yaml", shell_pod("deaf", DEAF, grace=300))
    loaded.ready("deaf")
    loaded.cli("down", "--time", "1")
    assert loaded.remains_of_all() == []
    assert loaded.process is not None
    assert loaded.process.wait(10 * PATIENCE) == 0
    assert "everything is removed" in loaded.said()


def test_down_without_a_daemon_takes_the_grace_it_is_given(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("deaf.yaml", shell_pod("deaf", DEAF, grace=300))
    loaded.ready("deaf")
    loaded.kill()
    loaded.cli("down", "-t", "0")
    assert loaded.remains_of_all() == []


def test_a_second_down_may_be_less_patient(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("deaf.yaml", shell_pod("deaf", DEAF, grace=300))
    loaded.ready("deaf")
    with subprocess.Popen(loaded.command("down"), env=loaded.environ(), stderr=subprocess.PIPE) as first:
        eventually(lambda: "Killing" in loaded.said())
        assert "Terminating" in loaded.cli("pods").stdout
        loaded.cli("down", "--time", "0")
        assert first.wait(20 * PATIENCE) == 0


def test_an_interrupted_down_does_not_say_that_all_is_removed(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("deaf.yaml", shell_pod("deaf", DEAF, grace=300))
    loaded.ready("deaf")
    with subprocess.Popen(loaded.command("down"), env=loaded.environ(), stderr=subprocess.PIPE) as down:
        eventually(lambda: "Killing" in loaded.said())
        assert loaded.terminate(signal.SIGINT) == 0
        assert down.wait(20 * PATIENCE) == 1
    assert "everything is removed" not in loaded.said()
    assert "1 pod keeps running" in loaded.said()
    loaded.cli("down", "--time", "0")


def test_what_is_withheld_is_said_once_and_a_removal_is_told(loaded: Nsrun) -> None:
    loaded.start()
    for name in "ab":
        loaded.apply(f"{name}.yaml", shell_pod(name, "sleep 1000"))
        loaded.ready(name)
    (loaded.manifests / "a.yaml").unlink()
    loaded.gone("a")
    said = loaded.said()
    assert 'Pod "default/a": Removed: Everything of the pod is gone, ' in said
    assert "HostLimitation" not in said
    assert said.count("no CAP_SYS_RESOURCE: ") <= 1


ORDERLY = """\
apiVersion: v1
kind: Pod
metadata: {{name: orderly}}
spec:
  terminationGracePeriodSeconds: 20
  initContainers:
  - name: sidecar
    image: busybox
    imagePullPolicy: IfNotPresent
    restartPolicy: Always
    command: [/bin/sh, -c, 'trap "echo sidecar >> /said/lines; exit 0" TERM; while true; do sleep 0.1; done']
    volumeMounts: [{{name: said, mountPath: /said}}]
  containers:
  - name: main
    image: busybox
    imagePullPolicy: IfNotPresent
    command: [/bin/sh, -c, 'trap "echo main >> /said/lines; exit 0" TERM; while true; do sleep 0.1; done']
    lifecycle: {{preStop: {{exec: {{command: [/bin/sh, -c, 'echo hook >> /said/lines']}}}}}}
    volumeMounts: [{{name: said, mountPath: /said}}]
  volumes:
  - name: said
    hostPath: {{path: {said}, type: DirectoryOrCreate}}
"""


@pytest.mark.parametrize("daemon", [True, False], ids=["with a daemon", "without a daemon"])
def test_down_is_as_orderly_as_the_end_of_one_pod(loaded: Nsrun, *, daemon: bool) -> None:
    """Hooks first, then the containers, sidecars last: whoever takes it down."""
    loaded.start()
    said = loaded.base / "said"
    loaded.apply("orderly.yaml", ORDERLY.format(said=said))
    loaded.ready("orderly")
    if not daemon:
        loaded.kill()
    loaded.cli("down")
    assert (said / "lines").read_text().split() == ["hook", "main", "sidecar"]
    assert loaded.remains_of_all() == []
