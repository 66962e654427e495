"""Pods in namespaces of the host, and pods whose containers share one process namespace."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from nsrun.model.pod import Pod
from tests.system.runtime.world import World, pod, shell, with_and_without_cgroups
from tests.waiting import eventually

pytestmark = pytest.mark.root

NAMESPACES = "for n in net ipc uts pid mnt cgroup; do readlink /proc/self/ns/$n; done"
KINDS = ("net", "ipc", "uts", "pid", "mnt", "cgroup")


def own() -> dict[str, str]:
    return {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in KINDS}


async def namespaces(world: World, **spec: object) -> dict[str, str]:
    """Of a container of a pod with these fields."""
    code, output = await world.run(NAMESPACES, spec=spec)
    assert code == 0
    return dict(zip(KINDS, output.split(), strict=True))


@pytest.mark.parametrize(
    ("spec", "shared"),
    [
        ({}, set()),
        ({"host_network": True}, {"net", "uts"}),  # the host name goes with the network
        ({"host_ipc": True}, {"ipc"}),
        ({"host_pid": True}, {"pid"}),
        ({"host_network": True, "host_ipc": True, "host_pid": True}, {"net", "uts", "ipc", "pid"}),
    ],
)
async def test_which_namespaces_are_the_hosts(world: World, spec: dict[str, Any], shared: set[str]) -> None:
    found, ours = await namespaces(world, **spec), own()
    assert {kind for kind in KINDS if found[kind] == ours[kind]} == shared


async def test_the_sandbox_holds_only_what_is_the_pods(world: World) -> None:
    one = pod(shell("main", "true"), host_network=True, host_ipc=True, host_pid=True)
    sandbox = await world.start_sandbox(one)
    ours = own()
    for kind in ("net", "uts", "ipc", "pid"):
        assert os.readlink(f"/proc/{sandbox.pause_pid}/ns/{kind}") == ours[kind]
    assert os.readlink(f"/proc/{sandbox.pause_pid}/ns/mnt") != ours["mnt"]


async def test_nothing_of_the_hosts_network_is_set(world: World) -> None:
    """What pause sets in a namespace of its own would be the host's here."""
    files = [Path("/proc/sys/net/ipv4") / name for name in ("ip_unprivileged_port_start", "ping_group_range")]
    before = [file.read_text() for file in (*files, Path("/proc/sys/kernel/hostname"))]
    code, output = await world.run("hostname; cat /etc/hostname; echo $HOSTNAME", spec={"host_network": True})
    assert (code, output.split()) == (0, [os.uname().nodename] * 3)
    assert [file.read_text() for file in (*files, Path("/proc/sys/kernel/hostname"))] == before


async def test_the_hosts_shared_memory(world: World) -> None:
    mark = Path(f"/dev/shm/nsrun-test-{os.getpid()}")
    mark.write_text("of the host\n")
    try:
        code, output = await world.run(f"cat {mark}", spec={"host_ipc": True})
        assert (code, output) == (0, "of the host\n")
        code, output = await world.run(f"cat {mark}")
        assert code != 0
    finally:
        mark.unlink()


async def test_the_hosts_message_queues(world: World) -> None:
    code, output = await world.run("stat -c %d /dev/mqueue", spec={"host_ipc": True})
    other, theirs = await world.run("stat -c %d /dev/mqueue")
    assert code == other == 0
    assert output != theirs


async def test_the_hosts_processes(world: World) -> None:
    code, output = await world.run(f"cat /proc/{os.getpid()}/comm", spec={"host_pid": True})
    assert (code, output) == (0, Path("/proc/self/comm").read_text())


# --- one process namespace for the pod


async def test_containers_share_processes_with_pause_as_the_first(world: World) -> None:
    script = """
    echo pid=$$; cat /proc/1/comm
    until cat /proc/[0-9]*/comm 2>/dev/null | grep -q ^tail; do sleep 0.02; done
    echo seen
    """
    one = pod(shell("a", "exec tail -f /dev/null"), shell("b", script), share_process_namespace=True)
    await world.start(one, "a")
    b = await world.start(one, "b")
    assert (await world.end(b.id)).code == 0
    lines = world.output(one, b.id).splitlines()
    assert lines[1:] == ["pause", "seen"]
    assert lines[0] != "pid=1"


