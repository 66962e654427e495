"""Two connections carried into each other, over real sockets."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator

import pytest

from nsrun.support.splice import relay
from tests.waiting import PATIENCE, eventually_async


def connection() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
    for end in (client, accepted):
        end.setblocking(False)
    return client, accepted


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket, socket.socket, socket.socket]]:
    """Left, and the relay's end of it; the relay's end of right, and right."""
    (left, one), (other, right) = connection(), connection()
    yield left, one, other, right
    for end in (left, one, other, right):
        end.close()


Ends = tuple[socket.socket, socket.socket, socket.socket, socket.socket]


async def read_all(end: socket.socket) -> bytes:
    parts = []
    while part := await asyncio.get_running_loop().sock_recv(end, 1 << 16):
        parts.append(part)
    return b"".join(parts)


async def test_either_direction_may_end_first(ends: Ends) -> None:
    left, one, other, right = ends
    loop = asyncio.get_running_loop()
    data = os.urandom(3 << 20)
    carrying = asyncio.create_task(relay(one, other))
    sending = asyncio.create_task(loop.sock_sendall(left, data))
    sending.add_done_callback(lambda _: left.shutdown(socket.SHUT_WR))
    assert await read_all(right) == data
    assert not carrying.done()
    await loop.sock_sendall(right, b"answer")
    right.close()
    assert await read_all(left) == b"answer"
    await asyncio.wait_for(carrying, 10 * PATIENCE)
    assert one.fileno() == other.fileno() == -1


async def test_what_nobody_reads_stops_the_sender(ends: Ends) -> None:
    left, one, other, right = ends
    carrying = asyncio.create_task(relay(one, other))
    sent = looks = 0

    def stuck() -> bool:
        """Full for ten looks in a row, although the relay has its turn between them."""
        nonlocal sent, looks
        try:
            sent += left.send(bytes(1 << 20))
        except BlockingIOError:
            looks += 1
        else:
            looks = 0
        return looks == 10

    await eventually_async(stuck)
    assert sent < 64 << 20
    left.shutdown(socket.SHUT_WR)
    assert len(await read_all(right)) == sent
    right.close()
    await asyncio.wait_for(carrying, 10 * PATIENCE)


async def test_an_abort_is_carried_over(ends: Ends) -> None:
    left, one, other, right = ends
    carrying = asyncio.create_task(relay(one, other))
    right.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    right.close()
    with pytest.raises(OSError):
        await asyncio.wait_for(carrying, 10 * PATIENCE)
    with pytest.raises(ConnectionResetError):
        await asyncio.get_running_loop().sock_recv(left, 1)


async def test_a_relay_that_is_cancelled_keeps_nothing(ends: Ends) -> None:
    left, one, other, _ = ends
    before = len(os.listdir("/proc/self/fd"))
    carrying = asyncio.create_task(relay(one, other))
    await eventually_async(lambda: len(os.listdir("/proc/self/fd")) == before + 4)
    carrying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await carrying
    assert len(os.listdir("/proc/self/fd")) == before - 2
    assert await asyncio.get_running_loop().sock_recv(left, 1) == b""
