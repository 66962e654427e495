"""HTTP as values: requests, answers, and where a registry may send us. No I/O.

A registry names other places in two ways: the realm of its token service, and redirects of blobs. Both are its word,
not ours, so both pass ``Home.objection``: no plain HTTP unless the registry itself may use it, no place that only this
machine or its cloud can reach (127.0.0.1, 169.254.169.254 …) unless the registry is there itself.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urljoin

__all__ = ["Address", "Answer", "Home", "Origin", "Request", "is_local_address", "origin_of", "redirected"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Stricter than RFC 3986 on purpose: no user info, no backslash, no fragment, ASCII only. What one parser could read
# differently than another is refused.
_URL = re.compile(
    r"(https?)://([A-Za-z0-9][A-Za-z0-9_.-]*|\[[0-9a-fA-F:.]+\])(?::([0-9]{1,5}))?([/?][!$-\[\]-~]*)?", re.ASCII
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Scheme, host (lower case, without brackets) and port of a URL."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """``host[:port]``, the port only when it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _default_port(self.scheme) else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request to be sent. ``wants_body``: whoever sends it reads the answer's body (at most ``BODY_LIMIT`` bytes).

    ``body``: bytes; or pieces, which can be had again, of as many bytes as a Content-Length among the headers says.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | Iterable[bytes] = field(default=b"", repr=False)
    wants_body: bool = False

    def with_authorization(self, value: str) -> Request:
        return replace(self, headers={**self.headers, "Authorization": value})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back. ``headers``: lower case names; a header that came more than once has several values."""

    status: int
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """A registry as it is configured: the origin we trust, and whether it may do without TLS."""

    origin: Origin
    insecure: bool = False

    def objection(self, url: str) -> str | None:
        """Why we do not go to ``url`` on this registry's word, None when we do."""
        target = origin_of(url)
        if target is None:
            return "it is not a plain http or https URL"
        if target.scheme != "https" and not self.insecure:
            return "it is not HTTPS"
        if target.host == self.origin.host:
            return None
        own = _literal(self.origin.host)
        address = _literal(target.host)
        if address is not None and not self.allows(address, at_home=own is not None and own.is_loopback):
            return "it is an address of this machine or its link"
        return None

    def allows(self, address: Address, *, at_home: bool) -> bool:
        """Whether another host than the registry may be at ``address``. ``at_home``: the registry is on loopback."""
        return not is_local_address(address) or (at_home and _plain(address).is_loopback)


def origin_of(url: str) -> Origin | None:
    """The origin of an absolute URL, None when it is not one we would use."""
    match = _URL.fullmatch(url)
    if match is None:
        return None
    scheme, host, port, _ = match.groups()
    number = int(port) if port else _default_port(scheme)
    return Origin(scheme=scheme, host=host.strip("[]").lower(), port=number) if 0 < number < 65536 else None


def redirected(request: Request, location: str) -> Request:
    """The request, sent to where a redirect points. ``Authorization`` goes along only to the same origin."""
    url = urljoin(request.url, location.strip(" \t"))
    headers = request.headers
    if origin_of(url) != origin_of(request.url):
        headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
    return replace(request, url=url, headers=headers)


def is_local_address(address: Address) -> bool:
    """Loopback, link-local, unspecified or multicast: never somewhere a stranger may send us."""
    plain = _plain(address)
    return plain.is_loopback or plain.is_link_local or plain.is_unspecified or plain.is_multicast


def _plain(address: Address) -> Address:
    """``::ffff:127.0.0.1`` is 127.0.0.1."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _literal(host: str) -> Address | None:
    if host == "localhost" or host.endswith(".localhost"):
        return ipaddress.IPv4Address("127.0.0.1")
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _default_port(scheme: str) -> int:
    return 443 if scheme == "https" else 80
