"""Registries over HTTP (OCI distribution-spec v2): the images' one doorway to aiohttp.

What a registry says is hearsay until a digest confirms it. So: nothing is read past its announced size, redirects are
followed by hand (``exchange.redirected``, ``Home.objection``), names that strangers give us may not resolve to this
machine, ``urls`` of descriptors are never looked at, content codings are refused. Errors are clauses (`registry "x"
answered …`); the puller makes sentences of them.
"""

from __future__ import annotations

import asyncio
import http
import ipaddress
import json
import random
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from nsrun.errors import ImageError, describe_errno
from nsrun.images.auth import Proofs, authorized, pull_scope
from nsrun.images.credentials import Credentials
from nsrun.images.digests import digest_of, is_digest
from nsrun.images.documents import DOCUMENT_LIMIT, INDEX_TYPES, MANIFEST_TYPES, Descriptor
from nsrun.images.exchange import Answer, Home, Origin, Request, is_local_address, origin_of, redirected
from nsrun.images.proxies import proxy_for
from nsrun.images.registries import Endpoint
from nsrun.images.retry import RETRIED_STATUSES, Backoff, Transient, seconds_of_retry_after
from nsrun.images.tls import tls_context
from nsrun.images.wording import printable
from nsrun.support.clock import Clock, SystemClock

__all__ = ["BlobSink", "FetchedManifest", "RegistryClient"]

T = TypeVar("T")

_HUB, _HUB_SERVER = "docker.io", "registry-1.docker.io"
_ACCEPT = ", ".join(sorted(MANIFEST_TYPES | INDEX_TYPES))
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REDIRECT_LIMIT = 8
_SMALL_BODY = 64 << 10  # tokens and error texts
_CHUNK = 1 << 20
_CONNECT_SECONDS, _SILENCE_SECONDS = 15.0, 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedManifest:
    """A manifest or index as it was sent, its digest computed from the bytes."""

    data: bytes
    media_type: str
    digest: str


class BlobSink(Protocol):
    """Where a blob goes. ``offset``: bytes taken so far. Raises ImageError, never OSError (that is the network's)."""

    @property
    def offset(self) -> int: ...

    async def write(self, chunk: bytes) -> None: ...

    async def restart(self) -> None:
        """Forgets everything taken so far."""
        ...


class _Unreachable(Transient):
    """No connection came about; nothing was asked yet."""


