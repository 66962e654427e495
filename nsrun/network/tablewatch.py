"""Who else changes the packet filter: the kernel's own notifications about deleted tables.

``systemctl restart nftables``, for one, starts with ``flush ruleset`` and takes every table with it, ours too.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator

__all__ = ["TABLE_WATCH", "deletes_table", "table_deletions"]

_NETLINK_NETFILTER = 12
TABLE_WATCH = (socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _NETLINK_NETFILTER)
"""The kind of socket that is told: family, type, protocol."""

_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP = 270, 1
_NFNLGRP_NFTABLES = 7
_NFT_MSG_DELTABLE = 10 << 8 | 2  # NFNL_SUBSYS_NFTABLES, and the message
_HEADER = struct.Struct("=IHHII")


def deletes_table(data: bytes) -> bool:
    """Whether one of the netlink messages says that a table was deleted."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, offset)
        if kind == _NFT_MSG_DELTABLE:
            return True
        offset += max((length + 3) & ~3, _HEADER.size)
    return False


async def table_deletions(watch: socket.socket) -> AsyncIterator[None]:
    """Yields whenever a table of the namespace of ``watch``, a TABLE_WATCH, may have been deleted: once at first, and
    also when messages were lost."""
    loop = asyncio.get_running_loop()
    watch.bind((0, 0))  # a socket without an address of its own hears nothing
    watch.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _NFNLGRP_NFTABLES)
    yield
    while True:
        try:
            lost = False
            data = await loop.sock_recv(watch, 1 << 16)
        except OSError:  # ENOBUFS: the kernel had more to say than fitted
            lost = True
        if lost or deletes_table(data):
            yield
