"""One HTTP probe or hook: asks, follows redirects on the same host, and judges (pkg/probe/http, lifecycle/handlers.go).

A connection per request, nothing compressed, no proxy, no certificate verified."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, replace

from nsrun.errors import NetworkError
from nsrun.model.probe import HttpGet
from nsrun.model.running import CheckResult
from nsrun.probes.http_request import Request, redirected, request_of
from nsrun.probes.http_response import BodyFailure, ResponseReader
from nsrun.probes.stream import Dialer, PlainStream, Stream, TlsStream
from nsrun.probes.wording import LIFECYCLE_AGENT, PROBE_AGENT, ProbeFailure, quoted, shortened

__all__ = ["HttpAsker"]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_AWAITING = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
_READING = "context deadline exceeded (Client.Timeout or context cancellation while reading body)"
_NOT_TLS = "http: server gave HTTP response to HTTPS client"


@dataclass(slots=True)
class _Progress:
    """What is being asked for, and what has come of it: also of an attempt that ran out of time."""

    request: Request
    reader: ResponseReader


class HttpAsker:
    """Asks over HTTP. Belongs to one event loop."""

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer
        self._tls: ssl.SSLContext | None = None

    async def check(self, action: HttpGet, address: str, timeout: float) -> CheckResult:
        """A probe; ``timeout`` in seconds. Raises NetworkError when the body cannot be read after a head that could:
        the kubelet makes nothing of such an answer."""
        progress = _Progress(request_of(action, address, PROBE_AGENT), ResponseReader())
        try:
            async with asyncio.timeout(timeout):
                await self._follow(progress, body=True)
        except ProbeFailure as error:
            return CheckResult(success=False, message=_get(progress.request, error))
        except BodyFailure as error:
            raise NetworkError(str(error)) from error
        except TimeoutError as error:
            if progress.reader.status:
                raise NetworkError(_READING) from error
            return CheckResult(success=False, message=_get(progress.request, _AWAITING))
        return _judged(progress.reader)

    async def call(self, action: HttpGet, address: str, timeout: float | None) -> str | None:
        """A hook: any answer is a success. A server that speaks HTTP where HTTPS was meant is asked again in HTTP, and
        what is returned says so. Raises NetworkError."""
        progress = _Progress(request_of(action, address, LIFECYCLE_AGENT), ResponseReader())
        try:
            async with asyncio.timeout(timeout):
                return await self._call(progress)
        except ProbeFailure as error:
            raise NetworkError(_get(progress.request, error)) from error
        except TimeoutError as error:
            raise NetworkError(_get(progress.request, _AWAITING)) from error

    async def _call(self, progress: _Progress) -> str | None:
        try:
            await self._follow(progress, body=False)
        except ProbeFailure as error:
            if str(error) != _NOT_TLS:
                raise
            request = progress.request
            # What was meant to be hidden is not sent in the open.
            headers = tuple(header for header in request.headers if header[0] != "Authorization")
            progress.request = replace(request, scheme="http", headers=headers)
            await self._follow(progress, body=False)
            host = request.authority
            return f"request to HTTPS lifecycle hook {host} got HTTP response, retry with HTTP succeeded"
        return None

    async def _follow(self, progress: _Progress, *, body: bool) -> None:
        """Asks, and again where it is sent to. Raises ProbeFailure, BodyFailure."""
        while True:
            following = await self._ask(progress, body=body)
            if following is None:
                return
            progress.request, progress.reader = following, ResponseReader()

    async def _ask(self, progress: _Progress, *, body: bool) -> Request | None:
        """One request; what to ask next is returned. The body is read only of the answer that is the last, and only
        if it is wanted."""
        request, reader = progress.request, progress.reader
        data = request.encoded()
        plain = await self._dialer.dial(request.host, request.port)
        try:
            stream = await self._secured(plain, request)
            await stream.send(data)
            while reader.status == 0:
                await _read(stream, reader)
            following = _following(request, reader)
            while body and following is None and not reader.done:
                await _read(stream, reader)
            return following
        finally:
            plain.close()

    async def _secured(self, plain: PlainStream, request: Request) -> Stream:
        if request.scheme != "https":
            return plain
        if self._tls is None:
            self._tls = _unverified()
        try:
            stream = TlsStream(plain, self._tls, request.host or None)
        except ValueError as error:
            raise ProbeFailure(f"tls: invalid server name {quoted(request.host.encode())}") from error
        await stream.handshake()
        return stream


async def _read(stream: Stream, reader: ResponseReader) -> None:
    try:
        received = await stream.receive()
    except ProbeFailure as error:
        if reader.status:
            raise BodyFailure(str(error)) from error
        raise
    if received:
        reader.feed(received)
    else:
        reader.end()


def _following(request: Request, reader: ResponseReader) -> Request | None:
    """What to ask next, None when this answer is the last. Raises ProbeFailure."""
    if reader.status not in _REDIRECTS:
        return None
    if reader.location:
        return redirected(request, reader.location)
    if reader.status in (307, 308):
        raise ProbeFailure(f"{reader.status} response missing Location header")
    return None


def _unverified() -> ssl.SSLContext:
    """Certificates of pods are their own affair, and so is how strong their keys are."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=1")
    return context


def _judged(reader: ResponseReader) -> CheckResult:
    body = reader.body.decode(errors="replace")
    if 300 <= reader.status < 400:
        message = f"Probe terminated redirects, Response body: {body}"
        return CheckResult(success=True, message=message, warning=True)
    if 200 <= reader.status < 300:
        return CheckResult(success=True, message=body)
    # Not the body: it would show to whoever reads events what only the pod's network may see (kubernetes#99425).
    return CheckResult(success=False, message=f"HTTP probe failed with statuscode: {reader.status}")


def _get(request: Request, error: object) -> str:
    return f'Get "{shortened(request.url)}": {shortened(str(error))}'
