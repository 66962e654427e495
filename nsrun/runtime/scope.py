"""Where root of a container is the user who runs nsrun: what else is that user's, and in whose reach a pod is by asking
for a namespace of the host's.

In a child user namespace a container's root has the user's own id, by which the kernel tells who may signal whom
(kill(2)), whose a key is (keyrings(7)), and whose socket somebody connects to (SO_PEERCRED). A pod's own namespaces put
all that out of sight; what a pod shares with the host is closed by landlock(7), and keys by a system call filter.
"""

from __future__ import annotations

from collections.abc import Mapping

from nsrun.host.userns import UserNamespace
from nsrun.model.pod import Pod
from nsrun.runtime import operations as do
from nsrun.runtime.ociconfig import OciConfig

__all__ = ["NO_KEYS", "scope", "scope_annotations"]

_ANNOTATION = "io.nsrun.scope"
_SIGNALS, _SOCKETS = "signals,abstract-sockets", "abstract-sockets"

NO_KEYS: dict[str, object] = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["add_key", "keyctl", "request_key"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}],
}
"""For who is not filtered otherwise. ENOSYS: what a kernel without keys says, and programs know."""


def scope_annotations(pod: Pod, users: UserNamespace | None) -> Mapping[str, str]:
    """What a container's configuration says of it, for all that is started in the container. ``users``: the user
    namespace that nsrun is in."""
    if users is None:
        return {}
    if pod.spec.host_pid:
        return {_ANNOTATION: _SIGNALS}
    return {_ANNOTATION: _SOCKETS} if pod.spec.host_network else {}


def scope(config: OciConfig) -> list[do.Operation]:
    """What comes before a process of the container becomes who it is. Among the host's processes it must not be
    missing; a kernel before Linux 6.12 leaves abstract sockets in reach of who is in the host's network."""
    said = config["annotations"].get(_ANNOTATION)
    return [] if said is None else [do.Scope(signals=said == _SIGNALS, required=said == _SIGNALS)]
