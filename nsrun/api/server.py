"""The server: it admits, calls the handler of the route, and writes what that returns."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from nsrun.api.access import Access, Caller, Listener, refusal, suspicion
from nsrun.api.authentication import Authentication
from nsrun.api.figures.httpcounts import HttpCounts
from nsrun.api.limits import Limits
from nsrun.api.requests import Request
from nsrun.api.responses import Answer, Response, text
from nsrun.api.routes import Route
from nsrun.api.routing import Match, RouteTable
from nsrun.api.sending import send
from nsrun.api.takeover import HttpProtocol, HttpServer
from nsrun.errors import ApiError, NsrunError, describe_errno

__all__ = ["Secure", "ServerSettings", "serve"]

logger = logging.getLogger(__name__)

_SHUTDOWN = 2.0
_DELIBERATE = frozenset({"authorization", "x-forwarded-for"})
_HELD = frozenset({Access.LOGS, Access.EXEC, Access.CONTROL})


@dataclass(frozen=True, slots=True, kw_only=True)
class Secure:
    """The port with TLS. ``context``: its certificate, and whose certificates clients may show."""

    port: int
    context: ssl.SSLContext
    authentication: Authentication


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Where to listen: always on the socket; on ``address`` at ``read_only_port`` unless that is 0, and at the secure
    port unless there is none. ``host_names``: names of this machine that clients may call it by. ``counts``: where what
    is asked for is counted."""

    socket_path: Path
    address: str
    read_only_port: int
    secure: Secure | None = None
    host_names: Collection[str] = ()
    limits: Limits = field(default_factory=Limits)
    counts: HttpCounts = field(default_factory=HttpCounts)


@contextlib.asynccontextmanager
async def serve(routes: Collection[Route], settings: ServerSettings) -> AsyncIterator[None]:
    """Serves the routes until the block is left; whoever is served then is cut off. Raises ApiError when it cannot
    listen."""
    table = RouteTable(routes)
    async with contextlib.AsyncExitStack() as stack:
        listener = _Door(Listener.SOCKET, table, settings, None)
        await stack.enter_async_context(listener.open(sock=_unix_socket(settings.socket_path)))
        stack.callback(settings.socket_path.unlink, missing_ok=True)
        if settings.read_only_port:
            listener = _Door(Listener.READ_ONLY_PORT, table, settings, None)
            await stack.enter_async_context(
                listener.open(sock=_tcp_socket(settings.address, settings.read_only_port, "--read-only-port"))
            )
        if settings.secure is not None:
            listener = _Door(Listener.SECURE_PORT, table, settings, settings.secure.authentication)
            await stack.enter_async_context(
                listener.open(
                    sock=_tcp_socket(settings.address, settings.secure.port, "--port"), context=settings.secure.context
                )
            )
        yield


class _Door:
    """One listener."""

    def __init__(
        self, listener: Listener, table: RouteTable, settings: ServerSettings, authentication: Authentication | None
    ) -> None:
        self._listener = listener
        self._table = table
        self._settings = settings
        self._authentication = authentication
        self._held: set[asyncio.Task[object]] = set()  # those that answer with a stream, or may

    @contextlib.asynccontextmanager
    async def open(self, *, sock: socket.socket, context: ssl.SSLContext | None = None) -> AsyncIterator[None]:
        server = HttpServer(self._handle, self._settings.limits)
        handshake = self._settings.limits.handshake if context is not None else None
        listening = await asyncio.get_running_loop().create_server(
            server, sock=sock, ssl=context, ssl_handshake_timeout=handshake
        )
        try:
            yield
        finally:
            listening.close()
            for task in self._held:
                task.cancel()
            server.pre_shutdown()
            await server.shutdown(_SHUTDOWN)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        read_only = self._listener is Listener.READ_ONLY_PORT
        with self._settings.counts.serving(request.method, request.rel_url.raw_path, read_only=read_only):
            return await self._serve(request)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        protocol, task = request.protocol, asyncio.current_task()
        assert isinstance(protocol, HttpProtocol)
        assert task is not None
        protocol.serving = task
        try:
            answer = await self._answer(request, task)
            return await send(request, answer, self._settings.limits)
        except ConnectionError as error:
            logger.debug("%s %s: %s", request.method, request.rel_url.raw_path, error)
        except Exception:
            logger.exception("Internal error in the API: %s %s", request.method, request.rel_url.raw_path)
        finally:
            protocol.serving = None
            self._held.discard(task)
        protocol.force_close()  # what was begun stays torn
        return web.Response()

    async def _answer(self, request: web.BaseRequest, task: asyncio.Task[object]) -> Answer:
        try:
            found = self._table.find(request.method, request.rel_url.raw_path)
            refused = await self._refusal(request, found.route.access if isinstance(found, Match) else None)
            if refused is not None:
                return refused
            if not isinstance(found, Match):
                return _nothing_there(found)
            if found.route.access in _HELD:
                if len(self._held) >= self._settings.limits.streams:
                    return _too_many()
                self._held.add(task)
            return await found.route.handler(await _value(request, found, self._settings.limits))
        except _Unacceptable as error:
            return error.answer
        except NsrunError as error:
            return text(f"Internal Error: {error}\n", status=500)
        except Exception:
            logger.exception("Internal error in the API: %s %s", request.method, request.rel_url.raw_path)
            return text("Internal Error\n", status=500)

    async def _refusal(self, request: web.BaseRequest, access: Access | None) -> Response | None:
        caller = Caller(
            listener=self._listener,
            host=request.headers.get("Host", ""),
            origin=request.headers.get("Origin"),
            deliberate=not _DELIBERATE.isdisjoint(name.lower() for name in request.headers),
            uid=_peer_uid(request) if self._listener is Listener.SOCKET else None,
        )
        suspect = suspicion(caller, host_names=self._settings.host_names)
        if suspect is not None:
            return suspect
        if self._authentication is not None:
            peer = request.transport.get_extra_info("peercert") if request.transport is not None else None
            user = await self._authentication.user(request.headers.get("Authorization"), peer)
            caller = Caller(listener=self._listener, user=user)
        return refusal(caller, access, owner=os.geteuid(), method=request.method, path=request.rel_url.raw_path)


