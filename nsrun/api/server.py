"""The server: the API's doorway to aiohttp. It admits, calls the handler of the route, and writes what that returns."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Collection
from pathlib import Path

from aiohttp import web

from nsrun.api.access import Caller, Listener, refusal
from nsrun.api.requests import Request
from nsrun.api.responses import Response, forbidden
from nsrun.api.routes import Route
from nsrun.errors import ApiError, describe_errno

__all__ = ["serve"]

_MAX_BODY = 1 << 20


@contextlib.asynccontextmanager
async def serve(
    routes: Collection[Route], *, socket_path: Path, address: str, port: int, host_names: Collection[str]
) -> AsyncIterator[None]:
    """Serves the routes on the socket and, unless ``port`` is 0, on ``address:port``, until the block is left.

    Raises ApiError when it cannot listen.
    """
    runners: list[web.AppRunner] = []
    try:
        runner = await _runner(routes, Listener.SOCKET, host_names)
        runners.append(runner)
        await web.SockSite(runner, _unix_socket(socket_path)).start()
        if port:
            runner = await _runner(routes, Listener.READ_ONLY_PORT, host_names)
            runners.append(runner)
            await _listen(runner, address, port)
        yield
    finally:
        for runner in runners:
            await runner.cleanup()
        socket_path.unlink(missing_ok=True)


async def _runner(routes: Collection[Route], listener: Listener, host_names: Collection[str]) -> web.AppRunner:
    app = web.Application(client_max_size=_MAX_BODY)
    for route in routes:
        app.router.add_route(route.method, route.path, _adapter(route, listener, host_names))
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=2.0)
    await runner.setup()
    return runner


def _adapter(route: Route, listener: Listener, host_names: Collection[str]):  # type: ignore[no-untyped-def]
    async def handle(request: web.Request) -> web.Response:
        caller = Caller(
            listener=listener, host=request.host, origin=request.headers.get("Origin"), uid=_peer_uid(request, listener)
        )
        why = refusal(caller, route.access, owner=os.geteuid(), host_names=host_names)
        answer = forbidden(why) if why is not None else await route.handler(await _value(request))
        assert isinstance(answer, Response), "no route streams yet"
        return _written(answer)

    return handle


async def _value(request: web.Request) -> Request:
    return Request(
        method=request.method,
        path=request.path,
        parameters=dict(request.match_info),
        query={name: tuple(request.query.getall(name)) for name in request.query},
        headers={name.lower(): ",".join(request.headers.getall(name)) for name in request.headers},
        body=await request.read(),
    )


def _written(response: Response) -> web.Response:
    headers = {"Content-Type": response.content_type, "X-Content-Type-Options": "nosniff"}
    return web.Response(status=response.status, body=response.body, headers=headers)


def _peer_uid(request: web.Request, listener: Listener) -> int | None:
    if listener is not Listener.SOCKET or request.transport is None:
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


async def _listen(runner: web.AppRunner, address: str, port: int) -> None:
    try:
        await web.TCPSite(runner, address, port).start()
    except OSError as error:
        raise ApiError(
            f"cannot listen on {address}:{port}: {describe_errno(error.errno or 0)}",
            hint="another program, perhaps a kubelet, has it; choose another with --read-only-port, or 0 for none",
        ) from error
