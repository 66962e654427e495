"""The doorway to pasta(1): what pods send outside becomes what sockets of the user's send."""

from __future__ import annotations

from pathlib import Path

from nsrun.network.uplink import TAP, ConnectorProgram, Uplink

__all__ = ["PASTA"]


def _arguments(_options: frozenset[str], uplink: Uplink, netns: Path) -> tuple[str, ...]:
    """``--runas``: who is root in the user's namespace stays it; otherwise pasta would become "nobody" of somebody whom
    it takes for the machine's root. An address of the link's own, so that the host's own ones are outside. No port is
    forwarded of itself: both are what pasta does when it is not told. What it would announce with DHCP and router
    advertisements the pods' side has not asked for."""
    quiet = ("--foreground", "--quiet", "--runas", "0:0")
    inside = ("--netns", str(netns), "--ns-ifname", TAP, "--config-net", "--ipv4-only", "--mtu", str(uplink.mtu))
    addresses = ("--address", str(uplink.address), "--netmask", str(uplink.network.prefixlen))
    ways = ("--gateway", str(uplink.peer), "--dns-forward", str(uplink.name_server), "--no-map-gw")
    ports = ("--tcp-ports", "none", "--udp-ports", "none", "--tcp-ns", "none", "--udp-ns", "none")
    return (*quiet, *inside, *addresses, *ways, *ports, "--no-dhcp", "--no-ndp", "--no-dhcpv6", "--no-ra")


PASTA = ConnectorProgram(
    name="pasta",
    package="passt",
    required=frozenset({"--config-net", "--dns-forward", "--netns", "--no-map-gw", "--ns-ifname", "--runas"}),
    arguments=_arguments,
)
