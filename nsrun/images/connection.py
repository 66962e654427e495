"""One registry host: how it is reached, who we are to it, and where it may send us. Blocking: call it in threads."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from nsrun.errors import ImageError, describe_errno
from nsrun.images.auth import Lookup, Proofs, authorized, repository_scope
from nsrun.images.exchange import Address, Answer, Home, Origin, Request, is_local_address, origin_of, redirected
from nsrun.images.keychain import Keychain
from nsrun.images.proxies import proxy_for
from nsrun.images.registries import Endpoint
from nsrun.images.retry import Transient
from nsrun.images.tls import Certificates, tls_context
from nsrun.images.transport import (
    CONNECT_SECONDS,
    SILENCE_SECONDS,
    Cancellation,
    Reply,
    Transport,
    Unconnected,
    proxy_origin,
)
from nsrun.images.wording import printable
from nsrun.model.credentials import Credentials

__all__ = ["Connection", "Unreachable", "network_errors", "read_at_most"]

_HUB, _HUB_SERVER = "docker.io", "registry-1.docker.io"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REDIRECT_LIMIT = 8
_SMALL_BODY = 64 << 10  # tokens
_CHUNK = 64 << 10


class Unreachable(Transient):
    """No connection came about; nothing was asked yet."""


class Connection:
    """Everything about one registry host. ``home``: where it turned out to be, known once ``settle`` was called."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        keychain: Keychain,
        certificates: Certificates,
        environment: Mapping[str, str],
        now: Callable[[], float],
    ) -> None:
        """``keychain``: this machine's. ``now``: monotonic, in seconds."""
        self._name = endpoint.host
        self._keychain = keychain
        self._certificates = certificates
        self._proofs = Proofs(now)
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._settled = not endpoint.insecure
        self._settling = threading.Lock()
        self._trusted = _proxy_hosts(environment)
        self._at_home = False
        self.home = Home(origin=_home_origin("https", endpoint.host), insecure=endpoint.insecure)
        self._transport = Transport(guard=self._guard, context=self._context, environment=environment)

    def close(self) -> None:
        self._transport.close()

    def settle(self, cancel: Cancellation) -> None:
        """Finds out whether an insecure registry speaks TLS; when it does not, goes on without."""
        with self._settling:
            if self._settled:
                return
            if not self._speaks(self.home, cancel):
                plain = Home(origin=_home_origin("http", self._name), insecure=True)
                if not self._speaks(plain, cancel):
                    return  # nobody there: the request itself will say why, and the next one looks again
                self.home = plain
            self._settled = True

    def _speaks(self, home: Home, cancel: Cancellation) -> bool:
        try:
            self._send(Request(method="GET", url=f"{home.origin}/v2/"), cancel).close()
        except (Transient, ImageError):
            return False
        return True

    def exchange(
        self,
        request: Request,
        endpoint: Endpoint,
        cancel: Cancellation,
        *,
        credentials: Credentials | None = None,
        scope: str | None = None,
    ) -> Reply:
        """The last answer of the authorisation flow, its body unread; whoever asked closes it.

        ``credentials``: tried before this machine's own. ``scope``: of a token, to pull this repository unless it is
        given. Raises ImageError, Transient, Cancelled.
        """
        flow = authorized(
            request,
            scope=repository_scope(endpoint.repository) if scope is None else scope,
            home=self.home,
            candidates=() if credentials is None else credentials.find(endpoint.host, endpoint.repository),
            proofs=self._proofs,
        )
        step: Request | Lookup = next(flow)
        reply: Reply | None = None
        try:
            while True:
                if isinstance(step, Lookup):
                    step = flow.send(self._keychain.find(endpoint.host, endpoint.repository))
                    continue
                if reply is not None:
                    reply.close()
                reply = self._follow(step, cancel)
                with network_errors(self._name):
                    body = read_at_most(reply, _SMALL_BODY) if step.wants_body else b""
                step = flow.send(_answer(reply, body))
        except StopIteration:
            assert reply is not None
            return reply
        except BaseException:
            if reply is not None:
                reply.close()
            raise

    def _follow(self, request: Request, cancel: Cancellation) -> Reply:
        """Sends the request, wherever it leads."""
        for _ in range(_REDIRECT_LIMIT):
            reply = self._send(request, cancel)
            location = reply.headers.get("Location")
            if reply.status not in _REDIRECTS or location is None:
                return reply
            reply.close()
            request = redirected(request, location)
            self._check(request, "it would get our token" if request.body and request.wants_body else None)
        raise ImageError(f'registry "{self._name}" redirects us more than {_REDIRECT_LIMIT} times')

    def elsewhere(self, request: Request, cancel: Cancellation) -> Reply:
        """Asks where the registry has sent us without a redirect, by a Location; nothing is proven there.

        Raises ImageError, Transient, Cancelled.
        """
        self._check(request)
        return self._follow(request, cancel)

    def _check(self, request: Request, objection: str | None = None) -> None:
        """Raises ImageError when the registry may not send us there."""
        objection = objection or self.home.objection(request.url)
        if objection is not None:
            target = printable(request.url.partition("?")[0])
            raise ImageError(f'registry "{self._name}" redirects us to "{target}": {objection}')

    def _send(self, request: Request, cancel: Cancellation) -> Reply:
        origin = origin_of(request.url)
        if origin is None:
            raise ImageError(f'registry "{self._name}" cannot be asked at "{printable(request.url)}"')
        with network_errors(origin.authority):
            return self._transport.send(request, cancel)

    def _guard(self, host: str, addresses: Sequence[Address]) -> None:
        """Names that strangers gave us must not lead to this machine or its link (DNS rebinding)."""
        if host == self.home.origin.host or host in self._trusted:
            self._at_home = self._at_home or all(is_local_address(address) for address in addresses)
        elif not all(self.home.allows(address, at_home=self._at_home) for address in addresses):
            raise OSError(None, f'the name "{printable(host)}" leads to an address of this machine or its link')

    def _context(self, origin: Origin) -> ssl.SSLContext:
        known = self._contexts.get(origin.authority)
        if known is None:
            home = origin.host == self.home.origin.host
            directory = self._certificates.directory(self._name if home else origin.authority, home=home)
            known = self._contexts[origin.authority] = tls_context(directory, verify=not (home and self.home.insecure))
        return known


