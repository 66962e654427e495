"""The bridge all pods hang on: its interface, its address, and the host's settings that belong to it."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

from nsrun.errors import NetworkError, describe_errno
from nsrun.network.netlink import (
    Link,
    Route,
    RouteSocket,
    add_address,
    add_bridge,
    delete_address,
    delete_link,
    set_alias,
    set_link,
)
from nsrun.network.sysctls import Sysctls

__all__ = ["Bridge", "find_overlap", "gateway_of", "mac_of"]

_DEFAULT_MTU = 1500
_MAC_PREFIX = "0a:58:"  # locally administered
_ALIAS_PREFIX, _ALIAS_MAX = "nsrun in ", 255
_SMALLEST_PREFIX = 30

# Of the bridge alone. route_localnet lets the answers of pods to 127.0.0.1:<host port> in; table ``ip`` must be
# there before it is set. rp_filter: no packet from a pod with an address that is routed elsewhere. No redirects; and no
# IPv6 at all on the host's side, so that no router advertisement of a pod is ever believed (CVE-2020-13401).
_OWN_SYSCTLS = (
    ("net/ipv4/conf/{bridge}/rp_filter", "1"),
    ("net/ipv4/conf/{bridge}/send_redirects", "0"),
    ("net/ipv4/conf/{bridge}/route_localnet", "1"),
)
_IPV6_SYSCTLS = (("net/ipv6/conf/{bridge}/accept_ra", "0"), ("net/ipv6/conf/{bridge}/disable_ipv6", "1"))


def gateway_of(pods: IPv4Network) -> IPv4Interface:
    """The bridge's address: the first of the range. Raises NetworkError for a range without room for a pod."""
    if pods.prefixlen > _SMALLEST_PREFIX:
        raise NetworkError(
            f"cannot use {pods} for pods: too small", hint="choose a range like 10.88.0.0/16 with --pod-cidr"
        )
    return IPv4Interface((pods.network_address + 1, pods.prefixlen))


def mac_of(address: IPv4Address) -> str:
    """The MAC that goes with an address on the bridge: locally administered, and told from the address."""
    return _MAC_PREFIX + address.packed.hex(":")


def find_overlap(pods: IPv4Network, routes: tuple[Route, ...], own_link: int) -> Route | None:
    """The first route (but the default one) that shares addresses with the range and leaves by another interface."""
    return next(
        (r for r in routes if r.destination.prefixlen and r.link != own_link and r.destination.overlaps(pods)), None
    )


