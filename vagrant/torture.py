"""Pulling the machine's plug while pods start, images are read in and manifests are written; then asking what is left.

QEMU is killed, which a disk with a write-back cache takes as a power cut: what was synced is there, the rest may be.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from vagrant.image import REPO
from vagrant.machine import Machine

__all__ = ["torture"]

PODS = 5
_READY_SECONDS = 420.0

# What runs while the plug is pulled: pods come and go, and the images are read in again and again.
_LOAD = """
while true; do
    for n in 1 2 3; do
        sed "s/NAME/passing-$n/; s/SLEEP/1000/" /root/pod.yaml > /root/manifests/.new
        mv /root/manifests/.new /root/manifests/passing-$n.yaml
    done
    nsrun load {repo}/build/images
    rm -f /root/manifests/passing-*.yaml
    nsrun rmi nginx
done >/dev/null 2>&1 &
"""

_POD = """apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: busybox
    imagePullPolicy: IfNotPresent
    command: [/bin/sleep, "SLEEP"]
"""

_PREPARE = f"""
set -e
mkdir -p /root/manifests
cat > /root/pod.yaml <<'END'
{_POD}END
for n in $(seq {PODS}); do sed "s/NAME/stays-$n/; s/SLEEP/1000000/" /root/pod.yaml > /root/manifests/stays-$n.yaml; done
sync
"""

_START = (
    *("systemd-run", "--quiet", "--unit=pods", "--property=KillMode=process"),
    *(f"{REPO}/.venv/bin/nsrun", "--manifests", "/root/manifests"),
)


def torture(boot: Callable[[Path], Machine], times: int, say: Callable[[str], None]) -> int:
    """Returns 0 when every pod was back after every cut, no address was given twice and the store was valid.
    ``boot`` starts a machine whose disks are in a directory."""
    dice = random.Random(times)
    with tempfile.TemporaryDirectory(prefix="torture-", dir=REPO / "build/vm") as path:
        directory = Path(path)
        for cut in range(times + 1):
            started = time.monotonic()
            with boot(directory) as machine:
                machine.answer()
                machine.plug_tree(directory / "tree.raw")
                if cut == 0:
                    machine.check("sh", "-c", _PREPARE)
                machine.check(*_START)
                _examine(machine)
                say(f"cut {cut} of {times}: all is well after {time.monotonic() - started:.0f} s")
                if cut < times:
                    machine.check("sh", "-c", _LOAD.format(repo=REPO))
                    machine.check("sleep", f"{dice.uniform(0.5, 12):.2f}")
                    machine.kill()
    return 0


def _examine(machine: Machine) -> None:
    """Raises AssertionError."""
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        found = json.loads(machine.check("sh", "-c", "nsrun pods -o json || echo '{\"items\": []}'"))["items"]
        ready = {pod["metadata"]["name"]: pod["status"].get("podIP") for pod in found if _is_ready(pod)}
        stays = {f"stays-{n}" for n in range(1, PODS + 1)}
        if stays <= ready.keys():
            break
        assert time.monotonic() < deadline, f"not back: {sorted(stays - ready.keys())}"
    addresses = [pod["status"]["podIP"] for pod in found if pod["status"].get("podIP")]
    assert len(addresses) == len(set(addresses)), f"an address was given twice: {sorted(addresses)}"
    _examine_store(machine)


def _examine_store(machine: Machine) -> None:
    """An OCI image layout whose every blob is what its name says."""
    script = 'cd /var/lib/nsrun/images/blobs/sha256 && for f in *; do echo "$f  $f"; done | sha256sum -c --quiet 2>&1'
    machine.check("sh", "-c", script)
    assert "busybox" in machine.check("nsrun", "images")


def _is_ready(pod: dict[str, dict[str, list[dict[str, str]]]]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions") or [])
