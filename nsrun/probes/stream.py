"""Connections to pods: opened, written and read without ever blocking the loop, however the other side behaves."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from nsrun.probes.wording import ProbeFailure, errno_text, join_host_port

__all__ = ["Dialer", "PlainStream", "Sockets", "Stream", "TlsStream", "host_socket"]

Sockets = Callable[[int, str], Awaitable[socket.socket]]
"""Makes a TCP socket of this family for a connection to this address: where the pod is may be another network namespace
than this process's."""

CHUNK = 16384

FEW = 32
PAUSE = 0.01
"""After so many reads of one answer each further one waits so many seconds, so that a server that sends byte by byte
costs a hundred reads a second and not all that the processor can do."""


class Stream(Protocol):
    """Bytes to and from a server."""

    async def send(self, data: bytes) -> None:
        """Raises ProbeFailure."""
        ...

    async def receive(self) -> bytes:
        """Some bytes, none at the end. Raises ProbeFailure."""
        ...


async def host_socket(family: int, _address: str) -> socket.socket:
    """A socket in this process's own network namespace."""
    return socket.socket(family, socket.SOCK_STREAM)


class Dialer:
    """Connections to hosts by name or address. Names are looked up in threads of its own: a name server that does not
    answer holds up other probes by name at most, and nothing else."""

    def __init__(self, sockets: Sockets = host_socket) -> None:
        self._sockets = sockets
        self._threads: ThreadPoolExecutor | None = None

    async def dial(self, host: str, port: int) -> PlainStream:
        """A connection; the caller closes it. A host of "" is this machine. Raises ProbeFailure."""
        host = host or "127.0.0.1"
        failure = ProbeFailure(f"dial tcp: lookup {host}: no such host")
        for family, address in await self._addresses(host, port):
            try:
                return await self._connect(family, address)
            except OSError as error:
                failure = ProbeFailure(f"dial tcp {join_host_port(address[0], port)}: connect: {errno_text(error)}")
        raise failure

    async def _addresses(self, host: str, port: int) -> Sequence[tuple[socket.AddressFamily, tuple[str, int]]]:
        """Where to connect to, best first. Raises ProbeFailure."""
        known = _literal(host)
        if known is not None:
            return [(known, (host, port))]
        if self._threads is None:
            self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="probe-names")
        ask = functools.partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        except (OSError, UnicodeError) as error:
            raise ProbeFailure(f"dial tcp: lookup {host}: no such host") from error
        return [(family, (str(at[0]), int(at[1]))) for family, _, _, _, at in found]

    async def _connect(self, family: socket.AddressFamily, address: tuple[str, int]) -> PlainStream:
        opened = await self._sockets(family, address[0])
        try:
            opened.setblocking(False)
            # The kubelet sets SO_LINGER to a second, so that probes leave nothing behind for long. With it close(2)
            # waits, on a socket that does not block as well, until the other side has acknowledged the end, which a
            # pod can keep from happening. This says the same of what the kernel does afterwards.
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_LINGER2, 1)
            await asyncio.get_running_loop().sock_connect(opened, address)
        except BaseException:
            opened.close()
            raise
        return PlainStream(opened)


def _literal(host: str) -> socket.AddressFamily | None:
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, ValueError):
            socket.inet_pton(family, host)
            return family
    return None


class PlainStream:
    """TCP. ``close`` it."""

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened
        self._loop = asyncio.get_running_loop()
        self._reads = 0

    def close(self) -> None:
        self._socket.close()

    async def send(self, data: bytes) -> None:
        try:
            await self._loop.sock_sendall(self._socket, data)
        except OSError as error:
            raise ProbeFailure(f"write tcp {self._ends()}: write: {errno_text(error)}") from error

    async def receive(self) -> bytes:
        self._reads += 1
        if self._reads > FEW:
            await asyncio.sleep(PAUSE)
        try:
            return await self._loop.sock_recv(self._socket, CHUNK)
        except OSError as error:
            raise ProbeFailure(f"read tcp {self._ends()}: read: {errno_text(error)}") from error

    def _ends(self) -> str:
        """``10.0.0.1:41234->10.0.0.2:80``."""
        try:
            here, there = self._socket.getsockname(), self._socket.getpeername()
        except OSError:
            return "?"
        return f"{join_host_port(here[0], here[1])}->{join_host_port(there[0], there[1])}"


class TlsStream:
    """TLS over a plain stream, which stays the caller's to close. Whom it speaks to is not verified."""

    def __init__(self, plain: PlainStream, context: ssl.SSLContext, server_name: str | None) -> None:
        self._plain = plain
        self._arrived, self._leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._arrived, self._leaving, server_hostname=server_name)
        self._heard = b""  # the first bytes of the server, until the handshake is done

    async def handshake(self) -> None:
        """Raises ProbeFailure."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                if not await self._more(handshake=True):
                    raise ProbeFailure("EOF") from None
            except ssl.SSLError as error:
                raise self._failure(error) from error
            else:
                await self._flush()
                return

    async def send(self, data: bytes) -> None:
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise self._failure(error) from error
        await self._flush()

    async def receive(self) -> bytes:
        while True:
            try:
                return self._tls.read(CHUNK)
            except ssl.SSLWantReadError:
                await self._flush()
                if not await self._more():
                    return b""
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLError as error:
                raise self._failure(error) from error

    async def _more(self, *, handshake: bool = False) -> bool:
        data = await self._plain.receive()
        if handshake and len(self._heard) < 5:
            self._heard += data[:5]
        if data:
            self._arrived.write(data)
        else:
            self._arrived.write_eof()
        return bool(data)

    async def _flush(self) -> None:
        if self._leaving.pending:
            await self._plain.send(self._leaving.read())

    def _failure(self, error: ssl.SSLError) -> ProbeFailure:
        if self._heard.startswith(b"HTTP/"):
            return ProbeFailure("http: server gave HTTP response to HTTPS client")
        if error.reason == "WRONG_VERSION_NUMBER":
            return ProbeFailure("tls: first record does not look like a TLS handshake")
        reason = error.reason.lower().replace("_", " ") if error.reason else str(error)
        return ProbeFailure(f"tls: {reason}")