async def test_pause_reaps_the_orphans(world: World) -> None:
    """An orphan's parent is PID 1, and when the orphan ends it does not stay as a zombie."""
    script = """
    (sh -c 'echo $$ > /tmp/orphan; read line < /tmp/fifo' & exit 0)
    until [ -s /tmp/orphan ]; do sleep 0.02; done
    orphan=$(cat /tmp/orphan)
    until grep -q '^PPid:.1$' /proc/$orphan/status; do sleep 0.02; done
    echo > /tmp/fifo
    while [ -e /proc/$orphan ]; do sleep 0.02; done
    echo gone
    """
    code, output = await world.run(f"mkfifo /tmp/fifo\n{script}", spec={"share_process_namespace": True})
    assert (code, output) == (0, "gone\n")


def of(world: World, one: Pod) -> frozenset[int]:
    return world.cgroups.pids(one.uid)


TREE = """
setsid sh -c 'trap "" TERM HUP; sleep 1000 & touch /tmp/up; sleep 1000' &
until [ -e /tmp/up ]; do sleep 0.02; done
echo up
"""
SHARED = [{"share_process_namespace": True}, {"host_pid": True}]


@with_and_without_cgroups
@pytest.mark.parametrize("spec", SHARED)
async def test_the_end_of_a_container_is_the_end_of_all_of_it(world: World, spec: dict[str, Any]) -> None:
    one = pod(shell("main", TREE + "exit 4"), shell("other", "sleep 1000"), **spec)
    other = await world.start(one, "other")
    before = of(world, one)
    main = await world.start(one)
    assert (await world.end(main.id)).code == 4
    assert of(world, one) == before
    assert other.pid in before


@with_and_without_cgroups
@pytest.mark.parametrize("spec", SHARED)
async def test_a_kill_kills_the_whole_tree(world: World, spec: dict[str, Any]) -> None:
    one = pod(shell("main", TREE + "wait"), shell("other", "sleep 1000"), **spec)
    await world.start(one, "other")
    before = of(world, one)
    main = await world.start(one)
    eventually(lambda: "up" in world.output(one, main.id))
    assert len(of(world, one)) >= len(before) + 3
    await world.engine.kill(main.id)
    end = await world.end(main.id)
    assert (end.code, end.signal) == (137, signal.SIGKILL)
    assert of(world, one) == before


@with_and_without_cgroups
async def test_what_ended_while_nobody_looked_is_ended_too(world: World) -> None:
    """nsrun was dead when the first process ended: what it left behind goes when nsrun is back."""
    one = pod(shell("main", TREE + "sleep 1000"), host_pid=True)
    main = await world.start(one)
    eventually(lambda: "up" in world.output(one, main.id))
    for sandbox in world.engine._sandboxes.values():
        sandbox.shim.close()
    os.kill(main.pid, signal.SIGKILL)
    eventually(lambda: (world.layout.exits(one.uid) / "main.0").exists())
    assert len(of(world, one)) >= 2
    [found] = await world.restart()
    assert found.containers[0].exit is not None
    assert found.sandbox is not None
    assert of(world, one) <= {found.sandbox.pause_pid}


async def test_the_next_container_is_born_in_its_own_namespace_again(world: World) -> None:
    """The shim has its children born elsewhere only for a moment."""
    one = pod(shell("main", "readlink /proc/self/ns/pid; exit 0"), share_process_namespace=True)
    sandbox = await world.start_sandbox(one)
    first = await world.start(one)
    await world.end(first.id)
    assert world.output(one, first.id).strip() == os.readlink(f"/proc/{sandbox.pause_pid}/ns/pid")
    assert os.readlink(f"/proc/{sandbox.shim_pid}/ns/pid_for_children") == os.readlink("/proc/self/ns/pid")


async def test_a_terminal_among_others(world: World) -> None:
    """Who is born last has its session on the terminal, as if it had been there from the start."""
    script = "tty; [ -t 0 ] && [ -t 1 ] && echo terminal; echo > /dev/tty && echo controlling"
    one = pod(shell("main", script, tty=True), share_process_namespace=True)
    started = await world.start(one)
    assert (await world.end(started.id)).code == 0
    lines = world.output(one, started.id).replace("\r", "").splitlines()
    assert [line for line in lines if line] == ["/dev/pts/0", "terminal", "controlling"]
