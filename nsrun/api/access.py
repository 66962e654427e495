"""Who may call what: every route names its access; a request is admitted by where it came in and what it says."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address

__all__ = ["Access", "Caller", "Listener", "refusal"]


class Access(StrEnum):
    """READ: anybody who reaches a listener. CONTROL: only the owner of the machine, over nsrun's own socket."""

    READ = "read"
    CONTROL = "control"


class Listener(StrEnum):
    """Where a request came in."""

    READ_ONLY_PORT = "read-only port"
    SOCKET = "socket"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """What is known of a request's sender. ``uid``: from SO_PEERCRED, None on TCP."""

    listener: Listener
    host: str = ""
    origin: str | None = None
    uid: int | None = None


def refusal(caller: Caller, access: Access, *, owner: int, host_names: Collection[str]) -> str | None:
    """Why the caller may not, or None when it may.

    On TCP a browser is kept out: no Origin is allowed, and Host must be an address, ``localhost`` or this node's name,
    so that a name which an attacker points at 127.0.0.1 does not read the machine's pods (DNS rebinding).
    """
    if caller.listener is Listener.SOCKET:
        return None if caller.uid in (0, owner) else "the socket is for root and the owner of the daemon"
    if caller.origin is not None:
        return "requests from web pages are not allowed"
    if not _known_host(caller.host, host_names):
        return "the Host header names another machine"
    return None if access is Access.READ else "this needs nsrun's own socket"


def _known_host(host: str, names: Collection[str]) -> bool:
    bare = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if bare == "localhost" or bare in names:
        return True
    try:
        ip_address(bare)
    except ValueError:
        return False
    return True
