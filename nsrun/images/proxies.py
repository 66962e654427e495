"""The proxy for a URL, as $HTTPS_PROXY, $HTTP_PROXY and $NO_PROXY say (either case). Loopback is never proxied."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from nsrun.images.exchange import Origin

__all__ = ["proxy_for"]


def proxy_for(origin: Origin, environment: Mapping[str, str]) -> str | None:
    """The proxy's URL, None for a direct connection."""
    proxy = _variable(f"{origin.scheme}_proxy", environment)
    if not proxy or _is_loopback(origin.host) or _is_excepted(origin, _variable("no_proxy", environment)):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_excepted(origin: Origin, exceptions: str) -> bool:
    """NO_PROXY: ``*``, or names (with all below them), addresses and networks, each with a port or without."""
    for entry in exceptions.replace(",", " ").split():
        name, colon, port = entry.lower().rpartition(":")
        if colon and port.isdigit() and ":" not in name:
            if int(port) != origin.port:
                continue
        else:
            name = entry.lower()
        name = name.removeprefix("*").lstrip(".")
        if entry == "*" or origin.host == name or (name and origin.host.endswith("." + name)) or _within(origin, name):
            return True
    return False


def _within(origin: Origin, network: str) -> bool:
    try:
        return ipaddress.ip_address(origin.host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _variable(name: str, environment: Mapping[str, str]) -> str:
    return environment.get(name) or environment.get(name.upper(), "")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
