"""The link between the pods' network namespace and the program that connects it to the outside. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

__all__ = ["TAP", "ConnectorProgram", "Uplink", "free_uplink"]

TAP = "nsrun-out"
"""The interface at the pods' end of the link."""

# The first that is nobody else's here. QEMU and VirtualBox give their guests addresses of 10.0.2.0/24, too.
_RANGES = ("10.0.2.0/24", "10.199.199.0/24", "172.31.254.0/24", "192.168.254.0/24")
_PEER, _NAME_SERVER, _OWN = 2, 3, 100  # as slirp has them, which cannot be told others


@dataclass(frozen=True, slots=True, kw_only=True)
class Uplink:
    """``network``: the link's own range, which is seen nowhere else. ``mtu``: bytes; the link is no wire, and what fits
    into one packet is copied once."""

    network: IPv4Network
    mtu: int = 65520

    @property
    def address(self) -> IPv4Address:
        """The one at the pods' end."""
        return self.network[_OWN]

    @property
    def peer(self) -> IPv4Address:
        """Where all that goes outside is sent."""
        return self.network[_PEER]

    @property
    def name_server(self) -> IPv4Address:
        """Where the program takes questions to the host's own name server."""
        return self.network[_NAME_SERVER]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorProgram:
    """A program that can be the other end. ``package``: what it is in, in Debian's words. ``required``: options without
    which it is too old. ``arguments``: those of a run, given what options there are, the link, and where the namespace
    is pinned. It stays in the foreground, and lets nothing of the link's reach the host's loopback addresses."""

    name: str
    package: str
    required: frozenset[str]
    arguments: Callable[[frozenset[str], Uplink, Path], tuple[str, ...]]


def free_uplink(taken: Iterable[IPv4Network]) -> Uplink:
    """A link whose range overlaps with none of these; the last resort when all do is the first."""
    networks = tuple(map(IPv4Network, _RANGES))
    others = [network for network in taken if network.prefixlen]
    free = (network for network in networks if not any(network.overlaps(other) for other in others))
    return Uplink(network=next(free, networks[0]))
