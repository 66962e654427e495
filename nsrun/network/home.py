"""Where the pods' side of the network is: bridge, links, packet filter, pins.

Of root's nsrun it is the network namespace that nsrun itself is in. Otherwise it is one that belongs to the user, and
this process stays outside of it: single threads join it, once and for good (setns(2) lets a thread change its network
namespace), and everything that has to be done there is done by them. What they start, programs too, is there with them.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, Protocol, TypeVar

from nsrun.errors import NetworkError, describe_errno
from nsrun.support import native
from nsrun.support.fds import Fd

__all__ = ["Home", "HostHome", "JoinedHome"]

_Arguments = ParamSpec("_Arguments")
_Value = TypeVar("_Value")


class Home(Protocol):
    """A network namespace, and threads in it."""

    async def run(
        self, function: Callable[_Arguments, _Value], *arguments: _Arguments.args, **named: _Arguments.kwargs
    ) -> _Value:
        """Runs the function, which may block, in a thread that is in the namespace. Cancelled, it returns at once, and
        the thread goes on to the end of what it does."""
        ...

    async def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket there, close-on-exec; the caller closes it. Raises OSError."""
        ...

    def close(self) -> None:
        """Lets threads end that have nothing to do."""
        ...


class HostHome:
    """The network namespace of this process."""

    async def run(
        self, function: Callable[_Arguments, _Value], *arguments: _Arguments.args, **named: _Arguments.kwargs
    ) -> _Value:
        return await asyncio.to_thread(function, *arguments, **named)

    async def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        return socket.socket(family, kind, protocol)

    def close(self) -> None:
        """The threads are the loop's own."""


class JoinedHome:
    """Another network namespace. It needs CAP_SYS_ADMIN in the user namespace that owns it.

    /proc/thread-self/net, /proc/sys/net, netlink, ioctl and what the threads start are that namespace's. /proc/net is
    not: it leads to /proc/self/net, which is the main thread's (proc_pid_net(5)), as is /sys, which is the one's who
    mounted it.
    """

    def __init__(self, namespace: Fd) -> None:
        """Takes the namespace over."""
        self._namespace = namespace
        self._thread = threading.local()
        # A pool of its own: in the loop's default one a joined thread would be anybody's.
        self._pool = ThreadPoolExecutor(thread_name_prefix="nsrun-network")

    async def run(
        self, function: Callable[_Arguments, _Value], *arguments: _Arguments.args, **named: _Arguments.kwargs
    ) -> _Value:
        """Raises NetworkError when the thread cannot join the namespace."""
        work = partial(function, *arguments, **named)
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._joined, work)

    async def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """Made by one of the threads, because joining costs the kernel a millisecond (it waits for RCU)."""
        making = asyncio.ensure_future(self.run(socket.socket, family, kind, protocol))
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            making.add_done_callback(_close_unwanted)
            raise

    def close(self) -> None:
        self._pool.shutdown(wait=False)

    def _joined(self, work: Callable[[], _Value]) -> _Value:
        if not getattr(self._thread, "joined", False):
            self._join()
            self._thread.joined = True
        return work()

    def _join(self) -> None:
        try:
            native.setns(self._namespace.fileno(), native.CLONE_NEWNET)
        except OSError as error:
            raise NetworkError(f"cannot enter the pods' network: {describe_errno(error.errno or 0)}") from error


def _close_unwanted(making: asyncio.Future[socket.socket]) -> None:
    if not making.cancelled() and making.exception() is None:
        making.result().close()
