"""Connections the kernel remembers: UDP flows that must be forgotten when a host port changes its pod.

What the first packet of a flow was told (this pod, or none) holds as long as packets keep coming. A client that never
stops sending, say a syslog, would never find a pod that was started after it, or go on sending to one that is gone.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

__all__ = ["UdpFlow", "decode_flow", "forget_flows"]

_NETLINK_NETFILTER = 12
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_GENERIC = struct.Struct("=BBH")  # struct nfgenmsg: family, version, resource
_ATTRIBUTE = struct.Struct("=HH")
_GET, _DELETE = 1 << 8 | 1, 1 << 8 | 2  # NFNL_SUBSYS_CTNETLINK, and the message
_REQUEST, _DUMP, _ACK = 1, 0x300, 4
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_TUPLE_ORIG, _TUPLE_REPLY, _ZONE = 1, 2, 18
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_IP_SRC, _IP_DST = 1, 2
_PROTO_NUM, _PROTO_DST_PORT = 1, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class UdpFlow:
    """A UDP flow: where its packets are sent, and who answers them. ``key``: what names it to the kernel."""

    destination: IPv4Address
    port: int
    answered_by: IPv4Address
    key: bytes


def forget_flows(stale: Callable[[UdpFlow], bool]) -> None:
    """Deletes the IPv4 UDP flows that are ``stale``. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as netlink:
        for flow in [flow for flow in _dump(netlink) if stale(flow)]:
            netlink.send(_message(_DELETE, _REQUEST | _ACK, flow.key))
            netlink.recv(1 << 12)  # acknowledged, or gone already


def decode_flow(payload: bytes) -> UdpFlow | None:
    """Takes the attributes of one entry; None when it is no UDP flow."""
    top = dict(_attributes(payload))
    original, reply = top.get(_TUPLE_ORIG), top.get(_TUPLE_REPLY)
    if original is None or reply is None:
        return None
    tuple_, answer = dict(_attributes(original)), dict(_attributes(reply))
    protocol, addresses = dict(_attributes(tuple_[_TUPLE_PROTO])), dict(_attributes(tuple_[_TUPLE_IP]))
    if protocol[_PROTO_NUM] != bytes([socket.IPPROTO_UDP]) or _IP_DST not in addresses:
        return None
    kept = [(kind, value) for kind, value in _attributes(payload, flags=True) if kind & 0x3FFF in (_TUPLE_ORIG, _ZONE)]
    return UdpFlow(
        destination=IPv4Address(addresses[_IP_DST]),
        port=int.from_bytes(protocol[_PROTO_DST_PORT], "big"),
        answered_by=IPv4Address(dict(_attributes(answer[_TUPLE_IP]))[_IP_SRC]),
        key=b"".join(_attribute(kind, value) for kind, value in kept),
    )


def _dump(netlink: socket.socket) -> Iterator[UdpFlow]:
    netlink.send(_message(_GET, _REQUEST | _DUMP, b""))
    while True:
        data = netlink.recv(1 << 18)
        offset = 0
        while offset + _HEADER.size <= len(data):
            length, kind, *_ = _HEADER.unpack_from(data, offset)
            if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                return
            flow = decode_flow(data[offset + _HEADER.size + _GENERIC.size : offset + length])
            if flow is not None:
                yield flow
            offset += (length + 3) & ~3


def _message(kind: int, flags: int, attributes: bytes) -> bytes:
    body = _GENERIC.pack(socket.AF_INET, 0, 0) + attributes
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _attributes(data: bytes, *, flags: bool = False) -> Iterator[tuple[int, bytes]]:
    """Type (with its flag bits, if asked for) and value of each attribute."""
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        yield (kind if flags else kind & 0x3FFF), data[offset + _ATTRIBUTE.size : offset + length]
        offset += max((length + 3) & ~3, _ATTRIBUTE.size)
