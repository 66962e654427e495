"""Connections to what listens inside a pod, made as a process in the pod would make them: from its own loopback."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

from nsrun.network.netns import is_pinned
from nsrun.support import native
from nsrun.support.fds import Fd
from nsrun.support.threads import finish_in_thread

__all__ = ["CONNECT_SECONDS", "dial_loopback"]

CONNECT_SECONDS = 10.0
"""A listener whose backlog is full does not answer at all; a loopback that lives answers within microseconds."""

# One after the other, as the container runtimes of other kubelets do: a program may listen on one family only.
_LOOPBACKS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


async def dial_loopback(pin: Path | None, port: int, *, seconds: float = CONNECT_SECONDS) -> socket.socket:
    """A TCP connection, which does not block, to ``port`` of the loopback of the namespace that is pinned at ``pin``;
    None: of this one. The caller closes it.

    Raises OSError: that of the first family; FileNotFoundError when nothing is pinned there; TimeoutError.
    """
    refusal: OSError | None = None
    async with asyncio.timeout(seconds):
        for family, address in _LOOPBACKS:
            try:
                return await _connect(pin, family, (address, port))
            except OSError as error:
                refusal = refusal or error
    assert refusal is not None
    raise refusal


async def _connect(pin: Path | None, family: socket.AddressFamily, address: tuple[str, int]) -> socket.socket:
    made = await finish_in_thread(_endpoint, pin, family, undo=socket.socket.close)
    try:
        await asyncio.get_running_loop().sock_connect(made, address)
    except BaseException:
        made.close()
        raise
    return made


def _endpoint(pin: Path | None, family: socket.AddressFamily) -> socket.socket:
    """Blocks while a child joins the namespace."""
    if pin is None:
        made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    else:
        if not is_pinned(pin):
            raise FileNotFoundError(2, "no namespace is pinned", str(pin))
        with Fd.open(pin, os.O_RDONLY | os.O_NOFOLLOW) as namespace:
            made = native.socket_in(namespace.fileno(), family, socket.SOCK_STREAM)
    made.setblocking(False)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made
