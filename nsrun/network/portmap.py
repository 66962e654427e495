"""Host ports and the packet filter, as data: leases in, nft's text out.

Everything a pod needs of the filter are elements of a few maps and sets; the rules themselves never change. So a pod
costs one small transaction however many there are, and the whole table can be built again from the leases.

The tables are called like the bridge, so that two nsruns with bridges of their own leave each other alone.

Table ``ip``:

* raw: nothing that claims a loopback address, or is sent to one, comes in from outside this machine. ``route_localnet``
  is set for our bridge (and only there), because the answers of pods to connections made to 127.0.0.1 need it; without
  this rule every pod could reach what the host serves on loopback only (CVE-2020-8558).
* nat: connections to a local address whose port is in the map go to the pod. First the map with host IPs, then the one
  without. What leaves for outside gets the host's address; so does what a loopback address or the pod itself sends
  through a host port. Other pods keep their address: pods are /32, their answers always come back through the host.
* forward: from outside a pod is reached by its host ports only, so a port published on 127.0.0.1 stays there
  (a neighbour can route packets for a pod's address to this host).
* output: no ICMP redirects to pods. They would send one pod to another directly, which the bridge does not let them.

Table ``bridge``: a port sends nothing but IPv4 and ARP, with the MAC and the address its pod was given; and
from port to port go only IPv4 frames (br_netfilter makes such ones), never ARP or router advertisements
(CVE-2020-10749, CVE-2020-13401).
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from nsrun.errors import NetworkError
from nsrun.model.container import Protocol
from nsrun.model.hostports import HostPort, find_conflict, host_ports
from nsrun.model.pod import Pod

__all__ = [
    "Member",
    "add_commands",
    "bridge_ruleset",
    "bridge_table",
    "delete_commands",
    "ip_ruleset",
    "ip_table",
    "listening_ports",
    "port_prefix",
    "published_ports",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A pod as the filter sees it: the host-side end of its link, the MAC and address it may use, its host ports."""

    link: str
    mac: str
    address: IPv4Address
    ports: tuple[HostPort, ...]


def port_prefix(bridge: str) -> str:
    """How the names of a bridge's ports begin. (Whose port one is, only some kernels can tell nft: NFT_BRIDGE_META.)"""
    return f"nsr{hashlib.sha256(bridge.encode()).hexdigest()[:3]}"


def ip_table(bridge: str) -> str:
    """``nsrun0`` → ``ip nsrun0``, ``br1`` → ``ip nsrun-br1``: family and name, always one that says whose it is."""
    return f"ip {_table_name(bridge)}"


def bridge_table(bridge: str) -> str:
    """The same of family ``bridge``."""
    return f"bridge {_table_name(bridge)}"


def _table_name(bridge: str) -> str:
    return bridge if bridge.startswith("nsrun") else f"nsrun-{bridge}"


def published_ports(pod: Pod) -> tuple[HostPort, ...]:
    """The host ports of a pod with a network of its own. Raises NetworkError for a host IP that is not IPv4, and for
    one port twice."""
    try:
        ports = host_ports(pod)
    except ValueError as error:
        raise NetworkError(f'cannot publish a port for pod "{pod.name}": {error}') from None
    for number, port in enumerate(ports):
        if isinstance(port.host_ip, IPv6Address):
            raise NetworkError(
                f'cannot publish a port on host IP "{port.host_ip}" for pod "{pod.name}": not an IPv4 address',
                hint="pods have IPv4 addresses only; leave hostIP out for every address of the host",
            )
        if find_conflict((port,), ports[:number]) is not None:
            raise NetworkError(f'cannot publish host port {port} for pod "{pod.name}": the pod asks for it twice')
    return ports


def listening_ports(table: str, protocol: Protocol) -> tuple[HostPort, ...]:
    """What programs of the host serve, from ``/proc/net/tcp``, ``tcp6``, ``udp`` or ``udp6``.

    TCP sockets that listen, UDP sockets that are connected to no one peer. An IPv6 socket counts for what it takes of
    IPv4: the wildcard takes everything, a mapped address its own.
    """
    state = "0A" if protocol is Protocol.TCP else "07"
    found = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        if fields[3] != state:
            continue
        address, _, port = fields[1].partition(":")
        host_ip = _from_proc(address)
        if host_ip is not None:
            everywhere = None if host_ip.is_unspecified else host_ip
            number = int(port, 16)
            found.append(HostPort(protocol=protocol, host_ip=everywhere, host_port=number, container_port=number))
    return tuple(found)


def _from_proc(digits: str) -> IPv4Address | None:
    """``0100007F`` → 127.0.0.1: groups of four bytes, each as this machine stores a number."""
    data = b"".join(int(digits[n : n + 8], 16).to_bytes(4, sys.byteorder) for n in range(0, len(digits), 8))
    if len(data) == 4 or data[:12] == b"\0" * 10 + b"\xff\xff" or not any(data):
        return IPv4Address(data[-4:])
    return None


