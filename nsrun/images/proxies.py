"""The proxy for a URL, as $HTTPS_PROXY, $HTTP_PROXY and $NO_PROXY say (either case, upper case first).

The rules are those of Go's golang.org/x/net/http/httpproxy, which skopeo, podman, docker and the kubelet follow:
NO_PROXY is ``*``, or a list of

    1.2.3.4  1.2.3.4:80  [::1]:80       that address, at that port or at any
    10.0.0.0/8  fd00::/8                every address in there
    example.com  example.com:80         that name, and all below it
    .example.com  *.example.com         all below it, but not the name itself

localhost and addresses of loopback are never asked through a proxy.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from nsrun.errors import ImageError
from nsrun.images.exchange import Address, Origin, origin_of
from nsrun.images.wording import printable

__all__ = ["proxy_for"]


def proxy_for(origin: Origin, environment: Mapping[str, str]) -> str | None:
    """``http://[user:password@]host[:port]``, None for a direct connection. Raises ImageError when it names no proxy
    that nsrun could use; the text never holds a password."""
    variable = f"{origin.scheme.upper()}_PROXY"
    proxy = _value(variable, environment)
    if not proxy or _is_home(origin.host) or _is_excepted(origin, _value("NO_PROXY", environment)):
        return None
    return _usable(proxy if "://" in proxy else f"http://{proxy}", variable)


def _usable(proxy: str, variable: str) -> str:
    scheme, _, rest = proxy.partition("://")
    user, at, place = rest.rpartition("@")
    place = place.rstrip("/")
    if scheme != "http":
        raise ImageError(
            f'the proxy "{scheme}://{printable(place)}" cannot be used: it is not one for plain HTTP',
            hint=f"let {variable} begin with http://, which says how the proxy is spoken to, not what is fetched",
        )
    if origin_of(f"http://{place}") is None or "/" in place or "?" in place:
        raise ImageError(
            f'the proxy "{printable(place)}" cannot be used: it is no host[:port]',
            hint=f"let {variable} be http://[USER:PASSWORD@]HOST[:PORT], special characters written as %XX",
        )
    return f"http://{user}{at}{place}"


def _is_excepted(origin: Origin, exceptions: str) -> bool:
    return any(_covers(entry, origin) for entry in exceptions.lower().replace(",", " ").split())


def _covers(entry: str, origin: Origin) -> bool:
    address = _address(origin.host)
    if entry == "*":
        return True
    if "/" in entry:
        return address is not None and _contains(entry, address)
    host, port = _split(entry)
    if port and port != str(origin.port):
        return False
    if address is not None:
        return _address(host) == address
    domain = host.removeprefix("*") if host.startswith("*.") else host
    if domain.startswith("."):
        return origin.host.endswith(domain)
    return bool(domain) and (origin.host == domain or origin.host.endswith(f".{domain}"))


def _split(entry: str) -> tuple[str, str]:
    """``host:port`` and ``[address]:port``; a port that is none fits nothing."""
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        return host, rest.removeprefix(":")
    host, _, port = entry.partition(":")
    return (entry, "") if ":" in port else (host, port)


def _contains(network: str, address: Address) -> bool:
    try:
        return address in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _address(host: str) -> Address | None:
    """``::ffff:10.0.0.1`` is 10.0.0.1."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _value(name: str, environment: Mapping[str, str]) -> str:
    return (environment.get(name) or environment.get(name.lower()) or "").strip()


def _is_home(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)
