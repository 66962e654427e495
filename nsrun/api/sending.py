"""Writing answers to a client: whole ones, streams, and connections that become something else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from aiohttp import WSMsgType, web

from nsrun.api.connections import Upgrade, WebSocketUpgrade
from nsrun.api.limits import Limits
from nsrun.api.responses import Answer, Response, Streamed, text
from nsrun.api.takeover import HttpProtocol

__all__ = ["send"]

SERVER = "nsrun"
GOOD_BYE = 1.0
"""Seconds that a WebSocket's client has to say it too."""


async def send(request: web.BaseRequest, answer: Answer, limits: Limits) -> web.StreamResponse:
    """Writes the answer; returns when all of it is said. Raises ConnectionError when the client is gone."""
    if isinstance(answer, Streamed):
        return await _stream(request, answer, limits)
    if isinstance(answer, Upgrade):
        return await _upgrade(request, answer, limits)
    if isinstance(answer, WebSocketUpgrade):
        return await _web_socket(request, answer, limits)
    return await _whole(request, answer, limits)


async def _whole(request: web.BaseRequest, answer: Response, limits: Limits) -> web.StreamResponse:
    response = web.Response(status=answer.status, body=answer.body, headers=_headers(answer.content_type))
    response.headers.update(answer.headers)
    assert isinstance(request.protocol, HttpProtocol)
    if request.protocol.withholds or "Upgrade" in request.headers or not request.content.is_eof():
        response.force_close()  # what was not read is not the next request
    async with _patience(request, limits.request):
        await response.prepare(request)
        await response.write_eof()
    return response


async def _stream(request: web.BaseRequest, answer: Streamed, limits: Limits) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=_headers(answer.content_type))
    async with _closing(answer.chunks), _patience(request, limits.stream) as touched:
        await response.prepare(request)
        async for chunk in answer.chunks:
            await response.write(chunk)
            touched()
        await response.write_eof()
    return response


async def _upgrade(request: web.BaseRequest, answer: Upgrade, limits: Limits) -> web.StreamResponse:
    assert isinstance(request.protocol, HttpProtocol)
    connection = None if request.body_exists else request.protocol.take_over()
    if connection is None:
        return await _whole(
            request, text("an upgrade is the first request of its connection, and has no body\n", status=400), limits
        )
    headers = {"Connection": "Upgrade", "Upgrade": answer.protocol, "Server": SERVER, **answer.headers}
    response = web.StreamResponse(status=101, headers=headers)
    response.force_close()
    async with _patience(request, limits.stream) as touched:
        connection.touched = touched
        await response.prepare(request)
        await answer.run(connection)
    return response


async def _web_socket(request: web.BaseRequest, answer: WebSocketUpgrade, limits: Limits) -> web.StreamResponse:
    chosen = _chosen(request, answer.protocols)
    if chosen is None:
        offered = ", ".join(protocol for protocol in answer.protocols if protocol)
        return await _whole(request, text(f"no common WebSocket protocol: here is {offered}\n", status=403), limits)
    socket = web.WebSocketResponse(protocols=(chosen,) if chosen else (), compress=False, timeout=GOOD_BYE)
    try:
        await socket.prepare(request)
    except web.HTTPException as refused:
        return await _whole(request, text(f"{refused.text}\n", status=refused.status), limits)
    assert isinstance(request.protocol, HttpProtocol)
    request.protocol.serving = None
    async with _patience(request, limits.stream) as touched:
        try:
            await answer.run(_Messages(socket, touched))
        finally:
            await socket.close()
    return socket


def _chosen(request: web.BaseRequest, protocols: tuple[str, ...]) -> str | None:
    """The first of the client's that is one of ours; None when there is none."""
    offered = ",".join(request.headers.getall("Sec-WebSocket-Protocol", ()))
    names = [name.strip() for name in offered.split(",") if name.strip()] or [""]
    return next((name for name in names if name in protocols), None)


class _Messages:
    """The ``WebSocket`` of a handler."""

    def __init__(self, socket: web.WebSocketResponse, touched: Callable[[], None]) -> None:
        self._socket = socket
        self._touched = touched

    @property
    def protocol(self) -> str:
        return self._socket.ws_protocol or ""

    async def receive(self) -> bytes | str | None:
        if self._socket.closed:
            return None
        message = await self._socket.receive()
        self._touched()
        if message.type in (WSMsgType.BINARY, WSMsgType.TEXT):
            data: bytes | str = message.data
            return data
        return None

    async def send(self, message: bytes | str) -> None:
        if self._socket.closed:
            raise ConnectionResetError("the client went away")
        if isinstance(message, str):
            await self._socket.send_str(message)
        else:
            await self._socket.send_bytes(message)
        self._touched()

    async def close(self, code: int = 1000) -> None:
        await self._socket.close(code=code)


def _headers(content_type: str) -> dict[str, str]:
    return {"Content-Type": content_type, "X-Content-Type-Options": "nosniff", "Server": SERVER}


@contextlib.asynccontextmanager
async def _closing(chunks: AsyncIterator[bytes]) -> AsyncIterator[None]:
    """A generator that nobody reads any more ends now, not when it is collected."""
    try:
        yield
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()


@contextlib.asynccontextmanager
async def _patience(request: web.BaseRequest, seconds: float) -> AsyncIterator[Callable[[], None]]:
    """Yields what is to be called when something moved; the connection is cut when nothing did for so long."""
    loop = asyncio.get_running_loop()

    def touched() -> None:
        with contextlib.suppress(RuntimeError):  # it is over already
            limit.reschedule(loop.time() + seconds)

    try:
        async with asyncio.timeout(seconds) as limit:
            yield touched
    except TimeoutError:
        if not limit.expired():
            raise
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the client takes too long") from None
