"""One document over HTTP: the sources' doorway to aiohttp.

What a server says is bounded in every direction: ten seconds for all of it, redirects included; ten MiB of body, packed
and unpacked; eight redirects, never from https to http. The operator's headers, and the name and password in the URL,
are for the host they were given for: a redirect to another leaves them behind, and one back does not bring them back.
"""

from __future__ import annotations

import asyncio
import base64
import http
import ipaddress
import socket
import ssl
import urllib.request
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
from yarl import URL

from nsrun.errors import NsrunError, describe_errno
from nsrun.model.document import MAX_BYTES
from nsrun.model.wording import printable

__all__ = ["Document", "Fetcher", "Unfetched", "Validators"]

SECONDS = 10.0
"""The kubelet's own patience."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MOST_REDIRECTS = 8
SCHEMES = frozenset({"http", "https"})


class Unfetched(NsrunError):
    """There is no document; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validators:
    """What to ask with for news only (RFC 9110 §13). ``url``: whose answer they came with."""

    url: str
    etag: str = ""
    modified: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A body, unpacked."""

    data: bytes
    validators: Validators


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """Where to ask next; ``trusted``: nothing but the operator's own host was asked so far."""

    url: URL
    trusted: bool = True


class Fetcher:
    """Asks one URL, as often as it is told to."""

    def __init__(self, url: str, *, headers: Sequence[tuple[str, str]] = (), tls: ssl.SSLContext | None = None) -> None:
        """``url`` may hold a name and a password. ``tls``: whom to trust, None for the system's authorities."""
        given = URL(url)
        self._url = given.with_user(None).with_fragment(None)
        self._headers = list(headers)
        if given.user is not None:
            login = base64.b64encode(f"{given.user}:{given.password or ''}".encode()).decode()
            self._headers.append(("Authorization", f"Basic {login}"))
        self._tls: ssl.SSLContext | bool = True if tls is None else tls

    async def fetch(self, known: Validators | None = None) -> Document | None:
        """The document; None when it is the one that came with ``known``. Raises Unfetched."""
        try:
            async with asyncio.timeout(SECONDS), self._session() as session:
                return await self._follow(session, known)
        except TimeoutError:
            raise Unfetched(f"no whole answer within {SECONDS:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unfetched(_cause(error)) from None

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,  # it would also read ~/.netrc, and send what is there along redirects
            headers={
                "User-Agent": "nsrun",
                "Accept": "application/yaml, application/json;q=0.9, */*;q=0.1",
                "Accept-Encoding": "gzip",
            },
        )

    async def _follow(self, session: aiohttp.ClientSession, known: Validators | None) -> Document | None:
        step = _Step(url=self._url)
        for _ in range(MOST_REDIRECTS + 1):
            asked = known if known is not None and known.url == str(step.url) else None
            headers = [*(self._headers if step.trusted else ()), *_conditions(asked)]
            async with session.get(
                step.url, headers=headers, allow_redirects=False, ssl=self._tls, proxy=_proxy(step.url)
            ) as response:
                location = response.headers.get("Location")
                if response.status not in REDIRECTS or location is None:
                    return await _document(response, asked)
            step = self._redirected(step, location)
        raise Unfetched(f"it redirects more than {MOST_REDIRECTS} times")

    def _redirected(self, step: _Step, location: str) -> _Step:
        """Raises Unfetched."""
        url = step.url.join(URL(location)).with_fragment(None)
        if url.scheme not in SCHEMES or not url.host:
            raise Unfetched("it redirects to what is no web address")
        if step.url.scheme == "https" and url.scheme != "https":
            raise Unfetched(f"it redirects from https to {url.scheme}, which is not followed")
        return _Step(url=url.with_user(None), trusted=step.trusted and self._is_home(url))

    def _is_home(self, url: URL) -> bool:
        """The same host, and either the same port or the usual one for https."""
        return url.host == self._url.host and (url.port == self._url.port or (url.scheme, url.port) == ("https", 443))


def _conditions(known: Validators | None) -> list[tuple[str, str]]:
    if known is None:
        return []
    named = (("If-None-Match", known.etag), ("If-Modified-Since", known.modified))
    return [(name, value) for name, value in named if value]


def _proxy(url: URL) -> str | None:
    """As $https_proxy, $http_proxy and $no_proxy say, in either case. Loopback is never proxied."""
    host, proxies = url.host or "", urllib.request.getproxies_environment()
    if _is_loopback(host) or urllib.request.proxy_bypass(f"{host}:{url.port}", proxies):
        return None
    return proxies.get(url.scheme) or None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _document(response: aiohttp.ClientResponse, asked: Validators | None) -> Document | None:
    """Raises Unfetched."""
    if response.status == http.HTTPStatus.NOT_MODIFIED and asked is not None:
        return None
    if response.status != http.HTTPStatus.OK:
        raise Unfetched(f"the server answered {_status(response.status)}")
    data = bytearray()
    while piece := await response.content.readany():
        data += piece
        if len(data) > MAX_BYTES:
            raise _too_large()
    coding = response.headers.get("Content-Encoding", "identity").lower()
    validators = Validators(
        url=str(response.url),
        etag=response.headers.get("ETag", ""),
        modified=response.headers.get("Last-Modified", ""),
    )
    return Document(data=await asyncio.to_thread(_unpacked, bytes(data), coding), validators=validators)


def _unpacked(data: bytes, coding: str) -> bytes:
    """Raises Unfetched."""
    if coding == "identity":
        return data
    if coding not in ("gzip", "x-gzip"):
        raise Unfetched(f'the answer is in the content coding "{printable(coding)}", which was not asked for')
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        plain = unpacker.decompress(data, MAX_BYTES + 1)
    except zlib.error:
        raise Unfetched("the answer is no gzip, as it says it is") from None
    if len(plain) > MAX_BYTES:
        raise _too_large()
    if not unpacker.eof:
        raise Unfetched("the answer ends too early")
    return plain


def _too_large() -> Unfetched:
    return Unfetched(f"the answer is larger than {MAX_BYTES >> 20} MiB")


def _status(status: int) -> str:
    try:
        return f"{status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _cause(error: Exception) -> str:
    """The same for the same fault, every time: what is new is told, and what is not is not."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = getattr(error.certificate_error, "verify_message", "") or "it is not valid"
        return f"the server's certificate cannot be verified: {printable(cause)}"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return "the server does not speak TLS"
    if isinstance(error, aiohttp.ClientConnectorError):
        return _of_system(error.os_error)
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the answer ends too early"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server broke the connection"
    if isinstance(error, aiohttp.ClientResponseError):
        return "the server does not speak HTTP"
    if isinstance(error, OSError):
        return _of_system(error)
    return f"the server cannot be asked: {printable(type(error).__name__)}"


def _of_system(error: OSError) -> str:
    if isinstance(error, socket.gaierror) or not error.errno or error.errno < 0:
        return f"the server's name cannot be resolved: {printable(error.strerror or 'unknown')}"
    return describe_errno(error.errno)
