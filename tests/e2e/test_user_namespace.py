"""hostUsers: false, from the manifest to the process: with its network, its volumes, and after a crash."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.lives import pod, shell, until
from tests.e2e.nsrunner import Nsrun
from tests.e2e.security import output_of
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]


def test_a_pod_with_users_of_its_own(loaded: Nsrun) -> None:
    loaded.start()
    script = """
    id -u; cat /proc/self/uid_map; stat -c %u /shared /etc/hosts /bin
    touch /shared/x && stat -c %u /shared/x
    ip -o addr show eth0 | grep -c "inet "
    """
    lines = output_of(loaded, "own", script, hostUsers=False).splitlines()
    assert lines[0] == "0"
    zero, first, count = lines[1].split()
    assert (zero, count) == ("0", "65536")
    assert int(first) >= 1 << 30
    assert lines[2:] == ["0", "0", "0", "0", "1"]


def test_its_network_is_its_own_to_configure(loaded: Nsrun) -> None:
    loaded.start()
    container = {"securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}}
    script = 'ip link set eth0 mtu 1300 && ip link show eth0 | grep -o "mtu 1300"'
    assert output_of(loaded, "own", script, container=container, hostUsers=False) == "mtu 1300\n"


def test_it_keeps_its_ids_and_gives_them_back(loaded: Nsrun) -> None:
    book = loaded.run_dir / "userns"
    loaded.start()
    script = "cat /proc/self/uid_map; exec sleep 1000"
    manifest = pod("own", shell("main", script, livenessProbe={"exec": {"command": ["id", "-u"]}}), hostUsers=False)
    loaded.apply("own.json", manifest)
    loaded.ready("own")
    [held] = os.listdir(book)
    eventually(lambda: loaded.cli("logs", "own").stdout.split()[1:2] == [held])
    loaded.kill()
    loaded.start()
    loaded.ready("own")
    assert os.listdir(book) == [held]
    [(pid, _)] = loaded.processes("pause")
    assert Path(f"/proc/{pid}/uid_map").read_text().split() == ["0", held, "65536"]
    os.kill(pid, 9)  # a new sandbox: the same ids
    until(loaded, "own", lambda seen: any(s["restartCount"] == 1 for s in seen["status"]["containerStatuses"]))
    assert os.listdir(book) == [held]
    (loaded.manifests / "own.json").unlink()
    loaded.gone("own")
    eventually(lambda: os.listdir(book) == [], what="its ids are free")


def test_a_probe_runs_as_the_containers_user(loaded: Nsrun) -> None:
    """A readiness probe by exec joins the user namespace, too."""
    check = {"exec": {"command": ["/bin/sh", "-c", "id -u > /shared/probe; cat /proc/self/uid_map >> /shared/probe"]}}
    script = "until [ -s /shared/probe ]; do sleep 0.02; done; cat /shared/probe"
    container = {"readinessProbe": {**check, "periodSeconds": 1}}
    lines = output_of(loaded_and_started(loaded), "own", script, container=container, hostUsers=False).splitlines()
    assert lines[0] == "0"
    assert lines[1].split()[2] == "65536"


def loaded_and_started(nsrun: Nsrun) -> Nsrun:
    nsrun.start()
    return nsrun
