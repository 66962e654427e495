"""The request of an HTTP probe or hook, and where a redirect leads (pkg/probe/http, net/http). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from nsrun.model.probe import HttpGet
from nsrun.probes.wording import ProbeFailure, join_host_port, quoted

__all__ = ["Request", "redirected", "request_of"]

MOST_REDIRECTS = 10

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PATH = "/%:@&=+$,;!'()*~[]"
_QUERY = "/%:@&=+$,;!'()*~[]?\"<>\\^`{|}"

# What net/http writes itself, whatever the headers say.
_NOT_SENT = frozenset({"Host", "Content-Length", "Transfer-Encoding", "Trailer"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A GET. ``authority``: host and port as the URL has them. ``target``: path and query, encoded. ``host_header``:
    what ``Host`` is, "" for the authority. ``hops``: redirects that led here."""

    scheme: str
    host: str
    port: int
    authority: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    host_header: str = ""
    hops: int = 0

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"

    def encoded(self) -> bytes:
        """As it is sent. Raises ProbeFailure for headers that cannot be."""
        lines = [f"GET {self.target} HTTP/1.1", f"Host: {self.host_header or self.authority}"]
        for name, value in self.headers:
            if not _TOKEN.fullmatch(name):
                raise ProbeFailure(f"net/http: invalid header field name {quoted(name.encode())}")
            if _CONTROL.search(value):
                raise ProbeFailure(f"net/http: invalid header field value for {quoted(name.encode())}")
            if name not in _NOT_SENT:
                lines.append(f"{name}: {value.strip()}")
        if _CONTROL.search(lines[1]):
            raise ProbeFailure("http: invalid Host header")
        return "\r\n".join([*lines, "Connection: close", "", ""]).encode(errors="surrogateescape")


def request_of(action: HttpGet, address: str, agent: str) -> Request:
    """What is asked first. ``address``: where to go when the action names no host. ``agent``: the user agent, unless
    the action names one. The port is a number."""
    host, port = action.host or address, int(action.port)
    headers = [(_canonical(name), value) for name, value in action.headers]
    names = {name for name, _ in headers}
    if "User-Agent" not in names:
        headers.append(("User-Agent", agent))
    if "Accept" not in names:
        headers.append(("Accept", "*/*"))
    elif _first(headers, "Accept") == "":
        headers = [(name, value) for name, value in headers if name != "Accept"]
    return Request(
        scheme=action.scheme.lower(),
        host=host,
        port=port,
        authority=join_host_port(host, port),
        target=_target(action.path),
        headers=tuple(_one_agent(headers)),
        host_header=_first(headers, "Host"),
    )


def redirected(request: Request, location: bytes) -> Request | None:
    """Where the server sends us; None when that is another host, which is not followed.

    Raises ProbeFailure for what cannot be followed, and after ten of them."""
    try:
        text = location.decode(errors="surrogateescape")
        url = urlsplit(urljoin(request.url, text))
        host, port = _host_and_port(url)
        absolute = bool(urlsplit(text).scheme)
    except ValueError as error:
        raise ProbeFailure(f"failed to parse Location header {quoted(location)}: {error}") from error
    if host != request.host:
        return None
    if request.hops + 1 >= MOST_REDIRECTS:
        raise ProbeFailure(f"stopped after {MOST_REDIRECTS} redirects")
    if url.scheme not in ("http", "https"):
        raise ProbeFailure(f"unsupported protocol scheme {quoted(url.scheme.encode(errors='surrogateescape'))}")
    return replace(
        request,
        scheme=url.scheme,
        host=host,
        port=port,
        authority=url.netloc.rpartition("@")[2],
        target=_target(url._replace(scheme="", netloc="").geturl()),
        headers=_referring(request, url.scheme),
        host_header="" if absolute else request.host_header,
        hops=request.hops + 1,
    )


def _referring(request: Request, scheme: str) -> tuple[tuple[str, str], ...]:
    headers = tuple(header for header in request.headers if header[0] != "Referer")
    if request.scheme == "https" and scheme == "http":
        return headers
    return (*headers, ("Referer", request.url))


def _host_and_port(url: SplitResult) -> tuple[str, int]:
    """The host as it is written, which is how Go compares it. Raises ValueError."""
    authority = url.netloc.rpartition("@")[2]
    port = url.port if url.port is not None else {"https": 443}.get(url.scheme, 80)
    if authority.startswith("["):
        return authority[1:].partition("]")[0], port
    return authority.partition(":")[0], port


def _target(path: str) -> str:
    """What Go makes of a probe's path (url.Parse): the host in it, if any, is not used, nor is the fragment. What
    cannot be read as a URL is a path, whatever is in it."""
    try:
        url = urlsplit(path)
    except ValueError:
        url = None
    if url is None or _CONTROL.search(path) or _BAD_ESCAPE.search(url.path):
        return _absolute(quote(path, safe=_PATH.replace("%", ""), errors="surrogateescape"))
    target = _absolute(quote(url.path, safe=_PATH, errors="surrogateescape"))
    return f"{target}?{quote(url.query, safe=_QUERY, errors='surrogateescape')}" if "?" in path else target


def _absolute(path: str) -> str:
    return path if path.startswith("/") else f"/{path}"


def _canonical(name: str) -> str:
    """``x-my-header`` → ``X-My-Header`` (net/textproto)."""
    if not _TOKEN.fullmatch(name):
        return name
    return "-".join(part[:1].upper() + part[1:].lower() for part in name.split("-"))


def _first(headers: Iterable[tuple[str, str]], wanted: str) -> str:
    return next((value for name, value in headers if name == wanted), "")


def _one_agent(headers: list[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    """The first user agent counts; an empty one is not sent."""
    agent = _first(headers, "User-Agent")
    rest = [(name, value) for name, value in headers if name != "User-Agent"]
    return [("User-Agent", agent), *rest] if agent else rest
