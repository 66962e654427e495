"""Sessions in real containers: much data, terminals, signals, and what is left of them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from nsrun.errors import LaunchError, RuntimeFailure
from nsrun.model.running import RunningContainer
from nsrun.model.session import SessionRequest, TerminalSize
from nsrun.runtime.session import ShimSession
from nsrun.support.fds import Fd
from tests.system.runtime.test_execution import FOREVER, exec_cgroups, processes, v1_world
from tests.system.runtime.world import NO_APP_ARMOR, SecurityContext, World, pod, shell
from tests.waiting import eventually, eventually_async

__all__ = ["v1_world"]

pytestmark = pytest.mark.root

ATTACH = SessionRequest(command=None, stdin=True)


@contextlib.asynccontextmanager
async def opened(world: World, one: RunningContainer, script: str, **fields: Any) -> AsyncIterator[ShimSession]:
    request = SessionRequest(command=("/bin/sh", "-c", script), **fields)
    session = await world.engine.open_session(one.id, request)
    try:
        yield session
    finally:
        await session.close()


def drain(fd: Fd | None, into: list[bytes]) -> None:
    """Blocks, in a thread of its own."""
    assert fd is not None
    os.set_blocking(fd.fileno(), True)
    with contextlib.suppress(OSError):
        while data := os.read(fd.fileno(), 1 << 20):
            into.append(data)


def pour(session: ShimSession, data: bytes) -> None:
    assert session.stdin is not None
    os.set_blocking(session.stdin.fileno(), True)
    view = memoryview(data)
    while view:
        view = view[os.write(session.stdin.fileno(), view) :]
    session.close_stdin()


async def said(session: ShimSession, word: str) -> str:
    """What a terminal or a pipe has said up to that word."""
    text = ""
    assert session.stdout is not None
    number = session.stdout.fileno()

    def more() -> bool:
        nonlocal text
        with contextlib.suppress(BlockingIOError):
            text += os.read(number, 65536).decode()
        return word in text

    await eventually_async(more)
    return text


async def test_much_goes_in_and_comes_back(world: World) -> None:
    one = await world.start(pod(shell("main", FOREVER)))
    block = os.urandom(1 << 20)
    data, back = block * 100, list[bytes]()
    async with opened(world, one, "cat", stdin=True) as session:
        threads = [threading.Thread(target=pour, args=(session, data))]
        threads += [threading.Thread(target=drain, args=(session.stdout, back))]
        for thread in threads:
            thread.start()
        assert await session.wait() == 0
        for thread in threads:
            await asyncio.to_thread(thread.join)
    assert hashlib.sha256(b"".join(back)).digest() == hashlib.sha256(data).digest()


async def test_a_hundred_at_once(world: World) -> None:
    one = await world.start(pod(shell("main", FOREVER)))

    async def ask(number: int) -> int:
        async with opened(world, one, f"read x; exit $((x + {number % 100}))", stdin=True) as session:
            assert session.stdin is not None
            os.write(session.stdin.fileno(), b"1\n")
            return await session.wait()

    assert await asyncio.gather(*map(ask, range(100))) == [number % 100 + 1 for number in range(100)]
    await eventually_async(lambda: exec_cgroups(world) == [])


@pytest.mark.parametrize("users", [True, False], ids=["host users", "own users"])
async def test_a_terminal_of_its_own(world: World, users: bool) -> None:
    context = SecurityContext(run_as_user=1000, run_as_group=1000)
    one = await world.start(pod(shell("main", FOREVER, security_context=context), host_users=users))
    script = """
    tty; stat -c '%u %a' $(tty); echo $TERM; : > /dev/tty && echo own; stty size; id -u; ls /proc/self/fd | wc -l
    trap 'stty size' WINCH; echo up; while :; do sleep 0.05; done
    """
    size = TerminalSize(columns=99, rows=33)
    async with opened(world, one, script, stdin=True, terminal=True, size=size) as session:
        lines = (await said(session, "up\r\n")).split("\r\n")
        assert lines[:7] == ["/dev/pts/0", "1000 620", "xterm", "own", "33 99", "1000", "4"]
        await session.resize(TerminalSize(columns=70, rows=20))
        await said(session, "20 70\r\n")
        assert session.stdin is not None
        os.write(session.stdin.fileno(), b"\x03")
        assert await session.wait() == 130
    await eventually_async(lambda: exec_cgroups(world) == [])


@pytest.mark.parametrize("users", [True, False], ids=["host users", "own users"])
async def test_all_that_was_started_goes(users: bool, world: World) -> None:
    await all_goes(world, users)


@pytest.mark.parametrize("users", [True, False], ids=["host users", "own users"])
async def test_all_that_was_started_goes_without_cgroup_v2(users: bool, v1_world: World) -> None:
    await all_goes(v1_world, users)


async def all_goes(there: World, users: bool) -> None:
    """Also what has left its session and its parents."""
    one = await there.start(pod(shell("main", FOREVER), host_users=users))
    for terminal in (False, True):
        async with opened(there, one, "n=4322; (setsid sleep $n &); sleep $n; :", terminal=terminal) as session:
            await eventually_async(lambda: len(set(processes(there, "sleep 4322"))) == 2)
            await session.close()
            assert await session.wait() == 137
        await eventually_async(lambda: not processes(there, "sleep 4322") and exec_cgroups(there) == [])


async def test_where_terminals_are_not_terminals(world: World) -> None:
    """CVE-2025-52565, by a container that mounts something else there while it runs."""
    context = SecurityContext(capabilities_add=("SYS_ADMIN",), app_armor_profile=NO_APP_ARMOR)
    script = f"mkdir /x; ln -s /dev/null /x/ptmx; mount --bind /x /dev/pts && echo done; {FOREVER}"
    one = pod(shell("main", script, security_context=context))
    started = await world.start(one)
    eventually(lambda: "done" in world.output(one, started.id))
    with pytest.raises(LaunchError) as caught:
        await world.engine.open_session(started.id, SessionRequest(command=("/bin/true",), terminal=True))
    assert caught.value.step == "terminal"


async def test_attached_to_a_terminal(world: World) -> None:
    one = await world.start(pod(shell("main", "while read x; do stty size; echo got $x; done", tty=True, stdin=True)))
    sessions = [await world.engine.open_session(one.id, ATTACH) for _ in range(2)]
    await sessions[0].resize(TerminalSize(columns=44, rows=11))
    assert sessions[0].stdin is not None
    os.write(sessions[0].stdin.fileno(), b"hello\n")
    for session in sessions:
        assert session.stderr is None
        assert (await said(session, "got hello\r\n")).endswith("hello\r\n11 44\r\ngot hello\r\n")
        session.close_stdin()
        await session.close()
    unseen = await world.engine.open_session(one.id, SessionRequest(command=None, stdin=False))
    assert unseen.stdin is None
    await unseen.resize(TerminalSize(columns=45, rows=12))
    await unseen.close()
    await world.engine.kill(one.id)
    assert (await world.end(one.id)).code == 137


async def test_who_is_too_slow_loses_only_his_own_view(world: World) -> None:
    line = "x" * 1000
    one = pod(shell("main", f"read x; yes {line} | head -n 3000; exit 5", stdin=True))
    started = await world.start(one)
    slow = await world.engine.open_session(started.id, ATTACH)
    quick = await world.engine.open_session(started.id, ATTACH)
    seen: list[bytes] = []
    reader = threading.Thread(target=drain, args=(quick.stdout, seen))
    reader.start()
    assert slow.stdin is not None
    os.write(slow.stdin.fileno(), b"go\n")
    with pytest.raises(RuntimeFailure, match="came faster than it was read"):
        await slow.wait()
    assert (await world.end(started.id)).code == 5
    assert world.output(one, started.id).split() == [line] * 3000
    await asyncio.to_thread(reader.join)
    with contextlib.suppress(RuntimeFailure):  # on a busy machine it is too slow as well
        assert await quick.wait() == 5
        assert b"".join(seen).split() == [line.encode()] * 3000
    for session in (slow, quick):
        await session.close()


async def test_given_up_before_it_began(world: World) -> None:
    one = await world.start(pod(shell("main", FOREVER)))
    for terminal in (False, True):
        request = SessionRequest(command=("/bin/sleep", "4323"), terminal=terminal)
        for _ in range(5):
            opening = asyncio.get_running_loop().create_task(world.engine.open_session(one.id, request))
            await asyncio.sleep(0)
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
    await eventually_async(lambda: not processes(world, "sleep 4323") and exec_cgroups(world) == [])
