"""Attacks on commands that join a container: what it does to its files, its processes and its limits. Each test fails
when the defence is taken out."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from nsrun.errors import LaunchError
from nsrun.model.running import Command, CommandResult, RunningContainer
from nsrun.model.session import SessionRequest
from nsrun.runtime.engine import Programs
from tests.system.runtime.world import NO_APP_ARMOR, SecurityContext, World, container, pod, shell
from tests.waiting import eventually, eventually_async

pytestmark = pytest.mark.root

FOREVER = "trap : TERM; while :; do sleep 1000 & wait; done"
HERE = Path(__file__).parent


async def run(world: World, one: RunningContainer, *words: str, timeout: float = 20.0) -> CommandResult:
    return await world.engine.run(one.id, Command(arguments=words, timeout=timeout))


def made(world: World, one: RunningContainer, path: str) -> Path:
    """What the container has written at ``path``."""
    return world.layout.container(one.id.uid, one.id.name, one.id.attempt) / "upper" / path


@pytest.fixture
def watcher(world: World) -> Path:
    """A layer with the watcher in it."""
    layer = world.root / "layer"
    layer.mkdir(mode=0o755)
    subprocess.run(
        [os.environ.get("CC", "cc"), "-O2", "-static", "-o", layer / "watcher", HERE / "watcher.c"], check=True
    )
    return layer


async def seen(world: World, one: RunningContainer) -> None:
    """A command with a terminal, from its start to its end."""
    request = SessionRequest(command=("/bin/true",), stdin=True, terminal=True)
    session = await world.engine.open_session(one.id, request)
    assert await session.wait() == 0
    await session.close()


async def watched(world: World, layer: Path, *, terminal: bool = False, **fields: object) -> dict[str, set[str]]:
    """What a container that watches learns while commands join it. ``terminal``: each has one."""
    one = pod(container("main", "/watcher", **fields))
    started = await world.start(one, image=world.image(layer))
    log = world.layout.container_log(one.name, one.uid, "main", 0)
    eventually(lambda: b"ready" in log.read_bytes())
    for _ in range(40):
        joining = [seen(world, started) if terminal else run(world, started, "/bin/true") for _ in range(5)]
        await asyncio.gather(*joining)
        if log.read_bytes().count(b" trace ") >= 20:
            break
    found: dict[str, set[str]] = {}
    for line in world.output(one, started.id).splitlines():
        word, _, value = line.partition(" ")
        found.setdefault(word, set()).add(value)
    return found


@pytest.mark.parametrize("terminal", [False, True])
async def test_nobody_lays_hands_on_who_joins(world: World, watcher: Path, terminal: bool) -> None:
    """CVE-2016-9962: while it has more than the container has, it can be neither traced nor read."""
    found = await watched(world, watcher, terminal=terminal)
    assert found.get("caps"), "the watcher was not fast enough to see one"
    assert "fd" not in found
    assert found["mem"] <= {"refused", "gone"}
    assert found["exe"] == {"refused"}
    assert found["trace"] <= {"refused", "gone"}


@pytest.mark.parametrize("terminal", [False, True])
async def test_who_may_trace_gains_nothing_by_it(world: World, watcher: Path, terminal: bool) -> None:
    """With CAP_SYS_PTRACE it can; but who is born there has no capability and no descriptor that it has not."""
    context = SecurityContext(capabilities_add=("SYS_PTRACE",))
    one = pod(shell("main", "grep CapEff /proc/self/status", security_context=context), name="own")
    started = await world.start(one)
    await world.end(started.id)
    own = world.output(one, started.id).split()[1]
    found = await watched(world, watcher, terminal=terminal, security_context=context)
    assert found.get("caps"), "the watcher was not fast enough to see one"
    assert found["caps"] == {own}
    assert {target.partition(":")[0] for target in found.get("fd", ())} <= {"socket"}, "the line to the shim"
    assert found["exe"] == {"refused"}


async def test_the_shim_cannot_be_overwritten(world: World) -> None:
    """CVE-2019-5736: what the joiner executes leads back to its own program, which is sealed."""
    before = hashlib.sha256(Programs().shim.read_bytes()).hexdigest()
    layer = world.root / "layer"
    layer.mkdir(mode=0o755)
    (layer / "evil").write_text("#!/proc/self/exe\n")
    (layer / "evil").chmod(0o755)
    script = "while :; do for p in /proc/[0-9]*; do (echo x > $p/exe) 2>/dev/null && touch /pwned; done; done"
    started = await world.start(pod(shell("main", script)), image=world.image(layer))
    for words in (("/proc/self/exe",), ("/evil",)):
        for _ in range(10):
            await run(world, started, *words, timeout=0.2)
    assert not made(world, started, "pwned").exists()
    assert hashlib.sha256(Programs().shim.read_bytes()).hexdigest() == before
    assert (await run(world, started, "/bin/echo", "fine")).output == b"fine\n"


async def test_a_faked_proc(world: World) -> None:
    """CVE-2025-52881: nothing of what a command gets is written into, or read from, the container's /proc."""
    script = f"""
    mkdir -p /fake/self/attr /fake/thread-self /fake/1; ln -s /victim /fake/self/oom_score_adj; touch /victim
    ln -s /victim /fake/self/attr/exec; ln -s /proc/1 /fake/loop; mount --bind /fake /proc && echo x > /done; {FOREVER}
    """
    context = SecurityContext(capabilities_add=("SYS_ADMIN",), app_armor_profile=NO_APP_ARMOR)
    one = await world.start(pod(shell("main", script, security_context=context)))
    await eventually_async(lambda: made(world, one, "done").exists())
    result = await run(world, one, "/bin/sh", "-c", "id -u; ls /proc")
    assert result.code == 0
    assert result.output.split() == [b"0", b"1", b"loop", b"self", b"thread-self"]
    assert made(world, one, "victim").read_bytes() == b""