class RegistryClient:
    """Asks registries. One connection pool, and one memory of tokens, per registry host."""

    def __init__(
        self,
        *,
        credentials: Credentials,
        certificates: Path,
        environment: Mapping[str, str],
        clock: Clock | None = None,
        backoff: Backoff | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """``certificates``: a containers-certs.d(5) directory. ``environment`` names proxies."""
        self._credentials = credentials
        self._certificates = certificates
        self._environment = environment
        self._clock = clock or SystemClock()
        self._backoff = backoff or Backoff()
        self._chance = chance
        self._connections: dict[tuple[str, bool], _Connection] = {}

    async def close(self) -> None:
        """Closes every connection."""
        while self._connections:
            _, connection = self._connections.popitem()
            await connection.close()

    async def manifest(self, endpoint: Endpoint, identifier: str) -> FetchedManifest:
        """Fetches a manifest or index by tag or digest. Raises ImageError."""
        return await self._retrying(lambda: self._manifest(endpoint, identifier), endpoint)

    async def digest(self, endpoint: Endpoint, identifier: str) -> str | None:
        """The digest that a tag names now, None when the registry does not say. Raises ImageError."""
        return await self._retrying(lambda: self._digest(endpoint, identifier), endpoint)

    async def blob(self, endpoint: Endpoint, descriptor: Descriptor, sink: BlobSink) -> bool:
        """Streams a blob of exactly ``descriptor.size`` bytes into ``sink``; the digest is the sink's to verify.

        A broken transfer goes on where it broke; True when the blob was pieced together so. Raises ImageError.
        """
        return await self._retrying(lambda: self._blob(endpoint, descriptor, sink), endpoint, persistent=True)

    async def _manifest(self, endpoint: Endpoint, identifier: str) -> FetchedManifest:
        async with self._ask("GET", endpoint, f"manifests/{identifier}", {"Accept": _ACCEPT}) as response:
            _refuse_coding(response, endpoint)
            if (response.content_length or 0) > DOCUMENT_LIMIT:
                raise ImageError(f"{_who(endpoint)} sent a manifest larger than {DOCUMENT_LIMIT >> 20} MiB")
            data = await _read(response, DOCUMENT_LIMIT + 1)
            media_type = response.headers.get("Content-Type", "")
            stated = response.headers.get("Docker-Content-Digest", "")
        if len(data) > DOCUMENT_LIMIT:
            raise ImageError(f"{_who(endpoint)} sent a manifest larger than {DOCUMENT_LIMIT >> 20} MiB")
        wanted = identifier if is_digest(identifier) else stated if is_digest(stated) else ""
        digest = digest_of(data, like=wanted)
        if wanted and digest != wanted:
            raise ImageError(f"{_who(endpoint)} sent a manifest with digest {digest} instead of {wanted}")
        return FetchedManifest(data=data, media_type=media_type, digest=digest)

    async def _digest(self, endpoint: Endpoint, identifier: str) -> str | None:
        async with self._ask("HEAD", endpoint, f"manifests/{identifier}", {"Accept": _ACCEPT}) as response:
            stated = response.headers.get("Docker-Content-Digest", "")
        return stated if is_digest(stated) else None

    async def _blob(self, endpoint: Endpoint, descriptor: Descriptor, sink: BlobSink) -> bool:
        begun = sink.offset
        headers = {"Range": f"bytes={begun}-"} if begun else {}
        try:
            async with self._ask("GET", endpoint, f"blobs/{descriptor.digest}", headers, partial=True) as response:
                _refuse_coding(response, endpoint)
                await _position(response, endpoint, descriptor, sink)
                await _pour(response, endpoint, descriptor, sink)
                return response.status == 206
        except Transient:
            if sink.offset == begun and begun:
                await sink.restart()  # the range brought nothing: the next attempt asks for the whole
            raise

    @asynccontextmanager
    async def _ask(
        self, method: str, endpoint: Endpoint, path: str, headers: Mapping[str, str], *, partial: bool = False
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request with proof of identity; what is not a success becomes Transient or ImageError."""
        connection = await self._connection(endpoint)
        url = f"{connection.home.origin}/v2/{endpoint.repository}/{path}"
        async with connection.exchange(Request(method=method, url=url, headers=headers), endpoint) as response:
            if response.status == 200 or (partial and response.status == 206):
                yield response
            else:
                await self._refuse(response, endpoint)

    async def _refuse(self, response: aiohttp.ClientResponse, endpoint: Endpoint) -> None:
        status = response.status
        cause = f"{_who(endpoint)} answered {_status(status)}{await _detail(response)}"
        if status in RETRIED_STATUSES or status == 416:
            wait = seconds_of_retry_after(response.headers.get("Retry-After"), self._clock.now())
            raise Transient(cause, retry_after=wait)
        hint = None
        if status in (401, 403):
            hint = f'put credentials for "{endpoint.host}" into auth.json, as skopeo login or podman login do'
        raise ImageError(cause, hint=hint)

    async def _connection(self, endpoint: Endpoint) -> _Connection:
        key = (endpoint.host, endpoint.insecure)
        connection = self._connections.get(key)
        if connection is None:
            connection = _Connection(
                endpoint,
                credentials=self._credentials,
                certificates=self._certificates,
                environment=self._environment,
                proofs=Proofs(self._clock.monotonic),
            )
            self._connections[key] = connection
        await connection.settle()
        return connection

    async def _retrying(self, work: Callable[[], Awaitable[T]], endpoint: Endpoint, *, persistent: bool = False) -> T:
        """``persistent``: also goes on when no connection comes about; otherwise another mirror may be better."""
        attempt = 0
        while True:
            try:
                return await work()
            except Transient as failure:
                wait = self._backoff.pause(attempt, failure.retry_after, self._chance)
                if wait is None or (isinstance(failure, _Unreachable) and not persistent):
                    tries = f" (tried {attempt + 1} times)" if attempt else ""
                    raise ImageError(f"{failure.cause}{tries}", hint=failure.hint) from None
                await self._clock.sleep(wait)
            attempt += 1


class _Connection:
    """Everything about one registry host. ``home`` is settled before the first request."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        credentials: Credentials,
        certificates: Path,
        environment: Mapping[str, str],
        proofs: Proofs,
    ) -> None:
        self._name = endpoint.host
        self._credentials = credentials
        self._certificates = certificates
        self._environment = environment
        self._proofs = proofs
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._settled = not endpoint.insecure
        self._settling = asyncio.Lock()
        self.home = Home(origin=_home_origin("https", endpoint.host), insecure=endpoint.insecure)
        self._session = _session(self.home, environment)

    async def close(self) -> None:
        await self._session.close()

    async def settle(self) -> None:
        """Finds out whether an insecure registry speaks TLS; when it does not, goes on without."""
        async with self._settling:
            if self._settled:
                return
            if not await self._speaks(self.home):
                plain = Home(origin=_home_origin("http", self._name), insecure=True)
                if await self._speaks(plain):
                    self.home = plain
                else:
                    return  # nobody there: the request itself will say why, and the next one looks again
            self._settled = True

    async def _speaks(self, home: Home) -> bool:
        try:
            response = await self._send(Request(method="GET", url=f"{home.origin}/v2/"))
        except (Transient, ImageError):
            return False
        response.close()
        return True

    @asynccontextmanager
    async def exchange(self, request: Request, endpoint: Endpoint) -> AsyncIterator[aiohttp.ClientResponse]:
        """Drives the authorisation flow; gives the last answer, its body unread."""
        flow = authorized(
            request,
            scope=pull_scope(endpoint.repository),
            home=self.home,
            credential=self._credentials.find(endpoint.host, endpoint.repository),
            proofs=self._proofs,
        )
        step: Request | None = next(flow)
        while step is not None:
            response = await self._follow(step)
            try:
                body = await _read(response, _SMALL_BODY) if step.wants_body else b""
                try:
                    step = flow.send(_answer(response, body))
                except StopIteration:
                    step = None
                if step is None:
                    yield response
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise _failure(error, origin_of(request.url)) from None
            finally:
                response.release()

    async def _follow(self, request: Request) -> aiohttp.ClientResponse:
        """Sends the request, wherever it leads."""
        for _ in range(_REDIRECT_LIMIT):
            response = await self._send(request)
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or location is None:
                return response
            response.close()
            request = redirected(request, location)
            objection = self.home.objection(request.url) if not request.body else "it would get our token"
            if objection is not None:
                target = printable(request.url.partition("?")[0])
                raise ImageError(f'registry "{self._name}" redirects us to "{target}": {objection}')
        raise ImageError(f'registry "{self._name}" redirects us more than {_REDIRECT_LIMIT} times')

    async def _send(self, request: Request) -> aiohttp.ClientResponse:
        origin = origin_of(request.url)
        if origin is None:
            raise ImageError(f'registry "{self._name}" cannot be asked at "{printable(request.url)}"')
        try:
            return await self._session.request(
                request.method,
                URL(request.url, encoded=True),  # verbatim: signed URLs must not be quoted anew
                headers=dict(request.headers),
                data=request.body or None,
                allow_redirects=False,
                ssl=await self._context(origin) if origin.scheme == "https" else True,
                proxy=proxy_for(origin, self._environment),
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _failure(error, origin) from None
        except ValueError as error:
            raise ImageError(f'registry "{self._name}" cannot be asked: {printable(str(error))}') from None

    async def _context(self, origin: Origin) -> ssl.SSLContext:
        known = self._contexts.get(origin.authority)
        if known is None:
            home = origin.host == self.home.origin.host
            directory = self._certificates / (self._name if home else origin.authority)
            known = await asyncio.to_thread(tls_context, directory, verify=not (home and self.home.insecure))
            self._contexts[origin.authority] = known
        return known


class _GuardedResolver(AbstractResolver):
    """Resolves names; those that strangers gave us must not lead to this machine or its link (DNS rebinding)."""

    def __init__(self, home: Home, trusted: frozenset[str]) -> None:
        self._resolver = ThreadedResolver()
        self._home = home
        self._trusted = trusted
        self._at_home = False

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        addresses = [ipaddress.ip_address(entry["host"].partition("%")[0]) for entry in found]
        if host in self._trusted:
            self._at_home = self._at_home or all(is_local_address(a) for a in addresses)
        elif not all(self._home.allows(address, at_home=self._at_home) for address in addresses):
            raise OSError(None, f'the name "{printable(host)}" leads to an address of this machine or its link')
        return found

    async def close(self) -> None:
        await self._resolver.close()


def _session(home: Home, environment: Mapping[str, str]) -> aiohttp.ClientSession:
    proxies = {proxy_for(Origin(scheme=s, host="proxied.invalid", port=1), environment) for s in ("http", "https")}
    origins = [origin_of(proxy) for proxy in proxies if proxy is not None]
    trusted = frozenset({home.origin.host, *(origin.host for origin in origins if origin is not None)})
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=_GuardedResolver(home, trusted), limit=16),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,  # it would also read ~/.netrc, and send what is there along redirects
        read_bufsize=_CHUNK,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENCE_SECONDS),
        headers={"User-Agent": "nsrun", "Accept-Encoding": "identity"},
    )


