"""The shim's client against the other end of a socket."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nsrun.errors import RuntimeFailure
from nsrun.runtime.shim import Shim
from nsrun.runtime.shimsocket import connect
from nsrun.support import native
from nsrun.support.native import Message, abi
from tests.waiting import eventually_async

_ffi = native._ffi


def message(kind: int, serial: int, **fields: object) -> bytes:
    return bytes(_ffi.buffer(_ffi.new("struct ns_message *", {"kind": kind, "serial": serial, **fields})))


class Peer:
    """What the shim would be: receives requests, sends what the test wants."""

    def __init__(self) -> None:
        ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.exits: list[Message] = []
        self.deaths = 0
        self.shim = Shim(ours, pid=1, on_exit=self.exits.append, on_death=self._died)

    def _died(self) -> None:
        self.deaths += 1

    def received(self) -> tuple[int, int, list[int]]:
        """Kind, serial and descriptors of the next request."""
        data, fds, _, _ = socket.recv_fds(self.theirs, native.REQUEST_SIZE, 8)
        raw = _ffi.cast("struct ns_request *", _ffi.from_buffer(data))
        return raw.kind, raw.serial, fds


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    peer = Peer()
    yield peer
    peer.shim.close()
    peer.theirs.close()


async def test_an_answer_finds_its_request(peer: Peer) -> None:
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(peer.shim.request(abi.NS_REQ_SIGNAL, value=9, id="a.0"))
        second = tasks.create_task(peer.shim.request(abi.NS_REQ_FORGET, id="b.0"))
        await asyncio.sleep(0)
        assert [peer.received()[:2] for _ in range(2)] == [(abi.NS_REQ_SIGNAL, 1), (abi.NS_REQ_FORGET, 2)]
        peer.theirs.send(message(abi.NS_MSG_DONE, 2, pid=2))
        peer.theirs.send(message(abi.NS_MSG_DONE, 1, pid=1))
    assert (first.result().pid, second.result().pid) == (1, 2)


async def test_descriptors_travel_and_stay_ours(peer: Peer) -> None:
    fd = os.open("/dev/null", os.O_RDONLY)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(peer.shim.request(abi.NS_REQ_LAUNCH, fds=[fd]))
        await asyncio.sleep(0)
        _, serial, fds = peer.received()
        peer.theirs.send(message(abi.NS_MSG_FAILED, serial, failure={"step": abi.NS_STEP_LOG, "error": 2}))
    assert task.result().failure is not None
    assert os.readlink(f"/proc/self/fd/{fds[0]}") == "/dev/null"
    for number in (fd, *fds):
        os.close(number)


async def test_entries_are_collected(peer: Peer) -> None:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(peer.shim.entries())
        await asyncio.sleep(0)
        _, serial, _ = peer.received()
        for data in (
            message(abi.NS_MSG_ENTRY, serial, id=b"a.0"),
            message(abi.NS_MSG_ENTRY, 99, id=b"stray"),
            message(abi.NS_MSG_EXIT, 0, id=b"b.0"),
            message(abi.NS_MSG_ENTRY, serial, id=b"c.0"),
            message(abi.NS_MSG_DONE, serial),
        ):
            peer.theirs.send(data)
    assert [entry.id for entry in task.result()] == ["a.0", "c.0"]
    assert [told.id for told in peer.exits] == ["b.0"]


async def test_death_fails_what_waits_and_is_told_once(peer: Peer) -> None:
    async with asyncio.TaskGroup() as tasks:

        async def ask() -> None:
            with pytest.raises(RuntimeFailure, match="shim is gone"):
                await peer.shim.request(abi.NS_REQ_LIST)

        tasks.create_task(ask())
        await asyncio.sleep(0)
        peer.theirs.close()
    assert peer.deaths == 1
    assert peer.shim.closed
    with pytest.raises(RuntimeFailure, match="shim is gone"):
        await peer.shim.request(abi.NS_REQ_LIST)


async def test_what_is_no_message_is_a_death(peer: Peer) -> None:
    peer.theirs.send(b"nonsense")
    await eventually_async(lambda: peer.deaths == 1)


async def test_a_full_socket_is_waited_for(peer: Peer) -> None:
    """Requests that do not fit stay in order; a cancelled one is not sent."""
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(peer.shim.request(abi.NS_REQ_LIST)) for _ in range(2000)]
        await asyncio.sleep(0)
        assert peer.shim._outgoing
        waiting[-1].cancel()
        await asyncio.sleep(0)
        serials: list[int] = []
        peer.theirs.setblocking(False)
        while len(serials) < 1999:
            try:
                serials.append(peer.received()[1])
            except BlockingIOError:
                await asyncio.sleep(0)
            else:
                peer.theirs.send(message(abi.NS_MSG_DONE, serials[-1]))
                await asyncio.sleep(0)
    assert serials == list(range(1, 2000))


async def test_closing_is_no_death(peer: Peer) -> None:
    peer.shim.close()
    peer.shim.close()
    assert peer.deaths == 0


def test_connect(tmp_path: Path) -> None:
    assert connect(tmp_path / "none") is None
    assert connect(tmp_path) is None
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        here = os.open(deep, os.O_PATH)
        listener.bind(f"/proc/self/fd/{here}/shim.sock")
        os.close(here)
        assert connect(deep) is None  # nobody listens
        listener.listen()
        connection = connect(deep)
        assert connection is not None
        connection.close()


# --- commands


async def test_a_command_and_its_output(peer: Peer) -> None:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(peer.shim.execute("a.0", [], timeout=0.5, output_limit=77))
        await asyncio.sleep(0)
        data, _, _, _ = socket.recv_fds(peer.theirs, native.REQUEST_SIZE, 8)
        raw = _ffi.cast("struct ns_request *", _ffi.from_buffer(data))
        assert (raw.kind, raw.timeout_ns, raw.output_limit) == (abi.NS_REQ_EXEC, 500_000_000, 77)
        assert _ffi.string(raw.id) == b"a.0"
        answer = message(abi.NS_MSG_RESULT, raw.serial, wait_status=3 << 8, flags=abi.NS_RESULT_CUT)
        peer.theirs.send(answer + b"x" * abi.NS_OUTPUT_MAX)
    result = task.result()
    assert (result.wait_status, result.flags, result.output) == (3 << 8, abi.NS_RESULT_CUT, b"x" * abi.NS_OUTPUT_MAX)


async def test_a_command_that_nobody_waits_for_any_more_is_killed(peer: Peer) -> None:
    task = asyncio.create_task(peer.shim.execute("a.0", []))
    await asyncio.sleep(0)
    _, serial, _ = peer.received()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    data, _, _, _ = socket.recv_fds(peer.theirs, native.REQUEST_SIZE, 8)
    raw = _ffi.cast("struct ns_request *", _ffi.from_buffer(data))
    assert (raw.kind, raw.of_serial) == (abi.NS_REQ_CANCEL, serial)
    peer.theirs.send(message(abi.NS_MSG_RESULT, serial))  # nobody is surprised
    peer.theirs.send(message(abi.NS_MSG_DONE, raw.serial))
    assert (await _asked(peer)).kind == abi.NS_MSG_DONE


async def _asked(peer: Peer) -> Message:
    task = asyncio.create_task(peer.shim.request(abi.NS_REQ_SUBSCRIBE))
    await asyncio.sleep(0)
    _, serial, _ = peer.received()
    peer.theirs.send(message(abi.NS_MSG_DONE, serial))
    return await task


async def test_a_full_socket_does_not_keep_a_command_from_being_killed(peer: Peer) -> None:
    peer.shim._connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    tasks = [asyncio.create_task(peer.shim.execute("a.0", [])) for _ in range(40)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    peer.theirs.setblocking(False)
    seen: dict[int, set[int]] = {abi.NS_REQ_EXEC: set(), abi.NS_REQ_CANCEL: set()}

    def all_told() -> bool:
        try:
            while True:
                data, _, _, _ = socket.recv_fds(peer.theirs, native.REQUEST_SIZE, 8)
                raw = _ffi.cast("struct ns_request *", _ffi.from_buffer(data))
                seen[raw.kind].add(raw.serial if raw.kind == abi.NS_REQ_EXEC else raw.of_serial)
        except BlockingIOError:
            return len(seen[abi.NS_REQ_CANCEL]) == len(tasks)

    await eventually_async(all_told)
    assert 0 < len(seen[abi.NS_REQ_EXEC]) < len(tasks), "the socket was full"
    assert seen[abi.NS_REQ_EXEC] <= seen[abi.NS_REQ_CANCEL]


async def test_output_behind_anything_else_is_no_message(peer: Peer) -> None:
    peer.theirs.send(message(abi.NS_MSG_DONE, 1) + b"x")
    await eventually_async(lambda: peer.deaths == 1)
