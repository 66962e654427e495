"""A full machine turns pods away, in the kubelet's words, and takes them when there is room."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.e2e.nsrunner import Document, Nsrun, pod_named
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

POD = """\
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: {grace}
  {spec}
  containers:
  - name: main
    image: busybox
    imagePullPolicy: IfNotPresent
    command: [/bin/sh, -c, "{script}"]
    {container}
"""


def manifest(name: str, *, spec: str = "", container: str = "", script: str = "exec sleep 1000", grace: int = 1) -> str:
    return POD.format(name=name, spec=spec, container=container, script=script, grace=grace)


def asking(name: str, cpu: str) -> str:
    return manifest(name, container=f"resources: {{requests: {{cpu: {cpu}}}}}")


def status(nsrun: Nsrun, name: str) -> dict[str, Any]:
    found: Document | None = pod_named(nsrun.pods(), name)
    value = found["status"] if found is not None else {}
    assert isinstance(value, dict)
    return value


def rejected(nsrun: Nsrun, name: str) -> dict[str, Any]:
    """The status of a pod once it was turned away."""
    return eventually(lambda: found if (found := status(nsrun, name)).get("phase") == "Failed" else {}, what=name)


def test_processors(loaded: Nsrun) -> None:
    cores = len(os.sched_getaffinity(0))
    loaded.flags += ("--system-reserved", f"cpu={cores * 1000 - 500}m")
    loaded.start()
    loaded.apply("a.yaml", asking("first", "400m"))
    loaded.ready("first")
    loaded.apply("b.yaml", asking("second", "300m"))
    found = rejected(loaded, "second")
    assert found["reason"] == "OutOfcpu"
    assert found["message"] == (
        "Pod was rejected: Node didn't have enough resource: cpu, requested: 300, used: 400, capacity: 500"
    )
    shown = loaded.cli("pods").stdout
    assert "OutOfcpu" in shown
    (loaded.manifests / "a.yaml").unlink()
    loaded.ready("second")


def test_who_runs_is_not_asked_again_after_a_restart_with_less_room(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("a.yaml", asking("first", "200m"))
    before = loaded.ready("first")["status"]
    loaded.kill()
    loaded.flags += ("--system-reserved", "cpu=1000", "--max-pods", "1")
    loaded.start()
    after = loaded.ready("first")["status"]
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    assert after["containerStatuses"] == before["containerStatuses"]
    loaded.apply("b.yaml", asking("second", "1m"))
    assert rejected(loaded, "second")["reason"] == "OutOfpods"


def test_host_ports(loaded: Nsrun) -> None:
    loaded.start()
    port = "ports: [{containerPort: 80, hostPort: 18080}]"
    loaded.apply("a.yaml", manifest("first", container=port))
    loaded.ready("first")
    loaded.apply("b.yaml", manifest("second", container=port))
    found = rejected(loaded, "second")
    assert found["reason"] == "NodePorts"
    assert found["message"].endswith('*:18080/TCP belongs to pod "default/first"')
    (loaded.manifests / "a.yaml").unlink()
    loaded.ready("second")


def test_who_waits_for_a_pod_to_leave_is_pending(loaded: Nsrun) -> None:
    loaded.start()
    port = "ports: [{containerPort: 80, hostPort: 18080}]"
    stubborn = "trap : TERM; while :; do sleep 1; done"
    loaded.apply("a.yaml", manifest("first", container=port, script=stubborn, grace=4))
    loaded.ready("first")
    loaded.apply("b.yaml", manifest("second", container=port))
    rejected(loaded, "second")
    (loaded.manifests / "a.yaml").unlink()
    waiting = eventually(lambda: found if (found := status(loaded, "second")).get("phase") == "Pending" else {})
    assert "being stopped" in waiting["message"]
    loaded.ready("second")
    assert pod_named(loaded.pods(), "first") is None


def test_sysctls(loaded: Nsrun) -> None:
    loaded.flags += ("--allowed-unsafe-sysctls", "net.core.somaxconn")
    loaded.start()

    def with_sysctl(name: str, sysctl: str, value: str, more: str = "") -> str:
        context = f'securityContext: {{sysctls: [{{name: {sysctl}, value: "{value}"}}]}}'
        path = "/proc/sys/" + sysctl.replace(".", "/")
        return manifest(name, spec=f"{context}\n  {more}", script=f"cat {path}; exec sleep 1000")

    loaded.apply("unsafe.yaml", with_sysctl("unsafe", "kernel.msgmax", "4096"))
    loaded.apply("host.yaml", with_sysctl("host", "net.core.somaxconn", "77", "hostNetwork: true"))
    loaded.apply("allowed.yaml", with_sysctl("allowed", "net.core.somaxconn", "77"))
    found = rejected(loaded, "unsafe")
    assert found["reason"] == "SysctlForbidden"
    assert found["message"] == 'Pod was rejected: forbidden sysctl: "kernel.msgmax" not allowlisted'
    assert rejected(loaded, "host")["message"].endswith('"net.core.somaxconn" not allowed with host net enabled')
    loaded.ready("allowed")
    eventually(lambda: loaded.cli("logs", "allowed", check=False).stdout == "77\n")


def test_a_flag_that_makes_no_sense(nsrun: Nsrun) -> None:
    nsrun.manifests.mkdir()
    for flag, text in (("--cluster-dns", "here"), ("--system-reserved", "cpu"), ("--allowed-unsafe-sysctls", "vm.*")):
        done = nsrun.cli("--manifests", str(nsrun.manifests), flag, text, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith(f"nsrun: cannot use {flag}: ")
        assert "Traceback" not in done.stderr