class _Unacceptable(Exception):
    """The request cannot be read."""

    def __init__(self, answer: Response) -> None:
        super().__init__()
        self.answer = answer


async def _value(request: web.BaseRequest, match: Match, limits: Limits) -> Request:
    """Raises _Unacceptable."""
    query = request.rel_url.query
    return Request(
        method=request.method,
        path=request.path,
        parameters=match.parameters,
        query={name: tuple(query.getall(name)) for name in query},
        headers={name.lower(): ",".join(request.headers.getall(name)) for name in request.headers},
        body=b"" if "Upgrade" in request.headers else await _body(request, limits),
    )


async def _body(request: web.BaseRequest, limits: Limits) -> bytes:
    if (request.content_length or 0) > limits.body:
        raise _Unacceptable(text("request body too large\n", status=413))
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = bytearray()
    try:
        async with asyncio.timeout(limits.request):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > limits.body:
                    raise _Unacceptable(text("request body too large\n", status=413))
    except TimeoutError:
        raise _Unacceptable(text("the request takes too long\n", status=408)) from None
    except web.RequestPayloadError as error:
        raise _Unacceptable(text("the request's body is broken\n", status=400)) from error
    return bytes(body)


def _nothing_there(methods: frozenset[str]) -> Response:
    if not methods:
        return text("404 page not found\n", status=404)
    answer = text("405: Method Not Allowed\n", status=405)
    return Response(
        status=answer.status,
        content_type=answer.content_type,
        body=answer.body,
        headers={"Allow": ", ".join(sorted(methods))},
    )


def _too_many() -> Response:
    answer = text("too many streams, try again later\n", status=429)
    return Response(
        status=answer.status, content_type=answer.content_type, body=answer.body, headers={"Retry-After": "1"}
    )


def _peer_uid(request: web.BaseRequest) -> int | None:
    if request.transport is None:
        return None
    peer = request.transport.get_extra_info("socket")
    _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(uid)


def _unix_socket(path: Path) -> socket.socket:
    """Listens at ``path``, 0600; through the directory's fd, since sun_path holds only 108 bytes."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        path.unlink(missing_ok=True)
        listener.bind(f"/proc/self/fd/{directory}/{path.name}")
        os.chmod(path, 0o600)
    except OSError as error:
        listener.close()
        raise ApiError(f'cannot listen on "{path}": {describe_errno(error.errno or 0)}') from error
    finally:
        os.close(directory)
    return listener


def _tcp_socket(address: str, port: int, flag: str) -> socket.socket:
    """Raises ApiError."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST
        )[0]
        listener = socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(where)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        cause = str(error) if isinstance(error, socket.gaierror) else describe_errno(error.errno or 0)
        raise ApiError(
            f"cannot listen on {address}:{port}: {cause}",
            hint=f"another program, perhaps a kubelet, has it; choose another with {flag}, or 0 for none",
        ) from error
    return listener
