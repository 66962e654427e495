"""Which kernel parameters pods may set: those that belong to a namespace of the pod's own (pkg/kubelet/sysctl).

Without being asked, only those that cannot hurt anybody outside the pod; of the rest those that the operator allows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum

__all__ = ["SAFE", "SysctlNamespace", "allows", "dotted", "namespace_of", "pattern_problem"]

SAFE = (
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
)
"""safe_sysctls.go, of kernels from 5.10 on."""
LENGTH_MAX = 253
_SEGMENT = r"[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_PATTERN = re.compile(rf"({_SEGMENT}[./])*(\*|{_SEGMENT}\*?|[a-z0-9][-_a-z0-9]*\*)")


class SysctlNamespace(StrEnum):
    """The namespace that a parameter belongs to, as the kubelet's messages call it."""

    IPC = "ipc"
    NET = "net"


_PREFIXES = {
    "kernel.shm": SysctlNamespace.IPC,
    "kernel.msg": SysctlNamespace.IPC,
    "fs.mqueue.": SysctlNamespace.IPC,
    "net.": SysctlNamespace.NET,
}


def dotted(name: str) -> str:
    """``net/ipv4/conf/eth0.1/x`` → ``net.ipv4.conf.eth0/1.x``: the first separator decides (sysctl.d(5))."""
    first = re.search(r"[./]", name)
    return name.translate({ord("/"): ".", ord("."): "/"}) if first is not None and first[0] == "/" else name


def namespace_of(name: str) -> SysctlNamespace | None:
    """Of a dotted name, or of what a pattern has before its ``*``; None for what belongs to the whole machine."""
    if name == "kernel.sem":
        return SysctlNamespace.IPC
    return next((namespace for prefix, namespace in _PREFIXES.items() if name.startswith(prefix)), None)


def pattern_problem(pattern: str) -> str | None:
    """Why an operator cannot allow this; None: it can be. A pattern is a name, or the beginning of one and ``*``."""
    if len(pattern) > LENGTH_MAX or _PATTERN.fullmatch(pattern) is None:
        return f'"{pattern}" is no name of a sysctl, nor the beginning of one with "*" after it'
    if namespace_of(dotted(pattern).removesuffix("*")) is None:
        return f'"{pattern}" does not belong to a namespace: it would be set for the whole machine'
    return None


def allows(patterns: Sequence[str], name: str) -> bool:
    """Whether a dotted name is safe, or one of the patterns allows it."""
    if name in SAFE:
        return True
    for pattern in map(dotted, patterns):
        if name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern:
            return True
    return False