def read_at_most(reply: Reply, limit: int) -> bytes:
    """At most ``limit`` bytes of the body. Raises what ``Reply.read`` raises."""
    data = bytearray()
    while len(data) < limit and (piece := reply.read(min(_CHUNK, limit - len(data)))):
        data += piece
    return bytes(data)


@contextmanager
def network_errors(authority: str) -> Iterator[None]:
    """What goes wrong in here on the network's side becomes Transient or ImageError, in our words."""
    try:
        yield
    except (OSError, http.client.HTTPException, Unconnected, ValueError) as error:
        raise _failure(error, authority) from None


def _failure(error: Exception, authority: str) -> Exception:
    who = f'registry "{authority}"'
    match error:
        case ssl.SSLCertVerificationError():
            return ImageError(
                f"{who} has a certificate that cannot be verified: {printable(error.verify_message)}",
                hint=f"put its authority into /etc/containers/certs.d/{authority}/ca.crt",
            )
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            return Transient(f"{who} broke the connection: {printable(error.reason or str(error))}")
        case ssl.SSLError():
            return ImageError(
                f"{who} does not speak TLS: {printable(error.reason or str(error))}",
                hint=f'if it speaks plain HTTP, set insecure = true for "{authority}" in registries.conf',
            )
        case Unconnected():
            through = f' through the proxy "{printable(error.proxy)}"' if error.proxy else ""
            return Unreachable(f"{who} cannot be reached{through}: {printable(_why_unconnected(error.cause))}")
        case TimeoutError():
            return Transient(f"{who} was silent for {SILENCE_SECONDS:.0f} s")
        case OSError() | http.client.IncompleteRead():
            return Transient(f"{who} broke the connection: {printable(str(error) or type(error).__name__)}")
        case http.client.HTTPException():
            return ImageError(f"{who} does not speak HTTP: {printable(str(error) or type(error).__name__)}")
    return ImageError(f"{who} cannot be asked: {printable(str(error))}")


def _why_unconnected(cause: Exception) -> str:
    if isinstance(cause, socket.gaierror):
        return cause.strerror or str(cause)
    if isinstance(cause, TimeoutError):
        return f"no answer within {CONNECT_SECONDS:.0f} s"
    if isinstance(cause, OSError) and cause.errno:
        return describe_errno(cause.errno)
    return (cause.strerror if isinstance(cause, OSError) else None) or str(cause)


def _answer(reply: Reply, body: bytes) -> Answer:
    names = {name.lower() for name in reply.headers}
    return Answer(
        status=reply.status, headers={name: tuple(reply.headers.get_all(name, ())) for name in names}, body=body
    )


def _proxy_hosts(environment: Mapping[str, str]) -> frozenset[str]:
    proxies = {proxy_for(Origin(scheme=s, host="proxied.invalid", port=1), environment) for s in ("http", "https")}
    origins = [proxy_origin(proxy) for proxy in proxies if proxy is not None]
    return frozenset(origin.host for origin in origins if origin is not None)


def _home_origin(scheme: str, host: str) -> Origin:
    origin = origin_of(f"{scheme}://{_HUB_SERVER if host == _HUB else host}")
    if origin is None:
        raise ImageError(f'"{printable(host)}" is not a registry\'s host name')
    return origin
