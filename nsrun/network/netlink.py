"""The one doorway to pyroute2: rtnetlink requests as data, and the socket they are sent through.

pyroute2 knows how every message and attribute is laid out; it encodes the requests and decodes the dumps. The socket is
a plain one of ours, because requests are sent in batches: the kernel works off all messages of one ``send`` under a few
holds of its RTNL lock and answers each with an acknowledgement, so a pod costs three round trips and not a dozen.

A socket belongs to the network namespace it was made in and to one thread at a time.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from types import TracebackType
from typing import Any

import nsrun.network.faceless  # noqa: F401  # isort: skip  # before pyroute2
from pyroute2.netlink import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
)
from pyroute2.netlink.rtnl import (
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELNEIGH,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWROUTE,
)
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from nsrun.errors import NetworkError, describe_errno
from nsrun.support.fds import Fd

__all__ = [
    "Link",
    "Request",
    "Route",
    "RouteSocket",
    "add_address",
    "add_bridge",
    "add_forwarding_entry",
    "add_neighbour",
    "add_route",
    "add_veth",
    "delete_address",
    "delete_link",
    "delete_neighbour",
    "set_alias",
    "set_bridge_port",
    "set_link",
    "set_master",
]

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_ERROR = struct.Struct("=i")  # the start of struct nlmsgerr
_ATTRIBUTE = struct.Struct("=HH")
_SOL_NETLINK = 270
_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 10, 11, 12
_NLM_F_ACK_TLVS = 0x200
_NLMSGERR_ATTR_MSG = 1
_IFF_UP = 1
_ADDR_GEN_MODE_NONE = 1
_AF_BRIDGE = 7
_NTF_MASTER = 0x04
_NUD_STATIC = 0x40 | 0x02  # NUD_NOARP | NUD_REACHABLE: neither learned, nor aged, nor moved
_NUD_PERMANENT = 0x80
_RT_SCOPE_UNIVERSE, _RT_SCOPE_LINK = 0, 253
_RT_TABLE_MAIN, _RTPROT_STATIC, _RTN_UNICAST = 254, 4, 1
_CREATE = NLM_F_CREATE | NLM_F_EXCL
_PUT = NLM_F_CREATE | NLM_F_REPLACE


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One message of a batch. ``what``: "create link nsr…", for errors. ``fine``: errnos that mean it is so already."""

    what: str
    message: bytes
    fine: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A network interface. ``alias``: as ``ip link set … alias`` puts it there, or "". ``master``: an index, or 0."""

    index: int
    name: str
    mac: str
    mtu: int
    alias: str
    kind: str
    master: int
    up: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """An IPv4 route of the main table. ``link``: index of the interface it leaves by, 0 when none."""

    destination: IPv4Network
    link: int


class RouteSocket:
    """A NETLINK_ROUTE socket. Invariant: no answer of an earlier request is left unread in it."""

    def __init__(self, endpoint: socket.socket) -> None:
        self._socket = endpoint
        self._sequence = 0
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK):
            endpoint.setsockopt(_SOL_NETLINK, option, 1)

    @classmethod
    def open(cls) -> RouteSocket:
        """In the network namespace of the calling thread. Raises OSError."""
        return cls(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE))

    @classmethod
    def adopt(cls, fd: Fd) -> RouteSocket:
        """Takes over a netlink socket that was made elsewhere, say inside a pod's network namespace."""
        return cls(socket.socket(fileno=fd.detach()))

    def __enter__(self) -> RouteSocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes it; closing twice is harmless."""
        self._socket.close()

    def send(self, requests: Sequence[Request]) -> None:
        """Carries out all requests in one round trip. Raises NetworkError for the first that failed; the others were
        carried out nevertheless, so that doing the whole batch again is the way to go on."""
        first = self._sequence + 1
        self._sequence += len(requests)
        self._socket.send(b"".join(_stamp(r.message, first + n) for n, r in enumerate(requests)))
        failures = dict(self._acknowledgements(first, len(requests)))
        for number, request in enumerate(requests):
            error, text = failures[first + number]
            if error and error not in request.fine:
                raise NetworkError(f"cannot {request.what}: {text or describe_errno(error)}", hint=_hint(error))

    def _acknowledgements(self, first: int, count: int) -> Iterator[tuple[int, tuple[int, str]]]:
        left = count
        while left:
            for kind, flags, sequence, payload in _messages(self._socket.recv(65536)):
                if kind == NLMSG_ERROR and first <= sequence < first + count:
                    left -= 1
                    yield sequence, (-_ERROR.unpack_from(payload)[0], _kernel_text(flags, payload))

    def _dump(self, message: Any, kind: int) -> Iterator[Any]:
        """Yields decoded messages of the class of ``message``."""
        self._sequence += 1
        self._socket.send(_stamp(_encode(message, kind, NLM_F_DUMP), self._sequence))
        while True:
            data = self._socket.recv(1 << 18)
            offset = 0
            for kind_seen, _, sequence, payload in _messages(data):
                if sequence != self._sequence:
                    pass
                elif kind_seen == NLMSG_DONE:
                    return
                elif kind_seen == NLMSG_ERROR:
                    raise OSError(-_ERROR.unpack_from(payload)[0], "netlink dump")
                else:
                    decoded = type(message)(data, offset=offset)
                    decoded.decode()
                    yield decoded
                offset += (len(payload) + _HEADER.size + 3) & ~3

    def links(self) -> tuple[Link, ...]:
        """Every interface of the namespace. Raises OSError."""
        return tuple(_link(message) for message in self._dump(ifinfmsg(), RTM_GETLINK))

    def routes(self) -> tuple[Route, ...]:
        """The IPv4 routes of the main table. Raises OSError."""
        message = rtmsg()
        message["family"] = socket.AF_INET
        found = (_route(m) for m in self._dump(message, RTM_GETROUTE) if m["table"] == _RT_TABLE_MAIN)
        return tuple(route for route in found if route is not None)

    def addresses(self) -> tuple[tuple[int, IPv4Interface], ...]:
        """Interface index and IPv4 address, of every interface. Raises OSError."""
        message = ifaddrmsg()
        message["family"] = socket.AF_INET
        return tuple(
            (m["index"], IPv4Interface(f"{m.get_attr('IFA_LOCAL')}/{m['prefixlen']}"))
            for m in self._dump(message, RTM_GETADDR)
            if m["family"] == socket.AF_INET
        )

    def index(self, name: str) -> int:
        """The index of an interface, 0 when there is none of that name. Raises OSError."""
        message = ifinfmsg()
        message["attrs"] = [("IFLA_IFNAME", name)]
        self._sequence += 1
        self._socket.send(_stamp(_encode(message, RTM_GETLINK, 0), self._sequence))
        found = 0
        while True:
            for kind, _, sequence, payload in _messages(self._socket.recv(65536)):
                if sequence != self._sequence:
                    continue
                if kind != NLMSG_ERROR:
                    found = struct.unpack_from("=i", payload, 4)[0]  # struct ifinfomsg: ifi_index
                    continue
                error = -_ERROR.unpack_from(payload)[0]
                if error not in (0, errno.ENODEV):
                    raise OSError(error, os.strerror(error))
                return found


def _encode(message: Any, kind: int, flags: int) -> bytes:
    message["header"]["type"] = kind
    # Always acknowledged: a request without an answer of its own ends by its acknowledgement.
    message["header"]["flags"] = NLM_F_REQUEST | (flags or 0) | (0 if flags == NLM_F_DUMP else NLM_F_ACK)
    message.encode()
    return bytes(message.data)


def _stamp(message: bytes, sequence: int) -> bytes:
    return message[:8] + struct.pack("=I", sequence) + message[12:] + b"\0" * (-len(message) % 4)


def _messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Takes what one recv gave apart: type, flags, sequence, payload."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        yield kind, flags, sequence, data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def _kernel_text(flags: int, payload: bytes) -> str:
    """The sentence some errors carry (extended ack). With CAP_ACK the request is not echoed before it."""
    offset = _ERROR.size + _HEADER.size
    while flags & _NLM_F_ACK_TLVS and offset + _ATTRIBUTE.size <= len(payload):
        length, kind = _ATTRIBUTE.unpack_from(payload, offset)
        if kind & 0x3FFF == _NLMSGERR_ATTR_MSG:
            text = payload[offset + _ATTRIBUTE.size : offset + length].rstrip(b"\0").decode("utf-8", "replace")
            return text[:1].lower() + text[1:]
        offset += max((length + 3) & ~3, _ATTRIBUTE.size)
    return ""


def _hint(error: int) -> str | None:
    if error == errno.EPERM:
        return "run nsrun as root (CAP_NET_ADMIN)"
    if error == errno.EOPNOTSUPP:
        return "this kernel lacks veth or bridge interfaces: modprobe veth bridge"
    return None


def _link(message: Any) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    return Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME") or "",
        mac=message.get_attr("IFLA_ADDRESS") or "",
        mtu=message.get_attr("IFLA_MTU") or 0,
        alias=message.get_attr("IFLA_IFALIAS") or "",
        kind=(info.get_attr("IFLA_INFO_KIND") if info is not None else None) or "",
        master=message.get_attr("IFLA_MASTER") or 0,
        up=bool(message["flags"] & _IFF_UP),
    )


def _route(message: Any) -> Route | None:
    if message["type"] != _RTN_UNICAST:
        return None
    destination = IPv4Network(f"{message.get_attr('RTA_DST') or '0.0.0.0'}/{message['dst_len']}")
    return Route(destination=destination, link=message.get_attr("RTA_OIF") or 0)


def _link_request(flags: int, attributes: list[tuple[str, Any]], *, up: bool = False) -> bytes:
    message = ifinfmsg()
    if up:
        message["flags"] = message["change"] = _IFF_UP
    message["attrs"] = attributes
    return _encode(message, RTM_NEWLINK, flags)


def _without_link_local(*, ipv6: bool) -> list[tuple[str, Any]]:
    """No IPv6 link-local address: its duplicate address detection would only cost packets and a second of waiting."""
    mode = {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", _ADDR_GEN_MODE_NONE)]}
    return [("IFLA_AF_SPEC", {"attrs": [("AF_INET6", mode)]})] if ipv6 else []


def add_bridge(name: str, *, mac: str, mtu: int) -> Request:
    """A bridge. Its MAC is given, or it would change whenever a port comes or goes."""
    attributes = [
        ("IFLA_IFNAME", name),
        ("IFLA_ADDRESS", mac),
        ("IFLA_MTU", mtu),
        ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "bridge")]}),
    ]
    what = f'create bridge "{name}"'
    return Request(what=what, message=_link_request(_CREATE, attributes), fine=frozenset({errno.EEXIST}))


def set_alias(name: str, alias: str) -> Request:
    """What ``ip link`` shows beside the interface: at most 255 characters."""
    attributes = [("IFLA_IFNAME", name), ("IFLA_IFALIAS", alias)]
    return Request(what=f'name the owner of link "{name}"', message=_link_request(0, attributes))


def add_veth(name: str, *, bridge: int, peer: str, peer_mac: str, netns: int, mtu: int) -> Request:
    """A veth pair: ``name`` here, a port of the bridge with that index; ``peer``, at once in that namespace."""
    inside = {
        "attrs": [("IFLA_IFNAME", peer), ("IFLA_ADDRESS", peer_mac), ("IFLA_MTU", mtu), ("IFLA_NET_NS_FD", netns)],
    }
    attributes = [
        ("IFLA_IFNAME", name),
        ("IFLA_MTU", mtu),
        ("IFLA_MASTER", bridge),
        (
            "IFLA_LINKINFO",
            {"attrs": [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", inside)]})]},
        ),
    ]
    what = f'create link "{name}"'
    return Request(what=what, message=_link_request(_CREATE, attributes))


def set_bridge_port(name: str, *, alias: str, ipv6: bool) -> Request:
    """Makes the port ``name`` safe, and brings it up.

    It learns no addresses and is never flooded, so that a pod can neither take another's place on the bridge nor listen
    in; what it is sent is what the static forwarding entry says. Hairpin mode, for hosts where br_netfilter turns a
    frame round to the pod it came from (a pod that calls its own host port). ``ipv6``: as for ``set_link``.
    """
    port = {
        "attrs": [
            ("IFLA_BRPORT_MODE", 1),
            ("IFLA_BRPORT_LEARNING", 0),
            ("IFLA_BRPORT_UNICAST_FLOOD", 0),
            ("IFLA_BRPORT_MCAST_FLOOD", 0),
            ("IFLA_BRPORT_BCAST_FLOOD", 0),
        ],
    }
    attributes = [
        ("IFLA_IFNAME", name),
        ("IFLA_IFALIAS", alias),
        ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", port)]}),
        *_without_link_local(ipv6=ipv6),
    ]
    what = f'set up bridge port "{name}"'
    return Request(what=what, message=_link_request(0, attributes, up=True))


def set_master(name: str, bridge: int) -> Request:
    """Makes the interface a port of the bridge with that index."""
    what = f'plug link "{name}" into the bridge'
    return Request(what=what, message=_link_request(0, [("IFLA_IFNAME", name), ("IFLA_MASTER", bridge)]))


def set_link(name: str, *, ipv6: bool) -> Request:
    """Up, without an IPv6 link-local address. ``ipv6``: whether this kernel knows of it at all."""
    attributes = [("IFLA_IFNAME", name), *_without_link_local(ipv6=ipv6)]
    return Request(what=f'bring up link "{name}"', message=_link_request(0, attributes, up=True))


def delete_link(name: str) -> Request:
    """Gone, with its peer. The kernel waits for RCU here: milliseconds."""
    message = ifinfmsg()
    message["attrs"] = [("IFLA_IFNAME", name)]
    encoded = _encode(message, RTM_DELLINK, 0)
    return Request(what=f'delete link "{name}"', message=encoded, fine=frozenset({errno.ENODEV}))


def add_address(link: int, address: IPv4Interface) -> Request:
    """An address of the interface with index ``link``."""
    message = ifaddrmsg()
    message["family"], message["prefixlen"], message["index"] = socket.AF_INET, address.network.prefixlen, link
    message["attrs"] = [("IFA_LOCAL", str(address.ip)), ("IFA_ADDRESS", str(address.ip))]
    return Request(
        what=f"add address {address}", message=_encode(message, RTM_NEWADDR, _PUT), fine=frozenset({errno.EEXIST})
    )


def delete_address(link: int, address: IPv4Interface) -> Request:
    """Undoes ``add_address``."""
    message = ifaddrmsg()
    message["family"], message["prefixlen"], message["index"] = socket.AF_INET, address.network.prefixlen, link
    message["attrs"] = [("IFA_LOCAL", str(address.ip))]
    gone = frozenset({errno.EADDRNOTAVAIL})
    return Request(what=f"delete address {address}", message=_encode(message, RTM_DELADDR, 0), fine=gone)


def add_route(link: int, destination: IPv4Network, *, gateway: IPv4Address | None) -> Request:
    """A route by the interface with index ``link``; without a gateway the destination is a neighbour."""
    message = rtmsg()
    message["family"], message["dst_len"], message["table"] = socket.AF_INET, destination.prefixlen, _RT_TABLE_MAIN
    message["proto"], message["type"] = _RTPROT_STATIC, _RTN_UNICAST
    message["scope"] = _RT_SCOPE_LINK if gateway is None else _RT_SCOPE_UNIVERSE
    attributes: list[tuple[str, Any]] = [("RTA_OIF", link)]
    if destination.prefixlen:
        attributes.append(("RTA_DST", str(destination.network_address)))
    if gateway is not None:
        attributes.append(("RTA_GATEWAY", str(gateway)))
    message["attrs"] = attributes
    return Request(what=f"add route to {destination}", message=_encode(message, RTM_NEWROUTE, _PUT))


def add_neighbour(link: int, address: IPv4Address, mac: str) -> Request:
    """A permanent neighbour: no ARP is asked for it, and none is believed about it."""
    message = _neighbour(link, address)
    message["state"] = _NUD_PERMANENT
    message["attrs"] = [("NDA_DST", str(address)), ("NDA_LLADDR", mac)]
    return Request(what=f"add neighbour {address}", message=_encode(message, RTM_NEWNEIGH, _PUT))


def delete_neighbour(link: int, address: IPv4Address) -> Request:
    """Undoes ``add_neighbour``."""
    message = _neighbour(link, address)
    message["attrs"] = [("NDA_DST", str(address))]
    gone = frozenset({errno.ENOENT, errno.ENODEV})
    return Request(what=f"delete neighbour {address}", message=_encode(message, RTM_DELNEIGH, 0), fine=gone)


def _neighbour(link: int, address: IPv4Address) -> Any:
    message = ndmsg()
    message["family"], message["ifindex"] = socket.AF_INET, link
    return message


def add_forwarding_entry(port: int, mac: str) -> Request:
    """The bridge sends frames for ``mac`` to this port, whatever other ports claim. The entry goes with the port."""
    message = ndmsg()
    message["family"], message["ifindex"] = _AF_BRIDGE, port
    message["state"], message["flags"] = _NUD_STATIC, _NTF_MASTER
    message["attrs"] = [("NDA_LLADDR", mac)]
    return Request(what=f"add forwarding entry {mac}", message=_encode(message, RTM_NEWNEIGH, _PUT))
