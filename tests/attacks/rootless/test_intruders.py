"""Attacks by containers that are root inside, on a machine where that root has the user's own id: at anything of the
user's outside of their volumes. Beside each stands what the same program gets at where nothing is in its way: it is not
for want of anything to get that the container gets nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.attacks.rootless.conftest import ABSTRACT, KEY, MARK, Scene, landlock
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

HAS_SCOPES = landlock() >= 6
needs_scopes = pytest.mark.skipif(not HAS_SCOPES, reason="no pod shares the host's processes before Linux 6.12")

# A pod that shares with the host what can be shared.
OPEN: dict[str, Any] = {"hostNetwork": True, "hostIPC": True} | ({"hostPID": True} if HAS_SCOPES else {})
OWN: dict[str, Any] = {}
TOGETHER: dict[str, Any] = {"shareProcessNamespace": True}
AMONG_OTHERS: dict[str, Any] = {"hostPID": True}
privileged = pytest.mark.parametrize("privileged", [False, True], ids=["root", "privileged"])


def taken(found: dict[str, str]) -> list[str]:
    """The ways that worked. Fails when nothing was tried."""
    assert found
    return [way for way, result in found.items() if result == "ok"]


# --- processes


@privileged
@pytest.mark.parametrize("spec", [OWN, TOGETHER], ids=["own", "together"])
def test_in_process_namespaces_of_pods_there_is_nobody_else(
    scene: Scene, spec: dict[str, Any], privileged: bool
) -> None:
    victim = scene.victim
    control = scene.outside("process", str(victim.pid), victim.address)
    assert taken(control) == list(control)
    assert scene.outside("see", MARK)["see"] != "0"

    assert scene.attack("see", MARK, privileged=privileged, **spec) == {"see": "0"}
    # Its number is nobody's there, or the attacker's own pod's.
    found = scene.attack("process", str(victim.pid), victim.address, privileged=privileged, **spec)
    assert set(found.values()) <= {"ESRCH", "ENOENT"}, found


@needs_scopes
@privileged
@pytest.mark.parametrize("spec", [AMONG_OTHERS, OPEN], ids=["hostPID", "all of the host's"])
def test_among_the_hosts_processes_the_users_are_closed(scene: Scene, spec: dict[str, Any], privileged: bool) -> None:
    victim = scene.victim
    assert scene.attack("see", MARK, privileged=privileged, **spec) != {"see": "0"}, "hostPID shows them"

    assert taken(scene.attack("process", str(victim.pid), victim.address, privileged=privileged, **spec)) == []


@needs_scopes
@privileged
@pytest.mark.parametrize("whose", ["supervisor", "holder"])
def test_among_the_hosts_processes_nsrun_itself_is_closed(scene: Scene, whose: str, privileged: bool) -> None:
    """They are in the attacker's own user namespace, where it may be as mighty as they are."""
    pid = str(getattr(scene, whose))
    assert "signal" in taken(scene.inside("process", pid, "1000"))

    assert taken(scene.attack("process", pid, "1000", privileged=privileged, **OPEN)) == []


@pytest.mark.skipif(HAS_SCOPES, reason="pods share the host's processes from Linux 6.12 on")
def test_where_nothing_keeps_them_apart_no_pod_is_among_the_hosts_processes(scene: Scene) -> None:
    assert "hostPID without root needs Linux 6.12" in scene.refused(**AMONG_OTHERS)


@privileged
def test_whoever_signals_everybody_reaches_nobody(scene: Scene, privileged: bool) -> None:
    script = "trap '' USR1; /tools/intruder everybody"
    scene.attack(script=script, privileged=privileged)
    scene.attack(script=script, privileged=privileged, **OPEN)
    assert not scene.signalled.exists()

    scene.account.run("kill", "-USR1", str(scene.victim.pid))
    eventually(scene.signalled.exists, what="the user himself reaches it")
    scene.signalled.unlink()


# --- what belongs to who has the id


@privileged
@pytest.mark.parametrize("spec", [OWN, OPEN], ids=["own", "all of the host's"])
def test_keys(scene: Scene, spec: dict[str, Any], privileged: bool) -> None:
    """Keyrings are told apart by ids (keyrings(7)), and a container's root has the user's."""
    if not scene.victim.key:
        pytest.skip("this kernel keeps no keys")
    assert {"user", "linked"} <= set(taken(scene.outside("key", KEY)))

    assert taken(scene.attack("key", KEY, privileged=privileged, **spec)) == []


@privileged
@pytest.mark.parametrize("spec", [OWN, {"hostNetwork": True}, OPEN], ids=["own", "hostNetwork", "all of the host's"])
def test_abstract_sockets(scene: Scene, spec: dict[str, Any], privileged: bool) -> None:
    """They belong to the network (unix(7)), and whoever listens knows his peer by its id. Before Linux 6.12 who shares
    the host's network reaches them."""
    assert taken(scene.outside("abstract", ABSTRACT)) == ["abstract"]

    reached = [] if HAS_SCOPES or "hostNetwork" not in spec else ["abstract"]
    assert taken(scene.attack("abstract", ABSTRACT, privileged=privileged, **spec)) == reached


# --- places


@privileged
@pytest.mark.parametrize("spec", [OWN, OPEN], ids=["own", "all of the host's"])
def test_places_of_the_users(scene: Scene, spec: dict[str, Any], privileged: bool) -> None:
    """His home, what he runs by, and nsrun's own sockets: by name, and through whoever can see them."""
    sockets = [scene.base / "agent.sock", scene.account.run_dir / "nsrun.sock"]
    assert taken(scene.outside("socket", str(sockets[0]))) == ["socket"]
    pids = " ".join(map(str, (scene.victim.pid, scene.supervisor, scene.holder)))
    places = " ".join(map(str, (scene.account.home, scene.account.runtime, scene.account.run_dir)))
    script = f"""
    for place in {places}; do [ -e $place ] && echo "$place ok"; done
    for pid in {pids}; do for place in {places}; do
        ls /proc/$pid/root$place >/dev/null 2>&1 && echo "/proc/$pid/root$place ok"
    done; done
    for socket in {" ".join(map(str, sockets))}; do /tools/intruder socket $socket; done
    """
    assert taken(scene.attack(script=script, privileged=privileged, **spec)) == []


@privileged
@pytest.mark.parametrize("whose", ["holder", "supervisor", "victim"])
def test_namespaces(scene: Scene, whose: str, privileged: bool) -> None:
    """The network of all pods, and the mounts of nsrun: from there everything of the user's can be had."""
    pid = str(scene.victim.pid if whose == "victim" else getattr(scene, whose))
    if whose == "holder":
        assert "network" in taken(scene.inside("namespace", pid))

    assert taken(scene.attack("namespace", pid, privileged=privileged, **OPEN)) == []
    if HAS_SCOPES:  # else process 1 is the container's own
        assert taken(scene.attack("namespace", "1", privileged=privileged, **OPEN)) == []