def _home_origin(scheme: str, host: str) -> Origin:
    origin = origin_of(f"{scheme}://{_HUB_SERVER if host == _HUB else host}")
    if origin is None:
        raise ImageError(f'"{printable(host)}" is not a registry\'s host name')
    return origin


async def _position(
    response: aiohttp.ClientResponse, endpoint: Endpoint, descriptor: Descriptor, sink: BlobSink
) -> None:
    """Makes sure that the next byte of the answer is the one the sink wants next."""
    if response.status == 200:
        if sink.offset:
            await sink.restart()
    elif response.headers.get("Content-Range") != f"bytes {sink.offset}-{descriptor.size - 1}/{descriptor.size}":
        await sink.restart()
        raise Transient(f"{_who(endpoint)} sent another part of the blob than we asked for")
    expected = descriptor.size - sink.offset
    if response.content_length not in (None, expected):
        raise ImageError(
            f"{_who(endpoint)} sent {response.content_length} bytes of {descriptor.digest} instead of {expected}"
        )


async def _pour(response: aiohttp.ClientResponse, endpoint: Endpoint, descriptor: Descriptor, sink: BlobSink) -> None:
    async for chunk in _chunks(response):
        if sink.offset + len(chunk) > descriptor.size:
            raise ImageError(f"{_who(endpoint)} sent more than the {descriptor.size} bytes of {descriptor.digest}")
        await sink.write(chunk)
    if sink.offset < descriptor.size:
        raise Transient(f"{_who(endpoint)} sent {sink.offset} of {descriptor.size} bytes of {descriptor.digest}")


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The body in pieces of about a MiB: each costs a hop to another thread. What came before a break is given too."""
    pieces: list[bytes] = []
    size = 0
    broken: Exception | None = None
    while True:
        try:
            piece = await response.content.readany()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            piece, broken = b"", error
        pieces.append(piece)
        size += len(piece)
        if size >= _CHUNK or (size and not piece):
            yield b"".join(pieces)
            pieces, size = [], 0
        if broken is not None:
            raise broken
        if not piece:
            return


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """At most ``limit`` bytes of the body."""
    data = bytearray()
    while len(data) < limit:
        piece = await response.content.read(limit - len(data))
        if not piece:
            break
        data += piece
    return bytes(data)


def _answer(response: aiohttp.ClientResponse, body: bytes) -> Answer:
    names = {name.lower() for name in response.headers}
    headers = {name: tuple(response.headers.getall(name)) for name in names}
    return Answer(status=response.status, headers=headers, body=body)


async def _detail(response: aiohttp.ClientResponse) -> str:
    """`` (manifest unknown)``: what distribution-spec error bodies say, as far as it can be read."""
    try:
        document: object = json.loads(await _read(response, _SMALL_BODY))
        errors = document.get("errors") if isinstance(document, dict) else None
        first = errors[0] if isinstance(errors, list) and errors else None
        text = (first.get("message") or first.get("code")) if isinstance(first, dict) else None
    except (ValueError, RecursionError, aiohttp.ClientError, TimeoutError, OSError):
        text = None
    return f" ({printable(text, 200)})" if isinstance(text, str) and text else ""


def _refuse_coding(response: aiohttp.ClientResponse, endpoint: Endpoint) -> None:
    coding = response.headers.get("Content-Encoding", "identity")
    if coding.lower() != "identity":
        raise ImageError(
            f'{_who(endpoint)} answered in the content coding "{printable(coding)}", which was not asked for'
        )


def _failure(error: Exception, origin: Origin | None) -> Exception:
    """aiohttp's exceptions in our words."""
    authority = origin.authority if origin is not None else "?"
    who = f'registry "{authority}"'
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = getattr(error.certificate_error, "verify_message", "") or str(error.certificate_error)
        return ImageError(
            f"{who} has a certificate that cannot be verified: {printable(cause)}",
            hint=f"put its authority into /etc/containers/certs.d/{authority}/ca.crt",
        )
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return ImageError(
            f"{who} does not speak TLS: {printable(str(error.os_error))}",
            hint=f'if it speaks plain HTTP, set insecure = true for "{authority}" in registries.conf',
        )
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        known = number is not None and number > 0 and not isinstance(error.os_error, socket.gaierror)
        text = describe_errno(number) if known and number is not None else error.os_error.strerror or str(error)
        return _Unreachable(f"{who} cannot be reached: {printable(text)}")
    if isinstance(error, aiohttp.ServerTimeoutError) and "onnect" in str(error):
        return _Unreachable(f"{who} cannot be reached: no answer within {_CONNECT_SECONDS:.0f} s")
    if isinstance(error, TimeoutError):
        return Transient(f"{who} was silent for {_SILENCE_SECONDS:.0f} s")
    if isinstance(error, aiohttp.ClientResponseError):
        return ImageError(f"{who} does not speak HTTP: {printable(error.message)}")
    return Transient(f"{who} broke the connection: {printable(str(error) or type(error).__name__)}")


def _who(endpoint: Endpoint) -> str:
    return f'registry "{endpoint.host}"'


def _status(status: int) -> str:
    try:
        return f"{status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
