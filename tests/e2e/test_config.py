"""ConfigMaps and Secrets beside pods: mounted, waited for, and changed under a process that reads them."""

from __future__ import annotations

import subprocess
import time
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.nsrunner import Nsrun
from tests.waiting import PATIENCE, eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

CONFIG = """\
apiVersion: v1
kind: ConfigMap
metadata: {{name: settings}}
data:
  colour: {colour}
  nested.conf: |
    colour = {colour}
binaryData: {{bytes: /wA=}}
"""

SECRET = """\
apiVersion: v1
kind: Secret
metadata: {{name: key}}
stringData: {{token: {token}}}
"""

POD = """\
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: busybox
    imagePullPolicy: IfNotPresent
    command: [/bin/sh, -c]
    args:
    - |
      before=
      while :; do
        now="$(for file in /settings/colour /both/token /both/etc/colour /part; do cat $file; echo; done)"
        [ "$now" = "$before" ] || echo $now
        before="$now"
        sleep 0.01
      done
    volumeMounts:
    - {name: settings, mountPath: /settings}
    - {name: both, mountPath: /both}
    - {name: settings, mountPath: /part, subPath: colour}
  volumes:
  - {name: settings, configMap: {name: settings}}
  - name: both
    projected:
      sources:
      - {secret: {name: key, items: [{key: token, path: token, mode: 0400}]}}
      - {configMap: {name: settings, items: [{key: colour, path: etc/colour}]}}
"""


def lines(nsrun: Nsrun) -> list[str]:
    return nsrun.cli("logs", "reader", check=False).stdout.splitlines()


def has_read(nsrun: Nsrun, text: str) -> bool:
    """In the file itself: a program that starts for every look is slower than what is measured."""
    return text in next(nsrun.log_dir.glob("pods/*_reader_*/main/0.log")).read_text()


def test_a_pod_waits_for_its_objects_and_sees_them_change_within_a_second(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("reader.yaml", POD)
    eventually(lambda: 'configmap "settings" not found' in loaded.said(), what="the pod waits")
    loaded.apply("config.yaml", CONFIG.format(colour="red"))
    loaded.apply("secret.yaml", SECRET.format(token="one"))
    loaded.ready("reader")
    eventually(lambda: lines(loaded) == ["red one red red"])

    for name, text, expected in (
        ("config.yaml", CONFIG.format(colour="blue"), "blue one blue red"),
        ("secret.yaml", SECRET.format(token="two"), "blue two blue red"),
        ("config.yaml", CONFIG.format(colour="green"), "green two green red"),
    ):
        start = time.monotonic()
        loaded.apply(name, text)
        eventually(partial(has_read, loaded, expected), every=0.01, what=expected)
        assert time.monotonic() - start < 1.0 * PATIENCE

    # What the two volumes showed meanwhile was never more than one change old, and the mounted part never changed.
    seen = lines(loaded)
    assert all(line.endswith(" red") for line in seen), seen


def test_what_a_process_sees_of_them(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("config.yaml", CONFIG.format(colour="red"))
    loaded.apply("secret.yaml", SECRET.format(token="one"))
    loaded.apply("reader.yaml", POD)
    loaded.ready("reader")
    uid = loaded.pods()[0]["metadata"]["uid"]  # type: ignore[index]
    volumes = loaded.root / "pods" / str(uid) / "volumes"
    settings = volumes / "kubernetes.io~configmap" / "settings"
    assert sorted(path.name for path in settings.iterdir() if not path.name.startswith("..")) == [
        "bytes",
        "colour",
        "nested.conf",
    ]
    assert (settings / "bytes").read_bytes() == b"\xff\x00"
    assert (settings / "nested.conf").read_text() == "colour = red\n"
    mounts = Path("/proc/self/mountinfo").read_text()
    assert f" {volumes / 'kubernetes.io~projected' / 'both'} " in mounts
    found = subprocess.run(["grep", "-rl", "one", str(loaded.run_dir)], capture_output=True, text=True, check=False)
    assert "token" not in found.stdout


def test_an_object_that_goes_leaves_running_pods_alone(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("objects.yaml", f"{CONFIG.format(colour='red')}---\n{SECRET.format(token='one')}")
    loaded.apply("reader.yaml", POD)
    loaded.ready("reader")
    eventually(lambda: lines(loaded) == ["red one red red"])
    loaded.apply("objects.yaml", CONFIG.format(colour="blue"))
    eventually(lambda: "blue one red red" in lines(loaded), what="the volume without a secret follows, the other stays")
    loaded.kill()
    loaded.start()
    loaded.ready("reader")
    loaded.apply("secret.yaml", SECRET.format(token="two"))
    eventually(lambda: lines(loaded)[-1] == "blue two blue red")
