"""From the text of a flag to its value. What makes no sense is told in one sentence that names the flag.

Every function takes the flag's name and its text, and raises SettingsError.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, ip_address
from pathlib import Path
from urllib.parse import urlsplit

from nsrun.cli.age import seconds_of
from nsrun.errors import SettingsError
from nsrun.host.node import RESERVABLE
from nsrun.model.names import dns_subdomain
from nsrun.model.quantity import parse_quantity
from nsrun.model.sysctls import pattern_problem

__all__ = [
    "addresses",
    "amounts",
    "bridge_name",
    "domain",
    "headers",
    "network",
    "octets",
    "resolv_conf",
    "seconds",
    "sysctl_patterns",
    "url",
]

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A header's name (RFC 9110 §5.6.2)."""
OURS = frozenset({"accept-encoding", "connection", "content-length", "host", "transfer-encoding"})
"""Headers that the request itself decides."""


def seconds(flag: str, text: str, *, nothing: bool = False) -> float:
    """A duration. ``nothing``: it may be 0."""
    try:
        found = seconds_of(text)
    except ValueError as error:
        raise SettingsError(f"cannot use {flag}: {error}") from None
    if nothing and found == 0:
        return found
    if not 0 < found < float("inf"):
        raise SettingsError(f'cannot use {flag}: must be more than nothing, not "{text}"')
    return found


def network(flag: str, text: str) -> IPv4Network:
    """An IPv4 network."""
    try:
        return IPv4Network(text)
    except ValueError as error:
        raise SettingsError(f"cannot use {flag}: {error}", hint="an IPv4 network such as 10.99.0.0/16") from None


def bridge_name(flag: str, text: str) -> str:
    """An interface's name (IFNAMSIZ) that nft takes as a table's, too."""
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]{0,14}", text) is None:
        raise SettingsError(
            f'cannot use {flag}: "{text}" is no name for a bridge',
            hint="a letter, then at most 14 letters, digits, dots, dashes and underscores",
        )
    return text


def addresses(flag: str, text: str) -> tuple[str, ...]:
    """IP addresses with commas between them; none for an empty text."""
    try:
        return tuple(str(ip_address(item)) for item in _items(text))
    except ValueError as error:
        raise SettingsError(f"cannot use {flag}: {error}", hint="IP addresses with commas between them") from None


def domain(flag: str, text: str) -> str:
    """A DNS name, "" for none."""
    name = text.rstrip(".")
    problem = dns_subdomain(name) if name else None
    if problem is not None:
        raise SettingsError(f"cannot use {flag}: {problem}")
    return name


def resolv_conf(flag: str, text: str) -> Path | None:
    """A file that is there, or the usual one, which need not be; None for "": pods get no name servers from it."""
    if not text:
        return None
    path = Path(text).absolute()
    if str(path) != "/etc/resolv.conf" and not path.is_file():
        raise SettingsError(f'cannot use {flag}: "{path}" is not a file', hint='give "" for no name servers at all')
    return path


def octets(flag: str, text: str) -> int:
    """A number of bytes: ``10Mi``."""
    try:
        found = parse_quantity(text).value
    except ValueError:
        raise SettingsError(f'cannot use {flag}: must be a size such as "10Mi", not "{text}"') from None
    if found <= 0:
        raise SettingsError(f'cannot use {flag}: must be more than nothing, not "{text}"')
    return found


def amounts(flag: str, text: str) -> Mapping[str, int]:
    """``cpu=500m,memory=1Gi`` → thousandths of the unit by resource name."""
    found: dict[str, int] = {}
    for item in _items(text):
        name, _, amount = item.partition("=")
        if name not in RESERVABLE:
            known = ", ".join(sorted(RESERVABLE))
            raise SettingsError(f'cannot use {flag}: "{name}" cannot be reserved', hint=f"one of {known}")
        try:
            quantity = parse_quantity(amount)
        except ValueError:
            raise SettingsError(f'cannot use {flag}: {name} must be an amount such as "500m", not "{amount}"') from None
        if quantity.milli < 0:
            raise SettingsError(f'cannot use {flag}: {name} must not be negative, not "{amount}"')
        found[name] = quantity.milli
    return found


def sysctl_patterns(flag: str, text: str) -> tuple[str, ...]:
    """Names of sysctls, or beginnings of names with ``*``."""
    patterns = tuple(_items(text))
    for pattern in patterns:
        problem = pattern_problem(pattern)
        if problem is not None:
            raise SettingsError(f"cannot use {flag}: {problem}", hint='such as "kernel.msg*,net.core.somaxconn"')
    return patterns


def url(flag: str, text: str) -> str:
    """A web address, "" for none. What is wrong is not quoted: there may be a password in it."""
    try:
        parts = urlsplit(text)
        fits = not text or (parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0)
    except ValueError:
        fits = False
    if not fits or not text.isprintable() or " " in text:
        raise SettingsError(f"cannot use {flag}: it is no web address", hint="such as https://example.com/pods.yaml")
    return text


def headers(flag: str, texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The kubelet's ``Name:value,Name:value``. What is wrong is not quoted: these are secrets."""
    found: list[tuple[str, str]] = []
    for number, item in enumerate((item for text in texts for item in _items(text)), 1):
        name, colon, value = (part.strip() for part in item.partition(":"))
        if not colon or TOKEN.fullmatch(name) is None or not value.isprintable():
            raise SettingsError(f"cannot use {flag}: item {number} is no header", hint='such as "X-Token:abc"')
        if name.lower() in OURS:
            raise SettingsError(f"cannot use {flag}: {name} is not yours to choose")
        found.append((name, value))
    return tuple(found)


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]
