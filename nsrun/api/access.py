"""Who may call what: every route names its access; a request is admitted by where it came in and who sends it.

What is asked for decides, never the verb: a GET that becomes a command in a container is a command in a container."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address

from nsrun.api.responses import Response, text
from nsrun.api.users import User

__all__ = ["DEBUG_PATHS", "GRANTS", "Access", "Caller", "Listener", "refusal", "suspicion"]


class Access(StrEnum):
    """What a route gives to its caller.

    READ: pods, their states and figures. LOGS: what containers, and the machine, wrote. EXEC: commands in containers,
    and connections to them. CONFIG: how nsrun was started. CONTROL: only for the owner of the machine, over nsrun's own
    socket."""

    READ = "read"
    LOGS = "logs"
    EXEC = "exec"
    CONFIG = "config"
    CONTROL = "control"


class Listener(StrEnum):
    """Where a request came in."""

    READ_ONLY_PORT = "read-only port"
    SECURE_PORT = "secure port"
    SOCKET = "socket"


_READERS, _ALL = frozenset({Access.READ}), frozenset({Access.READ, Access.LOGS, Access.EXEC, Access.CONFIG})

GRANTS: Mapping[str, frozenset[Access]] = {
    "system:masters": _ALL,
    "system:monitoring": _READERS,
    "system:unauthenticated": _READERS,
}
"""Group → what its members may do on the secure port. Whoever is in none of them may do nothing."""

DEBUG_PATHS = (
    "/run/",
    "/exec/",
    "/attach/",
    "/portForward/",
    "/containerLogs/",
    "/debug/pprof/",
    "/logs/",
    "/configz",
    "/checkpoint/",
)
"""Where a kubelet's read-only port says that it has been told not to."""

_SUBRESOURCES = {
    "/stats": "stats",
    "/metrics": "metrics",
    "/logs": "log",
    "/checkpoint": "checkpoint",
    "/pods": "pods proxy",
    "/runningpods": "pods proxy",
    "/healthz": "healthz proxy",
    "/configz": "configz proxy",
}
_VERBS = {"POST": "create", "GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """What is known of a request's sender. ``origin``: the web page's that it says it is from, None when it says none.
    ``deliberate``: it has a header that no web page makes a browser send unasked. ``uid``: from SO_PEERCRED, None on
    TCP. ``user``: who was recognised on the secure port, None for nobody."""

    listener: Listener
    host: str = ""
    origin: str | None = None
    deliberate: bool = False
    uid: int | None = None
    user: User | None = None


def suspicion(caller: Caller, *, host_names: Collection[str]) -> Response | None:
    """Why the request is not listened to at all, or None.

    A browser is kept out: no Origin is allowed, and Host must be an address, ``localhost`` or this node's name, so that
    a name which an attacker points at 127.0.0.1 does not read the machine's pods (DNS rebinding). No name leads to the
    socket, where clients have to make one up (``curl --unix-socket PATH http://nsrun/pods``). On the secure port an
    Origin is no matter in a deliberate request: an API server passes on that of its client, and there are libraries
    which send one with every WebSocket.
    """
    deliberate = caller.listener is Listener.SECURE_PORT and caller.deliberate
    if caller.origin is not None and not deliberate:
        return _forbidden("requests from web pages are not allowed")
    if caller.listener is not Listener.SOCKET and not _known_host(caller.host, host_names):
        return _forbidden("the Host header names another machine")
    return None


def refusal(caller: Caller, access: Access | None, *, owner: int, method: str, path: str) -> Response | None:
    """Why the caller may not, or None when it may. ``access`` None: there is no such route. The words on the secure
    port are the kubelet's (``pkg/kubelet/server/server.go``, ``InstallAuthFilter``)."""
    if caller.listener is Listener.SOCKET:
        if caller.uid in (0, owner):
            return None
        return _forbidden("the socket is for root and the owner of the daemon")
    if caller.listener is Listener.READ_ONLY_PORT:
        if access in (None, Access.READ):
            return _disabled() if access is None and path.startswith(DEBUG_PATHS) else None
        return _forbidden("this needs nsrun's own socket") if access is Access.CONTROL else _disabled()
    if caller.user is None:
        return text("Unauthorized", status=401)
    granted = frozenset[Access]().union(*(GRANTS.get(group, ()) for group in caller.user.groups))
    if access in granted or (access is None and granted):
        return None
    subresources = next((words for prefix, words in _SUBRESOURCES.items() if path.startswith(prefix)), "proxy")
    return text(
        f"Forbidden (user={caller.user.name}, verb={_VERBS.get(method, '')}, resource=nodes, "
        f"subresource(s)=[{subresources}])\n",
        status=403,
    )


def _forbidden(why: str) -> Response:
    return text(f"Forbidden: {why}\n", status=403)


def _disabled() -> Response:
    return text("Debug endpoints are disabled.\n", status=405)


def _known_host(host: str, names: Collection[str]) -> bool:
    bare = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if bare == "localhost" or bare.lower() in names:
        return True
    try:
        ip_address(bare)
    except ValueError:
        return False
    return True
