"""What went through every interface of a network namespace: one request, one dump (rtnetlink(7), RTM_GETSTATS).

A link's whole description would come to two kilobytes, an eighth of them counters; this message has nothing else. A
pod's figures are read at the host's end of its link, so nobody has to enter its namespace: what the host sent there,
the pod received.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace

from nsrun.model.figures import InterfaceFigures

__all__ = ["link_counters", "of_pod", "parse_counters"]

_RTM_NEWSTATS, _RTM_GETSTATS = 92, 94
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_IFLA_STATS_LINK_64 = 1
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_STATS = struct.Struct("=BBHII")  # struct if_stats_msg: family, padding, index, filter
_ATTRIBUTE = struct.Struct("=HH")
_ERROR = struct.Struct("=i")
# The start of struct rtnl_link_stats64: packets, bytes, errors, dropped; of each received, then sent.
_COUNTERS = struct.Struct("=8Q")
_ALIGN = 3


def link_counters() -> Mapping[str, InterfaceFigures]:
    """Of every interface of the calling thread's network namespace, by name. Blocks. Raises OSError."""
    request = _HEADER.pack(_HEADER.size + _STATS.size, _RTM_GETSTATS, _NLM_F_REQUEST | _NLM_F_DUMP, 1, 0)
    filter_mask = 1 << (_IFLA_STATS_LINK_64 - 1)
    names = dict(socket.if_nameindex())
    found: dict[str, InterfaceFigures] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as channel:
        channel.send(request + _STATS.pack(0, 0, 0, 0, filter_mask))
        while True:
            counters, done = parse_counters(channel.recv(1 << 18))
            found |= {names[index]: replace(seen, name=names[index]) for index, seen in counters if index in names}
            if done:
                return found


def parse_counters(data: bytes) -> tuple[list[tuple[int, InterfaceFigures]], bool]:
    """One datagram of the dump: interfaces' indices and counters, still without names, and whether it was the last.
    Raises OSError with the kernel's refusal."""
    found: list[tuple[int, InterfaceFigures]] = []
    for kind, payload in _messages(data):
        if kind == _NLMSG_DONE:
            return found, True
        if kind == _NLMSG_ERROR:
            raise OSError(-_ERROR.unpack_from(payload)[0], "cannot read the counters of the network interfaces")
        if kind == _RTM_NEWSTATS:
            found.extend(_counters(payload))
    return found, False


def of_pod(link: InterfaceFigures, name: str) -> InterfaceFigures:
    """The other end of a link, called ``name`` there."""
    return InterfaceFigures(
        name=name,
        received_bytes=link.sent_bytes,
        received_packets=link.sent_packets,
        received_errors=link.sent_errors,
        received_dropped=link.sent_dropped,
        sent_bytes=link.received_bytes,
        sent_packets=link.received_packets,
        sent_errors=link.received_errors,
        sent_dropped=link.received_dropped,
    )


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, offset)
        yield kind, data[offset + _HEADER.size : offset + length]
        offset += max((length + _ALIGN) & ~_ALIGN, _HEADER.size)


def _counters(payload: bytes) -> Iterator[tuple[int, InterfaceFigures]]:
    if len(payload) < _STATS.size:
        return
    index = _STATS.unpack_from(payload)[3]
    offset = _STATS.size
    while offset + _ATTRIBUTE.size <= len(payload):
        length, kind = _ATTRIBUTE.unpack_from(payload, offset)
        content = payload[offset + _ATTRIBUTE.size : offset + length]
        if kind == _IFLA_STATS_LINK_64 and len(content) >= _COUNTERS.size:
            yield index, _figures(*_COUNTERS.unpack_from(content))
        offset += max((length + _ALIGN) & ~_ALIGN, _ATTRIBUTE.size)


def _figures(*counted: int) -> InterfaceFigures:
    in_packets, out_packets, in_bytes, out_bytes, in_errors, out_errors, in_dropped, out_dropped = counted
    return InterfaceFigures(
        name="",
        received_bytes=in_bytes,
        received_packets=in_packets,
        received_errors=in_errors,
        received_dropped=in_dropped,
        sent_bytes=out_bytes,
        sent_packets=out_packets,
        sent_errors=out_errors,
        sent_dropped=out_dropped,
    )
