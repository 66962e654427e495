"""HTTP/1.1 to one registry and to where it sends us: the images' one doorway to ``http.client``.

It blocks, on purpose: whoever takes a blob reads it from the socket, writes and hashes it in one thread, without a hop
between them. A ``Cancellation`` ends a request from another thread at once. Nothing is decided here: redirects, proofs
and repetitions are the business of ``exchange``, ``auth`` and ``registry``.
"""

from __future__ import annotations

import base64
import http.client
import queue
import select
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from ipaddress import ip_address
from typing import NoReturn, TypeVar
from urllib.parse import unquote, urlsplit

from nsrun.images.exchange import Address, Origin, Request, origin_of
from nsrun.images.proxies import proxy_for

__all__ = [
    "CONNECT_SECONDS",
    "SILENCE_SECONDS",
    "Cancellation",
    "Cancelled",
    "Reply",
    "Transport",
    "Unconnected",
    "proxy_origin",
]

CONNECT_SECONDS, SILENCE_SECONDS = 15.0, 60.0
T = TypeVar("T")

# A host with several addresses: how long each but the last is waited for.
_NEXT_ADDRESS_SECONDS = 3.0
_REST = 16 << 10
_IDLE = 8  # connections kept for each origin
_HEADERS = {"User-Agent": "nsrun", "Accept-Encoding": "identity"}

Context = Callable[[Origin], ssl.SSLContext]
Guard = Callable[[str, Sequence[Address]], None]
_Key = tuple[Origin, str]


class Cancelled(Exception):
    """Nobody waits for the answer any more."""


class Unconnected(Exception):
    """No connection came about, so nothing was asked. ``cause``: OSError or http.client.HTTPException. ``proxy``: the
    one that was asked for it, empty for none."""

    def __init__(self, cause: Exception, proxy: str = "") -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.proxy = proxy


