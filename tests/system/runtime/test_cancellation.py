"""Calls that are cancelled leave nothing that a later call could not finish or remove."""

from __future__ import annotations

import asyncio
import random
import threading
from functools import partial
from pathlib import Path

import pytest

from nsrun.model.pod import Pod
from nsrun.model.running import ContainerId
from nsrun.support.threads import finish_in_thread
from tests.system.runtime.world import World, pod, shell
from tests.waiting import PATIENCE, eventually

pytestmark = pytest.mark.root


def said(world: World, one: Pod, id: ContainerId) -> bool:
    return world.output(one, id) == "started\n"


async def cancelled_after(seconds: float, call: asyncio.Task[object]) -> None:
    await asyncio.wait((call,), timeout=seconds)
    call.cancel()
    await asyncio.wait((call,))


async def test_a_cancelled_start_can_be_asked_for_again(world: World) -> None:
    """At whatever point it was cancelled: the same run then runs once."""
    chance = random.Random(7)
    one = pod(shell("main", "echo started; sleep 1000"))
    await world.start_sandbox(one)
    for attempt in range(12):
        request = world.request(one, "main", attempt=attempt)
        await cancelled_after(chance.uniform(0, 0.012), asyncio.ensure_future(world.engine.start_container(request)))
        started = await world.engine.start_container(request)
        eventually(partial(said, world, one, started.id))
        await world.engine.kill(started.id)
        assert (await world.end(started.id)).code == 137
        await world.engine.remove_container(started.id)


async def test_a_cancelled_sandbox_can_be_asked_for_again_or_removed(world: World) -> None:
    chance = random.Random(8)
    for number in range(10):
        one = pod(shell("main", "exit 4"), name=f"p{number}")
        attachment = world.attachment(one)
        call = asyncio.ensure_future(world.engine.start_sandbox(one, attachment, {}))
        await cancelled_after(chance.uniform(0, 0.012), call)
        if number % 2:
            started = await world.start(one)
            assert (await world.end(started.id)).code == 4
        await world.engine.remove_sandbox(one.name, one.uid)
    assert list(world.layout.run_pods.iterdir()) == []
    assert world.cgroups.owners() == frozenset()
    assert list(world.layout.pods.rglob("upper")) == []


async def test_nothing_is_made_after_a_removal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start is cancelled while its thread works, and the pod is removed at once."""
    one = pod(shell("main", "sleep 1000"))
    await world.start_sandbox(one)
    inside, go = threading.Event(), threading.Event()
    make = world.engine._run.make_container

    def slow(*arguments: object) -> None:
        inside.set()
        go.wait(100 * PATIENCE)
        make(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(world.engine._run, "make_container", slow)
    call = asyncio.ensure_future(world.engine.start_container(world.request(one, "main")))
    await asyncio.to_thread(inside.wait, 10)
    call.cancel()
    await asyncio.sleep(0)
    call.cancel()
    assert not call.done()
    go.set()
    await asyncio.wait((call,))
    assert call.cancelled()
    await world.engine.remove_sandbox(one.name, one.uid)
    assert list(world.layout.run_pods.iterdir()) == []
    assert [path for path in world.layout.pods.rglob("*") if path.name == "upper"] == []


async def test_what_was_made_for_a_cancelled_call_is_undone(tmp_path: Path) -> None:
    undone: list[int] = []
    go = threading.Event()
    call = asyncio.ensure_future(
        finish_in_thread(lambda number: (go.wait(100 * PATIENCE), number)[1], 5, undo=undone.append)
    )
    await asyncio.sleep(0)
    call.cancel()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert undone == [5]

    async def refuse() -> None:
        with pytest.raises(ZeroDivisionError):
            await finish_in_thread(lambda: 1 // 0)

    await refuse()


async def test_a_reader_of_ends_that_is_cancelled_takes_none_along(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when that happens while the end is being looked into."""
    started = await world.start(pod(shell("main", "exit 7")))
    entered, leave = threading.Event(), threading.Event()
    ends_of = world.engine._ends_of

    def slowly(end: object) -> object:
        entered.set()
        leave.wait(20 * PATIENCE)
        return ends_of(end)  # type: ignore[arg-type]

    monkeypatch.setattr(world.engine, "_ends_of", slowly)
    reading = asyncio.ensure_future(anext(world.engine.exits()))
    await asyncio.to_thread(entered.wait)
    reading.cancel()
    await asyncio.wait((reading,))
    leave.set()
    world._ends = world.engine.exits()
    assert (await world.end(started.id)).code == 7
