"""Registries over HTTP (OCI distribution-spec v2), for asyncio.

What a registry says is hearsay until a digest confirms it. So: nothing is read past its announced size, redirects are
followed by hand (``exchange.redirected``, ``Home.objection``), names that strangers give us may not resolve to this
machine, ``urls`` of descriptors are never looked at, content codings are refused. Errors are clauses (`registry "x"
answered …`); the puller makes sentences of them.

Every request has its end: its head must be there within ``HEAD_SECONDS``, a document within twice that; a blob may take
as long as it brings ``SLOWEST`` bytes a second.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from http.client import HTTPException
from typing import Protocol, TypeVar

from nsrun.errors import ImageError
from nsrun.images.connection import Connection, Unreachable, network_errors, read_at_most
from nsrun.images.digests import digest_of, is_digest
from nsrun.images.documents import DOCUMENT_LIMIT, INDEX_TYPES, MANIFEST_TYPES, Descriptor
from nsrun.images.exchange import Request
from nsrun.images.keychain import Keychain
from nsrun.images.refusal import said, shown_status
from nsrun.images.registries import Endpoint
from nsrun.images.retry import RETRIED_STATUSES, Backoff, BrokenOff, Transient, seconds_of_retry_after
from nsrun.images.tls import Certificates
from nsrun.images.transport import Cancellation, Reply
from nsrun.images.wording import printable
from nsrun.model.credentials import Credentials
from nsrun.support.clock import Clock, SystemClock

__all__ = ["BlobSink", "FetchedManifest", "RegistryClient"]

T = TypeVar("T")

HEAD_SECONDS = 90.0
SLOWEST, SLOW_SECONDS = 1024, 60.0

_ACCEPT = ", ".join(sorted(MANIFEST_TYPES | INDEX_TYPES))
_SMALL_BODY = 64 << 10  # error texts
_CHUNK = 256 << 10
_THREADS = 32
_BLOB_ATTEMPTS = 8
# So much more of a blob is progress: attempts are counted anew.
_PROGRESS = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedManifest:
    """A manifest or index as it was sent, its digest computed from the bytes."""

    data: bytes
    media_type: str
    digest: str


class BlobSink(Protocol):
    """Where a blob goes, in a thread. ``offset``: bytes taken so far. Raises ImageError, never OSError (that is the
    network's)."""

    @property
    def offset(self) -> int: ...

    def write(self, chunk: bytes) -> None: ...

    def restart(self) -> None:
        """Forgets everything taken so far."""
        ...


class _NoSuchRange(Transient):
    """It does not have what we believe to be there: what we have is not its beginning."""


class RegistryClient:
    """Asks registries. One set of connections, and one memory of tokens, per registry host.

    ``credentials`` of a call are tried before this machine's own, and serve that call only.
    """

    def __init__(
        self,
        *,
        credentials: Keychain,
        certificates: Certificates,
        environment: Mapping[str, str],
        clock: Clock | None = None,
        backoff: Backoff | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """``environment`` names proxies."""
        self._keychain = credentials
        self._certificates = certificates
        self._environment = environment
        self._clock = clock or SystemClock()
        self._backoff = backoff or Backoff()
        self._chance = chance
        self._connections: dict[tuple[str, bool], Connection] = {}
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="registry")

    async def close(self) -> None:
        """Closes every connection."""
        while self._connections:
            _, connection = self._connections.popitem()
            connection.close()
        self._threads.shutdown(wait=False)

    async def manifest(
        self, endpoint: Endpoint, identifier: str, *, credentials: Credentials | None = None
    ) -> FetchedManifest:
        """Fetches a manifest or index by tag or digest. Raises ImageError."""

        def fetch(cancel: Cancellation) -> FetchedManifest:
            reply = self._ask("GET", endpoint, f"manifests/{identifier}", {"Accept": _ACCEPT}, credentials, cancel)
            return _manifest(reply, endpoint, identifier)

        return await self._retrying(lambda: self._timed(fetch, endpoint, 2 * HEAD_SECONDS), self._backoff)

    async def digest(
        self, endpoint: Endpoint, identifier: str, *, credentials: Credentials | None = None
    ) -> str | None:
        """The digest that a tag names now, None when the registry does not say. Raises ImageError."""

        def fetch(cancel: Cancellation) -> str | None:
            reply = self._ask("HEAD", endpoint, f"manifests/{identifier}", {"Accept": _ACCEPT}, credentials, cancel)
            reply.close()
            stated = reply.headers.get("Docker-Content-Digest", "")
            return stated if is_digest(stated) else None

        return await self._retrying(lambda: self._timed(fetch, endpoint, HEAD_SECONDS), self._backoff)

    async def blob(
        self, endpoint: Endpoint, descriptor: Descriptor, sink: BlobSink, *, credentials: Credentials | None = None
    ) -> bool:
        """Streams a blob of exactly ``descriptor.size`` bytes into ``sink``; the digest is the sink's to verify.

        A broken transfer goes on where it broke, as does what the sink has already; True when the blob was pieced
        together so. Raises ImageError.
        """
        backoff = replace(self._backoff, attempts=max(_BLOB_ATTEMPTS, self._backoff.attempts))
        return await self._retrying(
            lambda: self._blob(endpoint, descriptor, sink, credentials), backoff, progress=lambda: sink.offset
        )

    async def _blob(
        self, endpoint: Endpoint, descriptor: Descriptor, sink: BlobSink, credentials: Credentials | None
    ) -> bool:
        begun = sink.offset
        headers = {"Range": f"bytes={begun}-"} if begun else {}
        cancel = Cancellation()

        def ask(cancel: Cancellation) -> Reply:
            return self._ask("GET", endpoint, f"blobs/{descriptor.digest}", headers, credentials, cancel)

        def take(_: Cancellation) -> None:
            try:
                _take(reply, endpoint, descriptor, sink, self._clock)
            except Transient:
                if begun and sink.offset == begun:
                    sink.restart()  # a range that was granted brought nothing: the next attempt asks for the whole
                raise

        try:
            reply = await self._timed(ask, endpoint, HEAD_SECONDS, cancel)
        except _NoSuchRange:
            await self._threaded(lambda _: sink.restart(), cancel)
            raise
        await self._threaded(take, cancel)
        return reply.status == 206

    def _ask(
        self,
        method: str,
        endpoint: Endpoint,
        path: str,
        headers: Mapping[str, str],
        credentials: Credentials | None,
        cancel: Cancellation,
    ) -> Reply:
        """One request with proof of identity; what is not a success becomes Transient or ImageError."""
        connection = self._connection(endpoint)
        connection.settle(cancel)
        url = f"{connection.home.origin}/v2/{endpoint.repository}/{path}"
        request = Request(method=method, url=url, headers=headers)
        reply = connection.exchange(request, endpoint, cancel, credentials=credentials)
        if reply.status == 200 or (reply.status == 206 and "Range" in headers):
            return reply
        try:
            raise self._refusal(reply, endpoint)
        finally:
            reply.close()

    def _refusal(self, reply: Reply, endpoint: Endpoint) -> Exception:
        cause = f"{_who(endpoint)} answered {shown_status(reply.status)}{_detail(reply)}"
        if reply.status == 416:
            return _NoSuchRange(cause)
        if reply.status in RETRIED_STATUSES:
            wait = seconds_of_retry_after(reply.headers.get("Retry-After"), self._clock.now())
            return Transient(cause, retry_after=wait)
        hint = None
        if reply.status in (401, 403):
            hint = f"log in with nsrun login {endpoint.host}, or give the pod imagePullSecrets"
        return ImageError(cause, hint=hint)

    def _connection(self, endpoint: Endpoint) -> Connection:
        key = (endpoint.host, endpoint.insecure)
        connection = self._connections.get(key)
        if connection is None:
            made = Connection(
                endpoint,
                keychain=self._keychain,
                certificates=self._certificates,
                environment=self._environment,
                now=self._clock.monotonic,
            )
            connection = self._connections.setdefault(key, made)
        return connection

    async def _retrying(
        self, work: Callable[[], Awaitable[T]], backoff: Backoff, *, progress: Callable[[], int] | None = None
    ) -> T:
        """``progress``: bytes that are there; then it also goes on when no connection comes about, which for others may
        mean that another mirror is better."""
        attempt, reached = 0, progress() if progress is not None else 0
        while True:
            try:
                return await work()
            except Transient as failure:
                if progress is not None and progress() >= reached + _PROGRESS:
                    attempt, reached = 0, progress()
                wait = backoff.pause(attempt, failure.retry_after, self._chance)
                if wait is None or (isinstance(failure, Unreachable) and progress is None):
                    tries = f" (tried {attempt + 1} times)" if attempt else ""
                    raise BrokenOff(f"{failure.cause}{tries}", hint=failure.hint) from None
                await self._clock.sleep(wait)
            attempt += 1

    async def _timed(
        self,
        work: Callable[[Cancellation], T],
        endpoint: Endpoint,
        seconds: float,
        cancel: Cancellation | None = None,
    ) -> T:
        """Raises Transient when ``work`` has not ended in time."""
        try:
            async with asyncio.timeout(seconds):
                return await self._threaded(work, cancel or Cancellation())
        except TimeoutError:
            raise Transient(f"{_who(endpoint)} did not answer within {seconds:.0f} s") from None

    async def _threaded(self, work: Callable[[Cancellation], T], cancel: Cancellation) -> T:
        """Runs ``work`` in a thread; a cancelled caller cancels it, and leaves when it has ended."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, work, cancel)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            cancel.cancel()
            await asyncio.wait([future])
            if not future.cancelled() and future.exception() is None and isinstance(reply := future.result(), Reply):
                reply.close()
            raise


def _manifest(reply: Reply, endpoint: Endpoint, identifier: str) -> FetchedManifest:
    try:
        _refuse_coding(reply, endpoint)
        too_large = ImageError(f"{_who(endpoint)} sent a manifest larger than {DOCUMENT_LIMIT >> 20} MiB")
        if (reply.length or 0) > DOCUMENT_LIMIT:
            raise too_large
        with network_errors(endpoint.host):
            data = read_at_most(reply, DOCUMENT_LIMIT + 1)
    finally:
        reply.close()
    if len(data) > DOCUMENT_LIMIT:
        raise too_large
    stated = reply.headers.get("Docker-Content-Digest", "")
    wanted = identifier if is_digest(identifier) else stated if is_digest(stated) else ""
    digest = digest_of(data, like=wanted)
    if wanted and digest != wanted:
        raise ImageError(f"{_who(endpoint)} sent a manifest with digest {digest} instead of {wanted}")
    return FetchedManifest(data=data, media_type=reply.headers.get("Content-Type", ""), digest=digest)


def _take(reply: Reply, endpoint: Endpoint, descriptor: Descriptor, sink: BlobSink, clock: Clock) -> None:
    """Takes the blob's bytes into the sink, and closes the reply. Raises Transient, ImageError, Cancelled."""
    try:
        _refuse_coding(reply, endpoint)
        _position(reply, endpoint, descriptor, sink)
        _pour(reply, endpoint, descriptor, sink, clock)
    finally:
        reply.close()


def _pour(reply: Reply, endpoint: Endpoint, descriptor: Descriptor, sink: BlobSink, clock: Clock) -> None:
    since, seen = clock.monotonic(), sink.offset
    while piece := _piece(reply, endpoint):
        if sink.offset + len(piece) > descriptor.size:
            raise ImageError(f"{_who(endpoint)} sent more than the {descriptor.size} bytes of {descriptor.digest}")
        sink.write(piece)
        if (now := clock.monotonic()) - since > SLOW_SECONDS:
            if sink.offset - seen < SLOWEST * SLOW_SECONDS:
                raise Transient(f"{_who(endpoint)} sent less than {SLOWEST} bytes a second for {SLOW_SECONDS:.0f} s")
            since, seen = now, sink.offset
    if sink.offset < descriptor.size:
        raise Transient(f"{_who(endpoint)} sent {sink.offset} of {descriptor.size} bytes of {descriptor.digest}")


def _piece(reply: Reply, endpoint: Endpoint) -> bytes:
    with network_errors(endpoint.host):
        return reply.read(_CHUNK)


def _position(reply: Reply, endpoint: Endpoint, descriptor: Descriptor, sink: BlobSink) -> None:
    """Makes sure that the next byte of the answer is the one the sink wants next."""
    if reply.status == 200:
        if sink.offset:
            sink.restart()
    elif reply.headers.get("Content-Range") != f"bytes {sink.offset}-{descriptor.size - 1}/{descriptor.size}":
        sink.restart()
        raise Transient(f"{_who(endpoint)} sent another part of the blob than we asked for")
    expected = descriptor.size - sink.offset
    if reply.length not in (None, expected):
        raise ImageError(f"{_who(endpoint)} sent {reply.length} bytes of {descriptor.digest} instead of {expected}")


def _detail(reply: Reply) -> str:
    with suppress(HTTPException, OSError):
        return said(read_at_most(reply, _SMALL_BODY))
    return ""


def _refuse_coding(reply: Reply, endpoint: Endpoint) -> None:
    coding = reply.headers.get("Content-Encoding", "identity")
    if coding.lower() != "identity":
        raise ImageError(
            f'{_who(endpoint)} answered in the content coding "{printable(coding)}", which was not asked for'
        )


def _who(endpoint: Endpoint) -> str:
    return f'registry "{endpoint.host}"'
