"""Listeners on the host, and for each of their connections one into the pod."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import resource
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from nsrun.cli.forwarding.forwards import Address, Forward
from nsrun.errors import NsrunError, describe_errno
from nsrun.network.dial import dial_loopback
from nsrun.support.fds import Fd
from nsrun.support.splice import relay

__all__ = ["Listener", "forward", "open_listeners"]

_FDS_PER_CONNECTION = 8
"""Two sockets and two pipes; and the namespace while it is entered."""
_FDS_OF_OURS = 64
_BACKLOG = 128
_ACCEPT_AGAIN = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One open port of the host. ``local``: its number, also when any free one was asked for."""

    endpoint: socket.socket
    address: Address
    local: int
    remote: int


def open_listeners(forwards: Sequence[Forward], addresses: Sequence[Address], held: ExitStack) -> list[Listener]:
    """Every port on every address; ``held`` closes them. Raises NsrunError."""
    return [listener for one in forwards for listener in _listeners(one, addresses, held)]


def _listeners(asked: Forward, addresses: Sequence[Address], held: ExitStack) -> list[Listener]:
    """A port that may be any is the same one on all addresses."""
    opened: list[Listener] = []
    refusal: NsrunError | None = None
    for address in addresses:
        port = asked.local or (opened[0].local if opened else 0)
        try:
            endpoint = held.enter_context(_listen(address, port))
        except OSError as error:
            refusal = NsrunError(f"cannot listen on {address.shown(port)}: {describe_errno(error.errno or 0)}")
            if not address.optional:
                raise refusal from error
            continue
        local = endpoint.getsockname()[1]
        opened.append(Listener(endpoint=endpoint, address=address, local=local, remote=asked.remote))
    if not opened and refusal is not None:
        raise refusal
    return opened


def _listen(address: Address, port: int) -> socket.socket:
    endpoint = socket.socket(address.family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.family is socket.AF_INET6:
            endpoint.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        endpoint.bind((address.host, port))
        endpoint.listen(_BACKLOG)
        endpoint.setblocking(False)
    except BaseException:
        endpoint.close()
        raise
    return endpoint


async def forward(
    listeners: Sequence[Listener],
    pin: Path | None,
    pod: Fd,
    *,
    say: Callable[[str], None],
    complain: Callable[[NsrunError], None],
) -> None:
    """Serves until the process behind the pidfd ``pod`` ends. ``pin``: the pod's network namespace, None for the
    host's. ``say`` is told of each connection; ``complain`` of each that cannot be made, which ends nothing else."""
    room = asyncio.Semaphore(_room())
    async with asyncio.TaskGroup() as tasks:
        serving = [tasks.create_task(_serve(one, pin, room, say=say, complain=complain)) for one in listeners]
        await _end_of(pod)
        for task in serving:
            task.cancel()


def _room() -> int:
    """How many connections there may be at a time: as many as there are descriptors for. Others wait in the backlog."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return max((most - _FDS_OF_OURS) // _FDS_PER_CONNECTION, 1)


async def _end_of(process: Fd) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(process.fileno(), ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(process.fileno())


async def _serve(
    listener: Listener,
    pin: Path | None,
    room: asyncio.Semaphore,
    *,
    say: Callable[[str], None],
    complain: Callable[[NsrunError], None],
) -> None:
    async with asyncio.TaskGroup() as connections:
        while True:
            await room.acquire()
            client = await _accepted(listener.endpoint)
            say(f"Handling connection for {listener.local}")
            connection = connections.create_task(_carry(client, listener, pin, complain))
            connection.add_done_callback(lambda _: room.release())


async def _accepted(endpoint: socket.socket) -> socket.socket:
    """The next connection. One that was given up meanwhile is no matter; when the machine has no descriptor, or no
    memory, for another one, it waits, as asyncio's own servers do."""
    while True:
        try:
            return (await asyncio.get_running_loop().sock_accept(endpoint))[0]
        except ConnectionAbortedError:
            continue
        except OSError:
            await asyncio.sleep(_ACCEPT_AGAIN)


async def _carry(
    client: socket.socket, listener: Listener, pin: Path | None, complain: Callable[[NsrunError], None]
) -> None:
    with client:
        try:
            inside = await dial_loopback(pin, listener.remote)
        except OSError as error:
            cause = describe_errno(error.errno or errno.ETIMEDOUT)
            complain(NsrunError(f"cannot forward {listener.local} -> {listener.remote}: {cause}"))
            return
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):  # whoever aborted it knows
            await relay(client, inside)
