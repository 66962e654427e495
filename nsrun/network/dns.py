"""A pod's resolv.conf, made of the host's: the kubelet's dnsPolicy ``Default``. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address

__all__ = ["render_resolv_conf", "wants_upstream_file"]

_MAX_NAMESERVERS = 3  # MAXNS of the resolver, and the kubelet's MaxDNSNameservers
_MAX_SEARCHES = 32  # the kubelet's MaxDNSSearchPaths
_MAX_SEARCH_CHARACTERS = 2048  # the kubelet's MaxDNSSearchListChars


def wants_upstream_file(host: str) -> bool:
    """Whether the host asks itself only (systemd-resolved, dnsmasq): a pod cannot ask there."""
    named = [words[1] for words in _lines(host, "nameserver") if len(words) > 1]
    return bool(named) and all(_is_loopback(server) for server in named)


def render_resolv_conf(host: str) -> str:
    """Takes the text of the host's resolv.conf.

    Name servers a pod cannot reach are left out: loopback ones are the host's own, IPv6 ones have no route from an
    IPv4 pod, and each would cost five seconds of every look-up. Of the rest the first three count, and the first 32
    searches within 2048 characters. The last ``search`` (or ``domain``) line counts, as resolv.conf(5) says.
    """
    servers = [words[1] for words in _lines(host, "nameserver") if len(words) > 1 and _is_reachable(words[1])]
    out = [f"nameserver {server}" for server in servers[:_MAX_NAMESERVERS]]
    if not servers:
        out.append("# the host names no server that a pod could reach")
    searches = _fit(_searches(host))
    if searches:
        out.append(f"search {' '.join(searches)}")
    options = [option for words in _lines(host, "options") for option in words[1:]]
    if options:
        out.append(f"options {' '.join(dict.fromkeys(options))}")
    return "\n".join(out) + "\n"


def _lines(text: str, *keywords: str) -> Iterator[list[str]]:
    """The words of each line that starts with one of the keywords. A comment starts with ``#`` or ``;``."""
    for line in text.splitlines():
        words = line.split("#", 1)[0].split(";", 1)[0].split()
        if words and words[0] in keywords:
            yield words


def _searches(text: str) -> list[str]:
    said = list(_lines(text, "search", "domain"))
    names = [name.rstrip(".") or "." for name in said[-1][1:]] if said else []
    return list(dict.fromkeys(names))


def _fit(searches: list[str]) -> list[str]:
    kept: list[str] = []
    for name in searches[:_MAX_SEARCHES]:
        if len(" ".join([*kept, name])) > _MAX_SEARCH_CHARACTERS:
            break
        kept.append(name)
    return kept


def _address(text: str) -> IPv4Address | None:
    try:
        return IPv4Address(text)
    except AddressValueError:
        return None


def _is_loopback(text: str) -> bool:
    address = _address(text)
    return address.is_loopback or address.is_unspecified if address is not None else text == "::1"


def _is_reachable(text: str) -> bool:
    return _address(text) is not None and not _is_loopback(text)