class Bridge:
    """The bridge interface. Methods block on netlink. Its alias names the run directory whose pods hang on it."""

    def __init__(self, *, name: str, pods: IPv4Network, sysctls: Sysctls, run_dir: Path) -> None:
        self.name = name
        self.gateway = gateway_of(pods)
        self.mtu = _DEFAULT_MTU
        """What pods' links carry; known after ``ensure``."""
        self.ipv6 = sysctls.exists("net/ipv6")
        """Whether this kernel has IPv6."""
        self._pods = pods
        self._sysctls = sysctls
        self._alias = _alias_of(run_dir)

    def ensure(self, *, filters: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
        """Makes, or completes, the bridge. ``filters`` makes the packet filter, before anything can be forwarded.

        Returns what ``filters`` did. Raises NetworkError, for one when the pods' range is already somewhere else.
        """
        try:
            with RouteSocket.open() as rtnetlink:
                self._check_overlap(rtnetlink)
                self.mtu = _uplink_mtu(rtnetlink)
                rtnetlink.send([add_bridge(self.name, mac=mac_of(self.gateway.ip), mtu=self.mtu)])
                self._check_kind(rtnetlink)
                self._check_owner(rtnetlink)
                rtnetlink.send([set_alias(self.name, self._alias)])
                warnings = filters()
                self._set_sysctls()
                self._address(rtnetlink)
                rtnetlink.send([set_link(self.name, ipv6=self.ipv6)])
        except OSError as error:
            raise NetworkError(f'cannot set up bridge "{self.name}": {describe_errno(error.errno or 0)}') from error
        return warnings

    def owns(self, mac: str) -> bool:
        """Whether a MAC is that of an address in the pods' range."""
        prefix, octets = mac[: len(_MAC_PREFIX)], mac[len(_MAC_PREFIX) :].replace(":", "")
        return prefix == _MAC_PREFIX and IPv4Address(bytes.fromhex(octets)) in self._pods

    def is_foreign(self) -> bool:
        """Whether the bridge is that of another run directory, which is still there. Raises OSError."""
        with RouteSocket.open() as rtnetlink:
            return self._other_owner(rtnetlink) is not None

    def remove(self) -> None:
        """Deletes the bridge, and puts the host's settings back unless another nsrun needs them.

        Raises NetworkError."""
        try:
            with RouteSocket.open() as rtnetlink:
                rtnetlink.send([delete_link(self.name)])
                if not any(link.kind == "bridge" and _owner_in(link.alias) for link in rtnetlink.links()):
                    self._sysctls.restore()
        except OSError as error:
            raise NetworkError(f'cannot remove bridge "{self.name}": {describe_errno(error.errno or 0)}') from error

    def _check_overlap(self, rtnetlink: RouteSocket) -> None:
        own = rtnetlink.index(self.name)
        overlap = find_overlap(self._pods, rtnetlink.routes(), own)
        if overlap is not None:
            name = next((link.name for link in rtnetlink.links() if link.index == overlap.link), "")
            raise NetworkError(
                f'cannot use {self._pods} for pods: {overlap.destination} is routed by "{name}" already',
                hint="choose a free range with --pod-cidr",
            )

    def _check_kind(self, rtnetlink: RouteSocket) -> None:
        link = _named(rtnetlink, self.name)
        if link is not None and link.kind != "bridge":
            raise NetworkError(f'cannot use "{self.name}" as bridge: it is an interface of another kind')

    def _check_owner(self, rtnetlink: RouteSocket) -> None:
        """Two books of leases for one range would give one address to two pods."""
        other = self._other_owner(rtnetlink)
        if other is not None:
            raise NetworkError(
                f'cannot use bridge "{self.name}": it is that of the nsrun in "{other}"',
                hint="a second nsrun needs --bridge, --pod-cidr, --cgroup-root, --read-only-port and --port of its own",
            )

    def _other_owner(self, rtnetlink: RouteSocket) -> str | None:
        link = _named(rtnetlink, self.name)
        owner = _owner_in(link.alias) if link is not None and link.alias != self._alias else ""
        return owner if owner and Path(owner).is_dir() else None

    def _set_sysctls(self) -> None:
        self._sysctls.set("net/ipv4/ip_forward", "1", remember=True)
        for name, value in _OWN_SYSCTLS:
            self._sysctls.set(name.format(bridge=self.name), value)
        if self.ipv6:
            for name, value in _IPV6_SYSCTLS:
                self._sysctls.set(name.format(bridge=self.name), value)

    def _address(self, rtnetlink: RouteSocket) -> None:
        """The gateway's address, and no other of an earlier range."""
        index = rtnetlink.index(self.name)
        present = {address for link, address in rtnetlink.addresses() if link == index}
        stale = [delete_address(index, address) for address in sorted(present - {self.gateway})]
        rtnetlink.send([*stale, add_address(index, self.gateway)])


def _named(rtnetlink: RouteSocket, name: str) -> Link | None:
    return next((link for link in rtnetlink.links() if link.name == name), None)


def _alias_of(run_dir: Path) -> str:
    return f"{_ALIAS_PREFIX}{run_dir}"[:_ALIAS_MAX]


def _owner_in(alias: str) -> str:
    """The run directory that ``_alias_of`` wrote; "" for what anybody else did."""
    return alias.removeprefix(_ALIAS_PREFIX) if alias.startswith(_ALIAS_PREFIX) else ""


def _uplink_mtu(rtnetlink: RouteSocket) -> int:
    """What fits the interface of the default route: a pod must not send what the way out cannot carry."""
    ways_out = {route.link for route in rtnetlink.routes() if not route.destination.prefixlen}
    return min((link.mtu for link in rtnetlink.links() if link.index in ways_out), default=_DEFAULT_MTU)