def _port_elements(member: Member) -> dict[str, list[str]]:
    """Elements for the maps of table ``ip``, by name of the map."""
    elements: dict[str, list[str]] = {"ports": [], "ports_at": [], "hairpin": []}
    for port in member.ports:
        key, value = f"{port.protocol.lower()} . {port.host_port}", f"{member.address} . {port.container_port}"
        if port.host_ip is None:
            elements["ports"].append(f"{key} : {value}")
        else:
            elements["ports_at"].append(f"{port.host_ip} . {key} : {value}")
    if member.ports:
        elements["hairpin"].append(f"{member.address} . {member.address}")
    return elements


def _source(member: Member) -> str:
    return f'"{member.link}" . {member.mac} . {member.address}'


def add_commands(member: Member, *, bridge: str, sources: bool) -> str:
    """Lets a pod in. ``sources``: whether the bridge table is there. "" when there is nothing to do."""
    return "".join(
        f"add element {place} {{ {elements} }}\n" for place, elements in _places(member, bridge=bridge, sources=sources)
    )


def delete_commands(member: Member, *, bridge: str, sources: bool) -> str:
    """Shuts a pod out. Each element is added before it is deleted, in the same transaction: it need not be there."""
    return "".join(
        f"add element {place} {{ {elements} }}\ndelete element {place} {{ {elements} }}\n"
        for place, elements in _places(member, bridge=bridge, sources=sources)
    )


def _places(member: Member, *, bridge: str, sources: bool) -> list[tuple[str, str]]:
    table = ip_table(bridge)
    places = [(f"{table} {name}", ", ".join(found)) for name, found in _port_elements(member).items() if found]
    if sources:
        places.append((f"{bridge_table(bridge)} sources", _source(member)))
    return places


def _elements(items: Sequence[str]) -> str:
    return f"elements = {{ {', '.join(items)} }}" if items else ""


def _table(name: str, body: str) -> str:
    """The table made anew in one transaction, whatever it held before."""
    return f"table {name} {{ }}\ndelete table {name}\ntable {name} {{{body}}}\n"


def ip_ruleset(*, bridge: str, pods: IPv4Network, members: Sequence[Member], closed: IPv4Network | None = None) -> str:
    """Commands that make table ``ip`` what it should be. ``closed``: where outside no pod gets to."""
    elements: dict[str, list[str]] = {"ports": [], "ports_at": [], "hairpin": []}
    for member in members:
        for name, found in _port_elements(member).items():
            elements[name] += found
    body = f"""
    map ports {{ type inet_proto . inet_service : ipv4_addr . inet_service; {_elements(elements["ports"])} }}
    map ports_at {{
        type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; {_elements(elements["ports_at"])}
    }}
    set hairpin {{ type ipv4_addr . ipv4_addr; {_elements(elements["hairpin"])} }}

    chain raw {{
        type filter hook prerouting priority -300; policy accept;
        iifname != "lo" ip daddr 127.0.0.0/8 drop
        iifname != "lo" ip saddr 127.0.0.0/8 drop
        iifname "{bridge}" ip saddr != {pods} drop
    }}
    chain to_pod {{
        dnat ip to ip daddr . meta l4proto . th dport map @ports_at
        dnat ip to meta l4proto . th dport map @ports
    }}
    chain prerouting {{
        type nat hook prerouting priority -100; policy accept;
        fib daddr type local jump to_pod
    }}
    chain output_nat {{
        type nat hook output priority -100; policy accept;
        fib daddr type local jump to_pod
    }}
    chain postrouting {{
        type nat hook postrouting priority 100; policy accept;
        oifname "{bridge}" ip saddr 127.0.0.0/8 masquerade
        oifname "{bridge}" ip saddr . ip daddr @hairpin masquerade
        oifname != "{bridge}" ip saddr {pods} ip daddr != {pods} masquerade
    }}
    chain forward {{
        type filter hook forward priority 0; policy accept;
        iifname != "{bridge}" oifname "{bridge}" ct state established,related accept
        iifname != "{bridge}" oifname "{bridge}" ct status dnat accept
        iifname != "{bridge}" oifname "{bridge}" drop
        {f'iifname "{bridge}" ip daddr {closed} drop' if closed is not None else ""}
    }}
    chain output {{
        type filter hook output priority 0; policy accept;
        oifname "{bridge}" icmp type redirect drop
    }}
"""
    return _table(ip_table(bridge), body)


def bridge_ruleset(*, bridge: str, members: Sequence[Member]) -> str:
    """Commands that make table ``bridge`` what it should be."""
    body = f"""
    set sources {{ type ifname . ether_addr . ipv4_addr; {_elements([_source(m) for m in members])} }}

    chain prerouting {{
        type filter hook prerouting priority -300; policy accept;
        iifname "{port_prefix(bridge)}*" jump from_pod
    }}
    chain from_pod {{
        iifname . ether saddr . ip saddr @sources accept
        iifname . arp saddr ether . arp saddr ip @sources accept
        drop
    }}
    chain forward {{
        type filter hook forward priority 0; policy accept;
        iifname "{port_prefix(bridge)}*" ether type != ip drop
    }}
"""
    return _table(bridge_table(bridge), body)
