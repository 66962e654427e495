"""SPDY's streams over a connection that is only imagined: flow, back-pressure, ends."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from nsrun.api.streaming import spdy_session as module
from nsrun.api.streaming.inbox import ROOM
from nsrun.api.streaming.spdy_frames import Data, GoAway, Ping, ResetStatus, RstStream, SynStream, encode
from nsrun.api.streaming.spdy_headers import SpdyError
from nsrun.api.streaming.spdy_session import SpdySession, spdy_session
from tests.unit.api.streaming.spdyclient import SpdyClient, Wire, connected

MEBIBYTE = 1 << 20


@asynccontextmanager
async def talking(*, keeps_windows: bool = False) -> AsyncIterator[tuple[SpdyClient, SpdySession, Wire]]:
    """A client, a server, and the client's end of the wire; the client goes when the block is left."""
    here, there = connected()
    client = SpdyClient(here, keeps_windows=keeps_windows)
    async with asyncio.TaskGroup() as group:
        listening = group.create_task(client.listen())
        async with spdy_session(there) as session:
            yield client, session, here
            group.create_task(_go(client, here))
        assert there.closed
        await listening


async def _go(client: SpdyClient, wire: Wire) -> None:
    """As kubectl goes: when everything it waits for has ended."""
    await client.until(lambda: all(stream.ended or stream.reset is not None for stream in client.streams.values()))
    wire.close()


async def _go_after(sending: asyncio.Task[None], client: SpdyClient, wire: Wire) -> None:
    await sending
    await _go(client, wire)


@pytest.mark.parametrize("keeps_windows", [False, True])
async def test_bytes_go_both_ways_in_any_amount(keeps_windows: bool) -> None:
    data = os.urandom(3 * MEBIBYTE)
    async with talking(keeps_windows=keeps_windows) as (client, session, _), asyncio.TaskGroup() as group:
        there = await client.opened({"kind": "echo"})
        here = await session.accept()
        assert here.headers == {"kind": "echo"}
        group.create_task(client.say(there, data, fin=True))
        while piece := await here.read():
            await here.write(piece)
        here.end()
        await client.until(lambda: there.ended)
        assert there.data == data


async def test_a_stream_that_nobody_reads_stops_the_connection_and_no_more_is_kept() -> None:
    async with talking() as (client, session, wire), asyncio.TaskGroup() as group:
        there = await client.opened({})
        here = await session.accept()
        saying = group.create_task(client.say(there, b"x" * 4 * MEBIBYTE))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not saying.done()
        kept = len(await here.read())
        assert kept < ROOM + 2 * wire.room
        here.discard()
        await saying
        here.end()


async def test_a_client_that_reads_nothing_stops_the_writer() -> None:
    here, there = connected()
    client = SpdyClient(here)
    async with asyncio.TaskGroup() as group, spdy_session(there) as session:
        await client.open({})
        stream = await session.accept()
        writing = group.create_task(stream.write(b"x" * 4 * MEBIBYTE))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not writing.done()
        group.create_task(client.listen())
        await writing
        stream.end()
        group.create_task(_go(client, here))


async def test_pings_that_nobody_takes_the_answers_of_stop_the_connection() -> None:
    here, there = connected(room=1000)
    sent = 0

    async def flood() -> None:
        nonlocal sent
        while True:
            await SpdyClient(here).send(*[Ping(number=1)] * 1000)
            sent += 12000

    with pytest.raises(ExceptionGroup):
        async with spdy_session(there), asyncio.TaskGroup() as group:
            flooding = group.create_task(flood())
            before = -1
            while sent != before:
                before = sent
                for _ in range(300):
                    await asyncio.sleep(0)
            assert 0 < sent < 2 * MEBIBYTE
            flooding.cancel()
            here.close()
            await asyncio.get_running_loop().create_future()


