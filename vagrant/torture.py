"""Pulling the machine's plug while images are pulled, read in and removed, pods start and end and manifests are
written; then asking what is left.

QEMU is killed, which a disk with a write-back cache takes as a power cut: what was synced is there, the rest may be.
Each time: the store is looked at before nsrun touches it, then the pods must come back, and what has gone must leave
nothing behind (``examine.py``).
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vagrant.image import REPO
from vagrant.machine import Machine

__all__ = ["torture"]

PODS = 5
REGISTRY = "127.0.0.1:5000"
CONSOLE = "console.log"

_READY_SECONDS = 240.0
# What the cuts come in the middle of, one after the other, and how long after its beginning.
_PHASES = ("pulls", "loads", "removes")
_PHASE_SECONDS = (0.2, 8.0)

# What runs while the plug is pulled. The console, which is a file on the host, tells how far it came.
_LOAD = """
cd /root
say() {{ echo "load: $*" > /dev/ttyS0; }}
while true; do
    say pods come
    fill passing-1 {registry}/nginx Always
    fill passing-2 {registry}/busybox Always
    fill passing-3 nginx IfNotPresent
    sleep 3
    say pods go; rm -f manifests/passing-*.yaml
done &
while true; do
    say removes; nsrun rmi {registry}/nginx nginx
    say pulls; nsrun pull {registry}/nginx
    say loads; nsrun load {repo}/build/images
done &
"""

_POD = """apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: IMAGE
    imagePullPolicy: POLICY
    COMMAND
"""

# busybox's own command ends at once; nginx's does not.
_FILL = """
fill() {
    command=; case $2 in *busybox) command='command: [/bin/sleep, "1000000"]' ;; esac
    sed "s/NAME/$1/; s|IMAGE|$2|; s/POLICY/$3/; s|COMMAND|$command|" /root/pod.yaml > /root/manifests/.new
    mv /root/manifests/.new "/root/manifests/$1.yaml"
}
"""

# Debian's registry, filled once and on the disk before anything is cut; on loopback, without TLS.
_PREPARE = """
set -e
mkdir -p /root/manifests /root/registry /etc/containers
cat > /root/pod.yaml <<'END'
{pod}END
cat > /root/registry.yml <<'END'
{{"version": "0.1", "log": {{"level": "warn"}}, "http": {{"addr": "{registry}"}},
 "storage": {{"filesystem": {{"rootdirectory": "/root/registry"}}}}}}
END
printf '[[registry]]\\nlocation = "{registry}"\\ninsecure = true\\n' > /etc/containers/registries.conf
n=0
for image in busybox busybox busybox {registry}/busybox {registry}/nginx; do
    n=$((n+1)); policy=IfNotPresent
    case $image in *:*) policy=Always ;; esac
    fill stays-$n $image $policy
done
"""

_SERVE = (
    f"systemd-run --quiet --unit=registry docker-registry serve /root/registry.yml; "
    f"until nc -z {REGISTRY.replace(':', ' ')}; do sleep 0.2; done"
)

_PUSH = """
set -e
for name in busybox nginx; do
    from=oci:{repo}/build/images:docker.io/library/$name:latest
    skopeo copy --quiet --dest-tls-verify=false $from docker://{registry}/$name:latest
done
sync
"""

_START = (
    *("systemd-run", "--quiet", "--unit=pods", "--property=KillMode=process"),
    *(f"{REPO}/.venv/bin/nsrun", "--manifests", "/root/manifests"),
)

# Every second: the client would keep an emulated processor busy.
_PODS = """sleep 1; curl -sf --unix-socket /run/nsrun/nsrun.sock http://nsrun/pods || echo '{"items": []}'"""


