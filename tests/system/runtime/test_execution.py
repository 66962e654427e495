"""Commands in running containers."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from nsrun.errors import LaunchError, RuntimeFailure
from nsrun.host.cgroups import CgroupMode
from nsrun.host.facts import probe
from nsrun.model.running import Command, CommandResult, RunningContainer
from nsrun.model.security import SecurityContext
from tests.system.runtime.world import World, container, pod, shell, with_and_without_cgroups
from tests.waiting import PATIENCE, eventually_async

pytestmark = pytest.mark.root


@pytest.fixture
async def v1_world(busybox: Path, cgroup_root: str) -> AsyncIterator[World]:
    """A machine that has no cgroup v2."""
    facts = probe()
    if not any("freezer" in hierarchy.controllers for hierarchy in facts.cgroups.hierarchies):
        pytest.skip("no cgroup v1 freezer here")
    root = Path(tempfile.mkdtemp(dir="/run", prefix="world-"))
    facts = replace(facts, cgroups=replace(facts.cgroups, mode=CgroupMode.V1, unified=None))
    world = World(root=root, cgroup_root=cgroup_root, busybox=busybox, facts=facts)
    yield world
    await world.close()
    world.cgroups.close()
    shutil.rmtree(root)


FOREVER = "trap : TERM; while :; do sleep 1000 & wait; done"


async def started(world: World, script: str = FOREVER, **fields: object) -> RunningContainer:
    return await world.start(pod(shell("main", script, **fields)))


async def run(
    world: World, one: RunningContainer, script: str, *, timeout: float | None = 20.0, limit: int = 10240
) -> CommandResult:
    return await world.engine.run(
        one.id, Command(arguments=("/bin/sh", "-c", script), timeout=timeout, output_limit=limit)
    )


def exec_cgroups(world: World) -> list[str]:
    tops = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - cgroup" in line]
    return [str(path) for top in tops for path in Path(top, world.cgroup_root).rglob("exec-*") if path.is_dir()]


async def test_code_and_output(world: World) -> None:
    one = await started(world)
    assert await run(world, one, "echo out; echo err >&2; exit 7") == CommandResult(code=7, output=b"out\nerr\n")
    assert await run(world, one, "kill -9 $$") == CommandResult(code=137)
    assert (await run(world, one, "cat")).output == b"", "standard input is empty"
    await eventually_async(lambda: exec_cgroups(world) == [])


async def test_the_same_as_the_containers_own_process(world: World) -> None:
    """Namespaces, cgroups, ids, limits, capabilities, filter, environment: nothing is more, nothing is less."""
    report = "; ".join(
        (
            "for n in mnt pid net ipc uts cgroup user; do readlink /proc/self/ns/$n; done",
            "grep -vE '^(Name|Pid|PPid|Tgid|Ngid|NS.*id|Vm.*|Rss.*|Threads|.*ctxt_switches|State|SigQ|Umask.*)' "
            "/proc/self/status",
            "cat /proc/self/limits /proc/self/oom_score_adj; id; pwd; umask; env | grep -v SHLVL; ls -l /proc/self/fd/",
        )
    ).replace("ls -l /proc/self/fd/", "ls /proc/self/fd")
    for context in (
        SecurityContext(),
        SecurityContext(run_as_user=1000, run_as_group=1001),
        SecurityContext(allow_privilege_escalation=False, capabilities_drop=("ALL",)),
        SecurityContext(capabilities_add=("SYS_PTRACE",)),
    ):
        one = await started(
            world, f"({report}) > /tmp/own 2>&1; {FOREVER}", security_context=context, working_dir="/tmp"
        )
        await written(world, one, "tmp/own", b"PWD=")
        mine = await run(world, one, report)
        own = await run(world, one, "cat /tmp/own")
        assert own.output.count(b"\n") > 60
        assert mine.output == own.output
        await world.engine.remove_sandbox(None, one.id.uid)


async def written(world: World, one: RunningContainer, path: str, content: bytes) -> None:
    """Until the container's file holds that."""
    file = world.layout.container(one.id.uid, one.id.name, one.id.attempt) / "upper" / path
    await eventually_async(lambda: file.exists() and content in file.read_bytes())


