"""Other people's packet filters: whether they let pods' packets through, and what can be done.

A packet must pass every filter of the forward hook; that ours accepts it is not enough. Docker, for one, sets the
policy of iptables' FORWARD chain to DROP. There we put two rules in front, as every container network does; an nftables
ruleset of the administrator's own is only reported.
"""

from __future__ import annotations

import json
import shutil
import subprocess

from nsrun.network.nft import Nftables, RulesError

__all__ = ["Forwarding", "dropping_chains", "drops_by_default"]


def drops_by_default(listing: str) -> bool:
    """Whether ``iptables -S FORWARD`` says that what no rule accepts is dropped."""
    return "-P FORWARD DROP" in (line.strip() for line in listing.splitlines())


def dropping_chains(listing: str) -> tuple[str, ...]:
    """Base chains of the forward hook that drop by default, as ``family table chain``, from ``list chains`` in JSON.

    Leaves out iptables' own chain, which nft shows too.
    """
    found = []
    for entry in json.loads(listing).get("nftables", []):
        chain = entry.get("chain", {})
        if chain.get("hook") != "forward" or chain.get("policy") != "drop" or chain.get("family") not in ("ip", "inet"):
            continue
        if (chain["family"], chain["table"], chain["name"]) != ("ip", "filter", "FORWARD"):
            found.append(f"{chain['family']} {chain['table']} {chain['name']}")
    return tuple(found)


class Forwarding:
    """Keeps other filters from dropping what pods send and get. Methods block on programs."""

    def __init__(self, *, nft: Nftables, bridge: str) -> None:
        self._nft = nft
        self._bridge = bridge

    def allow(self) -> tuple[str, ...]:
        """Makes way where we may; returns what stays in the way, one sentence each."""
        if drops_by_default(self._iptables("-S", "FORWARD")):
            for rule in self._rules():
                if not self._has(rule):
                    self._iptables("-I", "FORWARD", *rule)
        return tuple(
            f'the nftables chain "{chain}" drops forwarded packets by default: pods may not reach the outside '
            f"(add there: iifname {self._bridge} accept; oifname {self._bridge} accept)"
            for chain in self._dropping()
        )

    def withdraw(self) -> None:
        """Takes our rules out again."""
        for rule in self._rules():
            while self._has(rule):
                self._iptables("-D", "FORWARD", *rule)

    def _rules(self) -> tuple[tuple[str, ...], ...]:
        comment = ("-m", "comment", "--comment", "nsrun", "-j", "ACCEPT")
        return (("-i", self._bridge, *comment), ("-o", self._bridge, *comment))

    def _has(self, rule: tuple[str, ...]) -> bool:
        return f"-A FORWARD {' '.join(rule)}" in self._iptables("-S", "FORWARD").splitlines()

    def _iptables(self, *arguments: str) -> str:
        """What the program says; "" when there is none, or it cannot work here (then it filters nothing either)."""
        program = shutil.which("iptables")
        if program is None:
            return ""
        run = subprocess.run([program, "-w", *arguments], capture_output=True, text=True, check=False)
        return run.stdout if run.returncode == 0 else ""

    def _dropping(self) -> tuple[str, ...]:
        try:
            return dropping_chains(self._nft.query("list chains"))
        except (RulesError, ValueError):
            return ()