def torture(boot: Callable[[Path], Machine], times: int, say: Callable[[str], None]) -> int:
    """Returns 0 when, after every cut, every pod was back, no address was given twice, the store was valid and nothing
    was left of pods that had gone; raises AssertionError or MachineError otherwise. ``boot`` starts a machine whose
    disks are in a directory."""
    dice = random.Random(times)
    with tempfile.TemporaryDirectory(prefix="torture-", dir=REPO / "build/vm") as path:
        directory = Path(path)
        for cut in range(times + 1):
            started = time.monotonic()
            with boot(directory) as machine:
                machine.answer()
                machine.plug_tree(directory / "tree.raw")
                _look(machine, "store")
                if cut == 0:
                    machine.check("sh", "-c", _FILL + _PREPARE.format(pod=_POD, registry=REGISTRY))
                machine.check("sh", "-c", _SERVE)
                if cut == 0:
                    machine.check("sh", "-c", _PUSH.format(repo=REPO, registry=REGISTRY))
                machine.check(*_START)
                _examine(machine)
                say(f"cut {cut} of {times}: all is well after {time.monotonic() - started:.0f} s")
                if cut < times:
                    machine.check("sh", "-c", f"{_FILL}({_LOAD.format(repo=REPO, registry=REGISTRY)}) >/dev/null 2>&1")
                    _wait_for(_PHASES[cut % len(_PHASES)], directory / CONSOLE)
                    time.sleep(dice.uniform(*_PHASE_SECONDS))
                    machine.kill()
                    say(f"cut {cut + 1} of {times}, while: {_doing(directory / CONSOLE)}")
    return 0


def _wait_for(phase: str, console: Path) -> None:
    """Returns when the load has come to it: how long that takes depends on the machine and on what else it does."""
    deadline = time.monotonic() + _READY_SECONDS
    while phase not in _said(console):
        assert time.monotonic() < deadline, f"the load never came to it: {phase}; it said {_said(console)}"
        time.sleep(0.1)


def _said(console: Path) -> list[str]:
    """The steps that the load has begun."""
    steps = (line.partition("load: ")[2].strip() for line in console.read_text(errors="replace").splitlines())
    return [step for step in steps if step]


def _doing(console: Path) -> str:
    """What the two loops of the load had said last."""
    said = _said(console)
    pods = [word for word in said if word.startswith("pods")]
    images = [word for word in said if not word.startswith("pods")]
    return f"{(pods or ['no pods yet'])[-1]}, nsrun {(images or ['does nothing yet'])[-1]}, after {len(said)} steps"


def _examine(machine: Machine) -> None:
    """Raises AssertionError, MachineError."""
    stays = {f"stays-{n}" for n in range(1, PODS + 1)}
    found = _wait(machine, lambda pods: stays <= {name for name, pod in pods.items() if _is_ready(pod)}, "not back")
    addresses = [pod["status"]["podIP"] for pod in found.values() if pod["status"].get("podIP")]
    assert len(addresses) == len(set(addresses)), f"an address was given twice: {sorted(addresses)}"
    machine.check("sh", "-c", "rm -f /root/manifests/passing-*.yaml")
    found = _wait(machine, lambda pods: pods.keys() == stays, "not gone")
    _look(machine, "pods", *(str(pod["metadata"]["uid"]) for pod in found.values()))
    _look(machine, "store")
    assert "busybox" in machine.check("nsrun", "images")


Pods = Mapping[str, dict[str, Any]]


def _wait(machine: Machine, condition: Callable[[Pods], bool], what: str) -> Pods:
    """The pods by name, once they are as they should be."""
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        listed = json.loads(machine.check("sh", "-c", _PODS))["items"] or []
        pods = {str(pod["metadata"]["name"]): pod for pod in listed}
        if condition(pods):
            return pods
        told = {name: pod["status"].get("containerStatuses") for name, pod in pods.items()}
        assert time.monotonic() < deadline, f"{what}: {json.dumps(told)}"


def _look(machine: Machine, *words: str) -> None:
    """Raises MachineError with what ``examine.py`` found wrong."""
    machine.check("/usr/bin/python3", "-I", "vagrant/examine.py", *words)


def _is_ready(pod: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions") or [])
