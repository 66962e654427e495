"""What brings pods' answers to nsrun-forward, whose connections to them have the addresses of clients elsewhere.

A pod answers to the client's address, and by rights the packet would leave for there. Policy routing takes it for one
of ours instead (Documentation/networking/tproxy.rst of the kernel): what comes from the bridge and belongs to a socket
with a foreign address is marked by the packet filter, a rule sends what is marked to a routing table of its own, and
there everything is local.
"""

from __future__ import annotations

import errno
import socket
import struct
import threading

from nsrun.network.netlink import Request, RouteSocket
from nsrun.network.nft import Nftables, RulesError
from nsrun.network.portmap import ip_table

__all__ = ["SourceRouting"]

_MARK = 0x6E730001
_TABLE = 28275
_PRIORITY = 100  # before the rule of the main table, 32766

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr; the sequence is stamped when it is sent
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr
_RULE = struct.Struct("=BBBBBBBBI")  # struct fib_rule_hdr: family, 2 lengths, tos, table, 2 reserved, action, flags
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg: family, 2 lengths, tos, table, protocol, scope, type, flags
_REQUEST, _ACK, _CREATE_ONLY, _REPLACE = 0x1, 0x4, 0x600, 0x500
_NEW_RULE, _DELETE_RULE, _NEW_ROUTE, _DELETE_ROUTE = 32, 33, 24, 25
_FRA_IIFNAME, _FRA_PRIORITY, _FRA_FWMARK, _FRA_TABLE = 3, 6, 10, 15
_FR_ACT_TO_TBL = 1
_RTA_OIF, _RTA_TABLE = 4, 15
_RTPROT_STATIC, _RT_SCOPE_HOST, _RTN_LOCAL = 4, 254, 2
_RT_TABLE_COMPAT = 252
_LOOPBACK = 1  # the index of lo, in every network namespace


class SourceRouting:
    """The way back, for the pods of one bridge. Methods block, and work on the namespace of the calling thread."""

    def __init__(self, *, nft: Nftables, bridge: str) -> None:
        self._nft = nft
        self._bridge = bridge
        self._table = f"{ip_table(bridge)}-sources"
        self._wanted = False  # between ``ensure`` and ``remove``
        self._lock = threading.Lock()

    def ensure(self) -> None:
        """Makes it, or completes it. Raises NetworkError: this kernel cannot, and clients' addresses cannot be kept."""
        with self._lock:
            with RouteSocket.open() as rtnetlink:
                rtnetlink.send([_add_route(), _add_rule(self._bridge)])
            self._nft.run(_ruleset(self._table, self._bridge))
            self._wanted = True

    def repair(self) -> bool:
        """Makes the table again that somebody flushed; whether there was need. Not once it was removed: that was us,
        nor when there never was one. Raises RulesError."""
        with self._lock:
            if not self._wanted or self._present():
                return False
            self._nft.run(_ruleset(self._table, self._bridge))
            return True

    def remove(self) -> None:
        """Undoes it; it need not be there. Raises NetworkError."""
        with self._lock:
            self._wanted = False
            self._nft.run(f"table {self._table} {{ }}\ndelete table {self._table}\n")
            with RouteSocket.open() as rtnetlink:
                rtnetlink.send([_delete_rule(self._bridge), _delete_route()])

    def _present(self) -> bool:
        try:
            self._nft.query(f"list chain {self._table} prerouting")
        except RulesError:
            return False
        return True


def _ruleset(table: str, bridge: str) -> str:
    """The table made anew in one transaction, whatever it held before."""
    return f"""
table {table} {{ }}
delete table {table}
table {table} {{
    chain prerouting {{
        type filter hook prerouting priority -150; policy accept;
        iifname "{bridge}" socket transparent 1 meta mark set {_MARK:#x}
    }}
}}
"""


def _add_rule(bridge: str) -> Request:
    fine = frozenset({errno.EEXIST})
    return Request(what="add a routing rule", message=_rule(bridge, _NEW_RULE, _CREATE_ONLY), fine=fine)


def _delete_rule(bridge: str) -> Request:
    fine = frozenset({errno.ENOENT, errno.EAFNOSUPPORT})
    return Request(what="delete a routing rule", message=_rule(bridge, _DELETE_RULE, 0), fine=fine)


def _rule(bridge: str, kind: int, flags: int) -> bytes:
    """By what comes from the bridge alone: what is sent with that mark from here goes its usual way."""
    head = _RULE.pack(socket.AF_INET, 0, 0, 0, _RT_TABLE_COMPAT, 0, 0, _FR_ACT_TO_TBL, 0)
    numbers = ((_FRA_PRIORITY, _PRIORITY), (_FRA_FWMARK, _MARK), (_FRA_TABLE, _TABLE))
    attributes = [(_FRA_IIFNAME, bridge.encode() + b"\0"), *((number, _number(value)) for number, value in numbers)]
    return _message(kind, flags, head, attributes)


def _add_route() -> Request:
    return Request(what="add a local route", message=_route(_NEW_ROUTE, _REPLACE))


def _delete_route() -> Request:
    return Request(what="delete a local route", message=_route(_DELETE_ROUTE, 0), fine=frozenset({errno.ESRCH}))


def _route(kind: int, flags: int) -> bytes:
    head = _ROUTE.pack(socket.AF_INET, 0, 0, 0, _RT_TABLE_COMPAT, _RTPROT_STATIC, _RT_SCOPE_HOST, _RTN_LOCAL, 0)
    return _message(kind, flags, head, [(_RTA_OIF, _number(_LOOPBACK)), (_RTA_TABLE, _number(_TABLE))])


def _number(value: int) -> bytes:
    return struct.pack("=I", value)


def _message(kind: int, flags: int, head: bytes, attributes: list[tuple[int, bytes]]) -> bytes:
    body = head + b"".join(
        _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), number) + value + b"\0" * (-len(value) % 4)
        for number, value in attributes
    )
    return _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | _ACK | flags, 0, 0) + body
