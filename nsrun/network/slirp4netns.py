"""The doorway to slirp4netns(1): a TCP/IP stack of its own in a process of the user's."""

from __future__ import annotations

from pathlib import Path

from nsrun.network.uplink import TAP, ConnectorProgram, Uplink

__all__ = ["SLIRP4NETNS"]

_CONFINING = ("--enable-sandbox", "--enable-seccomp")


def _arguments(options: frozenset[str], uplink: Uplink, netns: Path) -> tuple[str, ...]:
    confining = tuple(option for option in _CONFINING if option in options)
    link = (f"--mtu={uplink.mtu}", f"--cidr={uplink.network}", "--disable-host-loopback")
    return ("--configure", *link, *confining, "--netns-type=path", str(netns), TAP)


SLIRP4NETNS = ConnectorProgram(
    name="slirp4netns",
    package="slirp4netns",
    required=frozenset({"--cidr", "--configure", "--disable-host-loopback", "--mtu", "--netns-type"}),
    arguments=_arguments,
)
