"""The packet filter of this machine: our tables, as ``portmap`` describes them, kept as the leases say."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import IPv4Network

from nsrun.network.nft import Nftables, RulesError
from nsrun.network.portmap import (
    BRIDGE_TABLE,
    IP_TABLE,
    Member,
    add_commands,
    bridge_ruleset,
    delete_commands,
    ip_ruleset,
)

__all__ = ["PacketFilter"]


class PacketFilter:
    """Tables ``ip nsrun`` and ``bridge nsrun``. Methods block; they may be called from several threads at once."""

    def __init__(
        self, *, nft: Nftables, bridge: str, pods: IPv4Network, members: Callable[[], Sequence[Member]]
    ) -> None:
        """``members``: every pod that has a lease, asked for when the tables have to be made."""
        self._nft = nft
        self._bridge = bridge
        self._pods = pods
        self._members = members
        self._sources = True  # whether this kernel filters bridged frames, as far as we know
        self._lock = threading.Lock()  # a rebuild between a pod's lease and its elements must not lose the elements

    def rebuild(self) -> tuple[str, ...]:
        """Makes the tables anew, whatever became of them. Returns what this machine withholds, one sentence each.

        Raises RulesError.
        """
        with self._lock:
            return self._rebuild()

    def admit(self, member: Member) -> None:
        """Lets a pod in; tables that somebody flushed are made again. Raises RulesError."""
        with self._lock:
            commands = add_commands(member, sources=self._sources)
            try:
                if commands:
                    self._nft.run(commands)
            except RulesError:
                self._rebuild()

    def expel(self, member: Member) -> None:
        """Shuts a pod out; it need not be in. Flushed tables are made again. Raises RulesError."""
        with self._lock:
            commands = delete_commands(member, sources=self._sources)
            try:
                if commands:
                    self._nft.run(commands)
            except RulesError:
                self._rebuild(without=member)

    def missing(self) -> bool:
        """Whether one of our tables is gone: somebody flushed the whole ruleset."""
        with self._lock:
            return not self._present()

    def remove(self) -> None:
        """Deletes the tables; they need not be there. Raises RulesError."""
        with self._lock:
            self._nft.run(f"table {IP_TABLE} {{ }}\ndelete table {IP_TABLE}\n")
            with suppress(RulesError):  # a kernel that knows no such tables
                self._nft.run(f"table {BRIDGE_TABLE} {{ }}\ndelete table {BRIDGE_TABLE}\n")

    def _rebuild(self, *, without: Member | None = None) -> tuple[str, ...]:
        members = [member for member in self._members() if member != without]
        self._nft.run(ip_ruleset(bridge=self._bridge, pods=self._pods, members=members))
        try:
            self._nft.run(bridge_ruleset(members=members))
            self._sources = True
        except RulesError as error:
            self._sources = False
            cause = error.message.rpartition(": ")[2]
            return (f"source addresses of pods are not checked: this kernel cannot filter bridged frames ({cause})",)
        return ()

    def _present(self) -> bool:
        try:
            self._nft.query(f"list chain {IP_TABLE} raw")
            if self._sources:
                self._nft.query(f"list chain {BRIDGE_TABLE} forward")
        except RulesError:
            return False
        return True
