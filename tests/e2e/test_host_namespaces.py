"""Namespaces of the host, and one process namespace for a pod, from the manifest to the process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.lives import pod, shell
from tests.e2e.nsrunner import Nsrun
from tests.e2e.security import output_of
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

NAMESPACES = "for n in net uts ipc pid; do readlink /proc/self/ns/$n; done"


def test_namespaces_of_the_host(loaded: Nsrun) -> None:
    loaded.start()
    own = [os.readlink(f"/proc/self/ns/{kind}") for kind in ("net", "uts", "ipc", "pid")]
    found = output_of(loaded, "all", NAMESPACES, hostNetwork=True, hostIPC=True, hostPID=True).split()
    assert found == own
    found = output_of(loaded, "none", NAMESPACES).split()
    assert not set(found) & set(own)
    found = output_of(loaded, "network", f"{NAMESPACES}; hostname", hostNetwork=True).split()
    assert found[:2] == own[:2]
    assert not set(found[2:4]) & set(own)
    assert found[4] == os.uname().nodename


def test_host_names(loaded: Nsrun) -> None:
    loaded.start()
    script = "hostname; cat /etc/hostname; echo $HOSTNAME"
    found = output_of(loaded, "named", script, hostname="web")
    assert found.split() == ["web"] * 3
    found = output_of(loaded, "full", script, hostname="web", subdomain="sub", setHostnameAsFQDN=True)
    assert found.split() == ["web.sub.default.svc.cluster.local"] * 3


def test_one_process_namespace(loaded: Nsrun) -> None:
    """And a container that ends, or is killed, takes with it what it started, and nothing else."""
    tree = "setsid sh -c 'trap \"\" TERM; touch /shared/up; while :; do sleep 1000; done' & "
    tree += "until [ -e /shared/up ]; do sleep 0.02; done; "
    script = "cat /proc/1/comm; until [ -e /shared/end ]; do sleep 0.02; done; exit 3"
    loaded.start()
    loaded.apply(
        "shared.json",
        pod(
            "shared",
            shell("main", tree + script),
            shell("other", "exec sleep 1000"),
            shareProcessNamespace=True,
            restartPolicy="Never",
        ),
    )
    loaded.ready("shared")
    eventually(lambda: loaded.cli("logs", "shared", "-c", "main", check=False).stdout == "pause\n")
    assert len(loaded.processes("sh", "setsid", "/bin/sh")) >= 2
    [directory] = list((loaded.root / "pods").iterdir())
    (directory / "volumes" / "kubernetes.io~empty-dir" / "shared" / "end").touch()
    eventually(lambda: not loaded.processes("sh", "setsid", "/bin/sh"), what="its processes have ended")
    eventually(
        lambda: [name for _, name in loaded.processes("sleep")] == ["sleep"], what="the other container's alone is left"
    )


def test_a_host_network_leaves_the_hosts_settings_alone(loaded: Nsrun) -> None:
    before = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()
    loaded.start()
    found = output_of(loaded, "settings", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start", hostNetwork=True)
    assert found == before == Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()
