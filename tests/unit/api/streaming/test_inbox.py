"""Bytes on their way from a connection to whoever reads a stream."""

from __future__ import annotations

import asyncio

import pytest

from nsrun.api.streaming import inbox as module
from nsrun.api.streaming.inbox import ROOM, Inbox, deliver


async def nobody() -> None:
    raise AssertionError("nothing is held up")


async def test_what_is_put_in_is_read_and_then_the_end() -> None:
    counts: list[int] = []
    inbox = Inbox(counts.append)
    inbox.put(b"one ")
    inbox.put(b"two")
    assert await inbox.read() == b"one two"
    inbox.put(b"!")
    inbox.end()
    assert [await inbox.read() for _ in range(3)] == [b"!", b"", b""]
    assert sum(counts) == 8


async def test_a_reader_waits_and_a_full_inbox_holds_its_connection_up() -> None:
    inbox = Inbox()
    async with asyncio.TaskGroup() as group:
        read = group.create_task(inbox.read())
        await asyncio.sleep(0)
        assert not read.done()
        delivered = group.create_task(deliver(inbox, b"x" * ROOM, nobody))
        assert await read == b"x" * ROOM
        await delivered
        delivered = group.create_task(deliver(inbox, b"x" * ROOM, nobody))
        await asyncio.sleep(0)
        assert not inbox.has_room
        assert not delivered.done()
        await inbox.read()


async def test_what_nobody_reads_holds_nobody_up() -> None:
    counts: list[int] = []
    inbox = Inbox(counts.append)
    async with asyncio.TaskGroup() as group:
        group.create_task(deliver(inbox, b"x" * ROOM, nobody))
        await asyncio.sleep(0)
        inbox.discard()
    await deliver(inbox, b"x" * ROOM, nobody)
    assert sum(counts) == 2 * ROOM


async def test_a_stream_that_is_broken_off_has_no_meaning_any_more() -> None:
    inbox = Inbox()
    inbox.put(b"half of it")
    inbox.end()
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(_breaks(inbox))
        await asyncio.sleep(0)
        assert not watching.done()
        inbox.break_off()
    with pytest.raises(ConnectionResetError):
        await inbox.read()
    inbox.put(b"more")
    assert inbox.has_room


async def _breaks(inbox: Inbox) -> None:
    with pytest.raises(ConnectionResetError):
        await inbox.broken_off()


async def test_a_client_that_is_held_up_is_sent_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALLED_SECONDS", 0.001)
    inbox, nudged = Inbox(), asyncio.Event()

    async def nudge() -> None:
        nudged.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(deliver(inbox, b"x" * ROOM, nudge))
        await nudged.wait()
        inbox.discard()