async def test_thousands_of_frames_at_once_let_others_have_their_turn() -> None:
    here, there = connected(room=MEBIBYTE)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    with pytest.raises(ExceptionGroup):
        async with spdy_session(there), asyncio.TaskGroup() as group:
            group.create_task(count())
            await here.write(encode(Data(stream=2, data=b"")) * 32768)
            before = turns
            await here.write(encode(Ping(number=1)))
            client = SpdyClient(here)
            group.create_task(client.listen())
            await client.until(lambda: client.pings)
            assert turns - before > 5
            here.close()


async def test_a_stream_that_the_client_resets_is_broken_off() -> None:
    async with talking() as (client, session, _):
        await client.opened({})
        here = await session.accept()
        await client.send(RstStream(stream=1, status=5))
        with pytest.raises(ConnectionResetError):
            await here.read()
        with pytest.raises(ConnectionResetError):
            await here.write(b"x")
        with pytest.raises(ConnectionResetError):
            await here.broken_off()
        client.streams[1].ended = True


async def test_a_reset_behind_the_end_is_still_heard() -> None:
    async with talking() as (client, session, _):
        there = await client.opened({})
        here = await session.accept()
        await client.say(there, b"all", fin=True)
        assert [await here.read(), await here.read()] == [b"all", b""]
        await client.send(RstStream(stream=1, status=5))
        with pytest.raises(ConnectionResetError):
            await here.broken_off()
        there.ended = True


async def test_streams_that_nobody_accepts_any_more_are_refused() -> None:
    async with talking() as (client, session, _):
        session.accept_no_more()
        refused = await client.opened({})
        assert refused.reset == ResetStatus.REFUSED_STREAM


async def test_streams_that_come_and_go_do_not_heap_up() -> None:
    here, there = connected()
    client = SpdyClient(here)
    async with asyncio.TaskGroup() as group:
        listening = group.create_task(client.listen())
        async with spdy_session(there, max_streams=3):
            streams = []
            for _ in range(10):
                streams.append(await client.opened({}))
                await client.send(RstStream(stream=streams[-1].number, status=5))
            assert [stream.reset for stream in streams] == [None] * 3 + [ResetStatus.REFUSED_STREAM] * 7
            here.close()
        await listening


async def test_a_client_that_goes_away_ends_everything() -> None:
    here, there = connected()
    with pytest.raises(ExceptionGroup) as caught:
        async with spdy_session(there) as session:
            here.close()
            await session.accept()
    assert caught.group_contains(ConnectionResetError, match="the client is gone")
    assert there.closed


async def test_a_client_that_breaks_the_protocol_is_told_and_cut_off() -> None:
    here, there = connected()
    client = SpdyClient(here)
    with pytest.raises(ExceptionGroup) as caught:
        async with spdy_session(there) as session:
            await client.send(SynStream(stream=2, block=b""))
            await session.accept()
    assert caught.group_contains(SpdyError)
    await client.listen()
    assert client.going == GoAway(last=0, status=1)


async def test_what_was_said_last_arrives_also_at_a_client_that_goes_on_sending() -> None:
    here, there = connected()
    client = SpdyClient(here)
    async with asyncio.TaskGroup() as group:
        group.create_task(client.listen())
        async with spdy_session(there) as session:
            stream = await client.opened({})
            ours = await session.accept()
            sending = group.create_task(client.say(stream, b"x" * MEBIBYTE))
            await ours.write(b"the last words")
            ours.end()
            group.create_task(_go_after(sending, client, here))
        assert sending.done()
        assert stream.data == b"the last words"
        assert stream.ended


async def test_a_client_that_stays_is_left_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINGER_SECONDS", 0.01)
    here, there = connected()
    async with spdy_session(there):
        pass
    assert there.closed
    with pytest.raises(ConnectionResetError):
        await SpdyClient(here).send(Data(stream=1, data=b"x"))


async def test_a_client_that_is_held_up_is_pinged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nsrun.api.streaming.inbox.STALLED_SECONDS", 0.001)
    async with talking() as (client, session, _), asyncio.TaskGroup() as group:
        there = await client.opened({})
        here = await session.accept()
        saying = group.create_task(client.say(there, b"x" * MEBIBYTE))
        await client.until(lambda: client.pings)
        assert set(client.pings) == {2}
        here.discard()
        await saying
        here.end()