async def test_output_is_limited_and_never_blocks(world: World) -> None:
    one = await started(world)
    result = await run(world, one, "head -c 1000000 /dev/zero; exit 3", limit=100)
    assert result == CommandResult(code=3, output=bytes(100))
    assert len((await run(world, one, "yes | head -c 60000", limit=65536)).output) == 60000
    assert (await run(world, one, "echo x", limit=0)).output == b""


async def test_what_cannot_be_executed(world: World) -> None:
    one = await started(world)
    with pytest.raises(LaunchError) as caught:
        await world.engine.run(one.id, Command(arguments=("no-such", "it's")))
    assert caught.value.message == (
        """cannot start "no-such 'it'"'"'s'" in container "main": cannot execute "no-such": no such file or """
        "directory (ENOENT) in any directory of PATH"
    )
    for words in ((), ("",), ("a\0b",)):
        with pytest.raises(RuntimeFailure, match="it is no command"):
            await world.engine.run(one.id, Command(arguments=words))
    await eventually_async(lambda: exec_cgroups(world) == [])


async def test_a_container_that_has_ended(world: World) -> None:
    one = await started(world, "exit 0")
    await world.end(one.id)
    with pytest.raises(RuntimeFailure, match='cannot run a command in container "main": it does not run'):
        await run(world, one, "true")


@with_and_without_cgroups
async def test_the_container_ends_meanwhile(world: World) -> None:
    one = await started(world)
    running = asyncio.create_task(run(world, one, "sleep 4321"))
    await eventually_async(lambda: processes(world, "sleep 4321"))
    await world.engine.kill(one.id)
    assert (await running).code == 137
    assert (await world.end(one.id)).code == 137
    await world.engine.remove_container(one.id)


def processes(world: World, command: str) -> list[int]:
    """Live processes of the world's cgroups with this command line."""
    found = []
    for uid in world.cgroups.owners():
        for pid in world.cgroups.pids(uid):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode()
            except OSError:
                continue
            if command in words:
                found.append(pid)
    return found


@with_and_without_cgroups
async def test_timeout_kills_everything(world: World) -> None:
    """Children that are orphans, leaders of sessions of their own, deaf to every signal."""
    await _time_out(world)


async def test_timeout_kills_everything_without_cgroup_v2(v1_world: World) -> None:
    one = await _time_out(v1_world)
    own = (await run(v1_world, one, "cat /proc/1/cgroup")).output.splitlines()
    mine = (await run(v1_world, one, "cat /proc/self/cgroup")).output.splitlines()
    different = {ours.split(b":")[1] for ours, theirs in zip(mine, own, strict=True) if ours != theirs}
    assert different == {b"freezer"}, "where the container is, and below it in one hierarchy"


async def _time_out(world: World) -> RunningContainer:
    one = await started(world)
    daemon = "setsid sh -c 'trap \"\" TERM HUP; sleep 4321 & sleep 4322'"
    stubborn = f"trap '' TERM HUP INT; ({daemon} &) ; echo up; sleep 4323"
    begin = time.monotonic()
    result = await run(world, one, stubborn, timeout=0.5)
    assert result == CommandResult(code=137, output=b"up\n", timed_out=True)
    assert 0.5 <= time.monotonic() - begin < 5 * PATIENCE
    await eventually_async(lambda: processes(world, "432") == [])
    await eventually_async(lambda: exec_cgroups(world) == [])
    assert (await run(world, one, "echo fine")).output == b"fine\n"
    return one