@pytest.mark.parametrize("target", ["/proc/self/fd/3", "/proc/self/fd/7", "/proc/1/root", "../../../../../.."])
async def test_the_working_directory_lies_inside(world: World, target: str) -> None:
    """CVE-2024-21626, by exec."""
    script = f"cd /; rmdir /work; ln -s {target} /work; echo x > /done; {FOREVER}"
    one = await world.start(pod(shell("main", script, working_dir="/work")))
    await eventually_async(lambda: made(world, one, "done").exists())
    if target.startswith("/proc"):
        with pytest.raises(LaunchError) as caught:
            await run(world, one, "/bin/pwd")
        assert caught.value.step == "cwd"
        return
    assert (await run(world, one, "/bin/pwd")).output == b"/\n"


async def test_a_working_directory_is_not_made_again(world: World) -> None:
    """A joiner is root, and the container's account need not be: it makes nothing for it."""
    layer = world.root / "layer"
    (layer / "home").mkdir(parents=True)
    for path in (layer, layer / "home"):
        path.chmod(0o755)
    os.chown(layer / "home", 1000, 1000)
    script = f"cd /; mv /home/work /home/gone && ln -s /etc/new /home/work && echo x > /home/done; {FOREVER}"
    context = SecurityContext(run_as_user=1000)
    one = await world.start(
        pod(shell("main", script, working_dir="/home/work", security_context=context)), image=world.image(layer)
    )
    await eventually_async(lambda: made(world, one, "home/done").exists())
    with pytest.raises(LaunchError) as caught:
        await run(world, one, "/bin/pwd")
    assert caught.value.step == "cwd"
    assert not made(world, one, "etc/new").exists()


async def test_a_descriptor_that_is_left_open_here_stays_here(world: World) -> None:
    one = await world.start(pod(shell("main", FOREVER)))
    fd = os.open(world.root, os.O_RDONLY)
    os.set_inheritable(fd, True)
    try:
        result = await run(world, one, "/bin/sh", "-c", "ls -l /proc/self/fd /proc/$$/fd")
    finally:
        os.close(fd)
    assert str(world.root).encode() not in result.output
    assert (await run(world, one, "/bin/ls", "/proc/self/fd")).output.split() == [b"0", b"1", b"2", b"3"]


async def test_a_container_without_room_for_a_process(world: World) -> None:
    """It is told at once, and the command is not run somewhere else instead."""
    one = await world.start(pod(container("main", "/bin/sleep", "1000")))
    limits = list(_limits(world, one))
    if not limits:
        pytest.skip("no pids controller here")
    for path in limits:
        path.write_text((path.parent / "pids.current").read_text())
    with pytest.raises(LaunchError) as caught:
        await run(world, one, "/bin/true")
    assert caught.value.errno == 11
    for path in limits:
        path.write_text("max")
    assert (await run(world, one, "/bin/true")).code == 0


def _limits(world: World, one: RunningContainer) -> list[Path]:
    tops = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - cgroup" in line]
    places = [path for top in tops for path in Path(top, world.cgroup_root).rglob(f"{one.id.name}-{one.id.attempt}")]
    return [path / "pids.max" for path in places if (path / "pids.max").exists()]


async def test_the_environment_is_the_containers_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NSRUN_SECRET", "host")
    one = await world.start(pod(shell("main", FOREVER)))
    output = (await run(world, one, "/bin/env")).output
    assert {line.split(b"=")[0] for line in output.splitlines()} == {b"PATH", b"HOSTNAME", b"HOME"}