class Cancellation:
    """Ends what a thread does with a socket. ``cancel`` may be called from any thread, at any time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._leave: Callable[[], None] | None = None
        self.cancelled = False

    def cancel(self) -> None:
        with self._lock:
            self.cancelled = True
            if self._socket is not None:
                _shut_down(self._socket)
            if self._leave is not None:
                self._leave()

    def watch(self, used: socket.socket | None) -> None:
        """``used`` is the socket to shut down from now on. Raises Cancelled."""
        with self._lock:
            self._socket = used
            if self.cancelled:
                raise Cancelled

    def patiently(self, work: Callable[[], T]) -> T:
        """The result of ``work``, which nothing can interrupt (a resolver's, say): when it is cancelled, the work is
        left alone. Raises what it raises; Cancelled."""
        results: queue.SimpleQueue[Future[T] | None] = queue.SimpleQueue()
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)
            results.put(future)

        with self._lock:
            self._leave = lambda: results.put(None)
        threading.Thread(target=run, daemon=True).start()
        self.check()
        done = results.get()
        with self._lock:
            self._leave = None
        self.check()
        assert done is not None
        return done.result()

    def check(self) -> None:
        """Raises Cancelled."""
        if self.cancelled:
            raise Cancelled


class Reply:
    """An answer whose body is still to be read. Close it: what was read to its end leaves a connection to use again."""

    def __init__(self, response: http.client.HTTPResponse, leave: Callable[[bool], None], cancel: Cancellation) -> None:
        self._response = response
        self._leave = leave
        self._cancel = cancel
        self.status = response.status
        self.headers = response.headers

    @property
    def length(self) -> int | None:
        """Announced bytes of the body, None when the server did not say."""
        return self._response.length

    def read(self, limit: int) -> bytes:
        """The next bytes, as many as are there; empty at the end. Raises OSError, HTTPException, Cancelled."""
        left = self._response.length
        try:
            piece = self._response.read1(limit)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._failed(error)
        self._cancel.check()
        if not piece and left:  # read1, unlike read, takes an early end for an end
            raise http.client.IncompleteRead(b"", left)
        return piece

    def close(self) -> None:
        with suppress(OSError, http.client.HTTPException, Cancelled):
            if 0 < (self.length or 0) <= _REST:  # the body of a refusal, say: cheaper to read than to connect again
                while self.read(_REST):
                    pass
        whole = self.length == 0 or (self.length is None and self._response.isclosed())
        self._response.close()
        self._leave(whole and not self._response.will_close)

    def _failed(self, error: Exception) -> NoReturn:
        self._cancel.check()
        raise error


class Transport:
    """Connections that are kept and used again. Any number of threads may use it at once.

    ``guard`` is told each name and the addresses it leads to before one of them is used, and raises OSError when it
    does not like them. ``context`` gives the TLS of an origin. ``environment`` names proxies.
    """

    def __init__(self, *, guard: Guard, context: Context, environment: Mapping[str, str]) -> None:
        self._guard = guard
        self._context = context
        self._environment = environment
        self._idle: dict[_Key, list[http.client.HTTPConnection]] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Closes what is idle."""
        with self._lock:
            connections = [connection for kept in self._idle.values() for connection in kept]
            self._idle.clear()
        for connection in connections:
            connection.close()

    def send(self, request: Request, cancel: Cancellation) -> Reply:
        """The answer's head. Raises Unconnected; OSError, HTTPException, ssl.SSLError; ValueError for what cannot be a
        request; Cancelled."""
        origin = origin_of(request.url)
        if origin is None:
            raise ValueError("it is not a plain http or https URL")
        proxy = proxy_for(origin, self._environment) or ""
        key = (origin, proxy)
        kept = self._take(key)
        if kept is not None:
            try:
                return self._ask(kept, key, request, cancel)
            except (ConnectionError, http.client.BadStatusLine):
                cancel.check()
                if request.method not in ("GET", "HEAD"):
                    raise
                # The server had closed it, as it may: RFC 9112, 9.3.1.
        return self._ask(self._connect(key, cancel), key, request, cancel)

    def _ask(self, connection: http.client.HTTPConnection, key: _Key, request: Request, cancel: Cancellation) -> Reply:
        def leave(reusable: bool) -> None:
            with suppress(Cancelled):
                cancel.watch(None)
                if reusable and self._keep(key, connection):
                    return
            connection.close()

        try:
            cancel.watch(connection.sock)
            with suppress(*((BrokenPipeError, ConnectionResetError) if request.body else ())):
                # Who does not want our body may have said why before it closed.
                connection.request(request.method, _target(request, key), request.body or None, _headers(request, key))
            reply = Reply(connection.getresponse(), leave, cancel)
            cancel.check()
            return reply
        except BaseException:
            leave(False)
            cancel.check()
            raise

    def _take(self, key: _Key) -> http.client.HTTPConnection | None:
        while True:
            with self._lock:
                kept = self._idle.get(key)
                connection = kept.pop() if kept else None
            if connection is None or not _is_readable(connection.sock):
                return connection
            connection.close()  # nothing was asked, so all there is to read is its end

    def _keep(self, key: _Key, connection: http.client.HTTPConnection) -> bool:
        with self._lock:
            kept = self._idle.setdefault(key, [])
            if len(kept) >= _IDLE or connection.sock is None:
                return False
            kept.append(connection)
            return True

    def _connect(self, key: _Key, cancel: Cancellation) -> http.client.HTTPConnection:
        """Raises Unconnected, Cancelled, ssl.SSLError."""
        origin, proxy = key
        hop = proxy_origin(proxy) if proxy else origin
        if hop is None or (proxy and hop.scheme != "http"):
            raise ValueError(f'the proxy "{_without_user(proxy)}" is not one that is asked over plain HTTP')
        connection = http.client.HTTPConnection(origin.host, origin.port)
        connection.auto_open = 0  # it would dial by itself, past the guard
        try:
            connection.sock = self._dial(hop, cancel)
            if origin.scheme == "https":
                if proxy:
                    _tunnel(connection.sock, origin, proxy)
                connection.sock = self._secured(connection.sock, origin, cancel)
            connection.sock.settimeout(SILENCE_SECONDS)
        except BaseException as error:
            connection.close()
            cancel.check()
            if isinstance(error, ssl.SSLError) or not isinstance(error, OSError | http.client.HTTPException):
                raise
            raise Unconnected(error, _without_user(proxy) if proxy else "") from error
        return connection

    def _secured(self, plain: socket.socket, origin: Origin, cancel: Cancellation) -> ssl.SSLSocket:
        context = self._context(origin)
        secured = context.wrap_socket(plain, server_hostname=origin.host, do_handshake_on_connect=False)
        try:
            cancel.watch(secured)
            secured.do_handshake()
        except BaseException:
            secured.close()
            raise
        return secured

    def _dial(self, hop: Origin, cancel: Cancellation) -> socket.socket:
        found = cancel.patiently(lambda: socket.getaddrinfo(hop.host, hop.port, type=socket.SOCK_STREAM))
        self._guard(hop.host, [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found])
        for family, kind, protocol, _, address in found[:-1]:
            with suppress(OSError):
                return _open(family, kind, protocol, address, _NEXT_ADDRESS_SECONDS, cancel)
        family, kind, protocol, _, address = found[-1]
        return _open(family, kind, protocol, address, CONNECT_SECONDS, cancel)


def _open(
    family: int, kind: int, protocol: int, address: tuple[object, ...], seconds: float, cancel: Cancellation
) -> socket.socket:
    made = socket.socket(family, kind, protocol)
    try:
        cancel.watch(made)
        made.settimeout(seconds)
        made.connect(address)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.settimeout(CONNECT_SECONDS)
        cancel.check()
    except BaseException:
        made.close()
        raise
    return made


def _tunnel(used: socket.socket, origin: Origin, proxy: str) -> None:
    """CONNECT, RFC 9110, 9.3.6. Raises OSError when the proxy does not want, HTTPException."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    authority = f"{host}:{origin.port}"
    headers = {"Host": authority, "User-Agent": _HEADERS["User-Agent"], **_proxy_headers(proxy)}
    lines = [f"CONNECT {authority} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    used.sendall("\r\n".join(lines).encode())
    # Whoever is at the other end of a tunnel waits for us to begin with TLS: nothing is read past the proxy's answer.
    response = http.client.HTTPResponse(used, method="CONNECT")
    with closing(response):
        response.begin()
        if not 200 <= response.status < 300:
            raise OSError(None, f"it answered {response.status} {response.reason}")


def _target(request: Request, key: _Key) -> str:
    """What the request line names: all of the URL for a proxy, else what follows the authority. Verbatim: signed URLs
    must not be quoted anew."""
    origin, proxy = key
    if proxy and origin.scheme == "http":
        return request.url
    rest = request.url.partition("://")[2]
    at = min((position for mark in "/?" if (position := rest.find(mark)) >= 0), default=len(rest))
    path = rest[at:]
    return path if path.startswith("/") else f"/{path}"


def _headers(request: Request, key: _Key) -> dict[str, str]:
    origin, proxy = key
    own = _proxy_headers(proxy) if proxy and origin.scheme == "http" else {}
    return {"Host": origin.authority, **_HEADERS, **own, **request.headers}


def _proxy_headers(proxy: str) -> dict[str, str]:
    parts = urlsplit(proxy)
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair).decode()}"}


def proxy_origin(proxy: str) -> Origin | None:
    """Where the proxy of a URL is that may name a user; None when it cannot be used."""
    return origin_of(_without_user(proxy))


def _without_user(proxy: str) -> str:
    scheme, _, rest = proxy.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _is_readable(used: socket.socket | None) -> bool:
    if used is None:
        return True
    poll = select.poll()
    poll.register(used, select.POLLIN)
    return bool(poll.poll(0))


def _shut_down(used: socket.socket) -> None:
    with suppress(OSError):
        socket.socket.shutdown(used, socket.SHUT_RDWR)  # not SSLSocket's: that changes what another thread reads from