async def test_a_command_in_a_frozen_container_without_cgroup_v2(v1_world: World) -> None:
    """It times out, and is gone as soon as it can be."""
    world = v1_world
    one = await started(world)
    (state,) = Path("/sys/fs/cgroup/freezer", world.cgroup_root).rglob("main-0/freezer.state")
    state.write_text("FROZEN")
    try:
        result = await run(world, one, "sleep 4321", timeout=0.2)
    finally:  # a frozen process cannot be killed: nothing of this test would ever end
        state.write_text("THAWED")
    assert result.timed_out
    assert result.code == 137
    await eventually_async(lambda: exec_cgroups(world) == [])
    assert (await run(world, one, "echo fine")).output == b"fine\n"


async def test_what_a_command_leaves_running_lives(world: World) -> None:
    """As a postStart hook may do; it is killed with its container."""
    one = await started(world)
    begin = time.monotonic()
    assert (await run(world, one, "sleep 4321 & echo left", timeout=60 * PATIENCE)).output == b"left\n"
    assert time.monotonic() - begin < 30 * PATIENCE
    # The shell may end before what it forked has become sleep.
    await eventually_async(lambda: len(processes(world, "sleep 4321")) == 1, what="what it left is running")
    assert len(exec_cgroups(world)) == 1
    assert (await run(world, one, "kill $(pidof sleep) 2>/dev/null; echo done")).output == b"done\n"
    await eventually_async(lambda: processes(world, "sleep 4321") == [])
    await run(world, one, "true")
    await eventually_async(lambda: exec_cgroups(world) == [], what="what was left is looked at when another begins")


@with_and_without_cgroups
async def test_cancelled(world: World) -> None:
    one = await started(world)
    running = asyncio.create_task(run(world, one, "setsid sleep 4321 & sleep 4322", timeout=None))
    await eventually_async(lambda: processes(world, "sleep 4321"))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await eventually_async(lambda: processes(world, "432") == [])
    await eventually_async(lambda: exec_cgroups(world) == [])


@with_and_without_cgroups
async def test_the_supervisor_dies(world: World) -> None:
    """A command without end does not outlive who asked; its container does, and takes commands of the next one."""
    one = await started(world)
    running = asyncio.create_task(run(world, one, "sleep 4321", timeout=None))
    await eventually_async(lambda: processes(world, "sleep 4321"))
    await world.restart()
    with pytest.raises(RuntimeFailure, match="shim is gone"):
        await running
    await eventually_async(lambda: processes(world, "4321") == [])
    assert (await run(world, one, "echo again")).output == b"again\n"


async def test_many_at_once(world: World) -> None:
    one = await started(world)
    results = await asyncio.gather(*(run(world, one, f"echo {n}; exit {n % 200}") for n in range(200)))
    assert results == [CommandResult(code=n % 200, output=f"{n}\n".encode()) for n in range(200)]
    await eventually_async(lambda: exec_cgroups(world) == [])


async def test_more_than_there_is_room_for(world: World) -> None:
    """Containers keep their places."""
    one = await started(world)
    running = [asyncio.create_task(run(world, one, "sleep 4321")) for _ in range(256)]
    await eventually_async(lambda: len(processes(world, "sleep 4321")) == 256)
    with pytest.raises(RuntimeFailure, match=r"ENOSPC"):
        await run(world, one, "true")
    other = container("other", "sleep", "5")
    await world.engine.start_container(world.request(pod(shell("main", FOREVER), other), "other"))
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    await eventually_async(lambda: processes(world, "4321") == [])
    assert (await run(world, one, "true")).code == 0


async def test_usage(world: World) -> None:
    one = await started(world, f"head -c 300000 /dev/zero > /data; echo x > /done; {FOREVER}")
    await written(world, one, "done", b"x")
    usage = await world.engine.usage(one.id.uid)
    assert set(usage) == {"main"}
    assert 300_000 <= usage["main"] < 500_000
    assert await world.engine.usage("no-such-pod") == {}
    assert os.path.isdir(world.layout.pod(one.id.uid))
