"""The packet filter of this machine: our tables, as ``portmap`` describes them, kept as the leases say."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import IPv4Network

from nsrun.network.nft import Nftables, RulesError
from nsrun.network.portmap import (
    Member,
    add_commands,
    bridge_ruleset,
    bridge_table,
    delete_commands,
    ip_ruleset,
    ip_table,
)

__all__ = ["PacketFilter"]


class PacketFilter:
    """The two tables of one bridge. Methods block; they may be called from several threads at once."""

    def __init__(
        self,
        *,
        nft: Nftables,
        bridge: str,
        pods: IPv4Network,
        members: Callable[[], Sequence[Member]],
        closed: IPv4Network | None = None,
    ) -> None:
        """``members``: every pod that has a lease, asked for when the tables have to be made. ``closed``: where outside
        no pod gets to."""
        self._nft = nft
        self._bridge = bridge
        self._pods = pods
        self._members = members
        self._closed = closed
        self._sources = True  # whether this kernel filters bridged frames, as far as we know
        self._wanted = False  # between ``rebuild`` and ``remove``
        self._lock = threading.Lock()  # a rebuild between a pod's lease and its elements must not lose the elements

    def rebuild(self) -> tuple[str, ...]:
        """Makes the tables anew, whatever became of them. Returns what this machine withholds, one sentence each.

        Raises RulesError.
        """
        with self._lock:
            self._wanted = True
            return self._rebuild()

    def repair(self) -> bool:
        """Makes tables again that somebody flushed; whether there was need. Not once they were removed: that was us.

        Raises RulesError.
        """
        with self._lock:
            if not self._wanted or self._present():
                return False
            self._rebuild()
            return True

    def admit(self, member: Member) -> None:
        """Lets a pod in; tables that somebody flushed are made again. Raises RulesError."""
        with self._lock:
            commands = add_commands(member, bridge=self._bridge, sources=self._sources)
            try:
                if commands:
                    self._nft.run(commands)
            except RulesError:
                self._rebuild()

    def expel(self, member: Member) -> None:
        """Shuts a pod out; it need not be in. Flushed tables are made again. Raises RulesError."""
        with self._lock:
            commands = delete_commands(member, bridge=self._bridge, sources=self._sources)
            try:
                if commands:
                    self._nft.run(commands)
            except RulesError:
                self._rebuild(without=member)

    def remove(self) -> None:
        """Deletes the tables; they need not be there. Raises RulesError."""
        with self._lock:
            self._wanted = False
            self._delete(ip_table(self._bridge))
            with suppress(RulesError):  # a kernel that knows no such tables
                self._delete(bridge_table(self._bridge))

    def _delete(self, table: str) -> None:
        """It is made before it is deleted, in one transaction: it need not be there."""
        self._nft.run(f"table {table} {{ }}\ndelete table {table}\n")

    def _rebuild(self, *, without: Member | None = None) -> tuple[str, ...]:
        members = [member for member in self._members() if member != without]
        self._nft.run(ip_ruleset(bridge=self._bridge, pods=self._pods, members=members, closed=self._closed))
        try:
            self._nft.run(bridge_ruleset(bridge=self._bridge, members=members))
            self._sources = True
        except RulesError as error:
            self._sources = False
            cause = error.message.rpartition(": ")[2]
            return (f"source addresses of pods are not checked: this kernel cannot filter bridged frames ({cause})",)
        return ()

    def _present(self) -> bool:
        try:
            self._nft.query(f"list chain {ip_table(self._bridge)} raw")
            if self._sources:
                self._nft.query(f"list chain {bridge_table(self._bridge)} forward")
        except RulesError:
            return False
        return True
