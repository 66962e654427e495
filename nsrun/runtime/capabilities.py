"""The kernel's capabilities by name, and what a container gets of them.

Default set: podman's eleven. A kubelet over containerd grants three more, which we withhold: MKNOD, because devices are
kept out by a root file system that is mounted nodev and by nobody being able to make a node elsewhere; NET_RAW, because
it forges ARP and router advertisements on the bridge all pods share (ping works without it, see the sandbox's
ping_group_range); AUDIT_WRITE, because it writes to the host's audit log. A manifest can add each of them.

Inheritable and ambient sets stay empty: a non-empty one hands file capabilities to processes that never had them.
"""

from __future__ import annotations

from collections.abc import Iterable

from nsrun.errors import RuntimeFailure
from nsrun.host.facts import CAPABILITIES

__all__ = ["DEFAULT_CAPABILITIES", "capability_mask", "granted"]

_DEFAULT = "CHOWN DAC_OVERRIDE FOWNER FSETID KILL NET_BIND_SERVICE SETFCAP SETGID SETPCAP SETUID SYS_CHROOT"

DEFAULT_CAPABILITIES = frozenset(f"CAP_{name}" for name in _DEFAULT.split())

_BITS = {name: 1 << number for number, name in enumerate(CAPABILITIES)}


def granted(add: Iterable[str], drop: Iterable[str]) -> tuple[str, ...]:
    """The set of a container, in the kernel's order: the default, or all with ``add: [ALL]``, or none with
    ``drop: [ALL]``; then single names are added, then dropped (the rule of the CRI). Raises RuntimeFailure."""
    added, dropped = _names(add), _names(drop)
    have = set(DEFAULT_CAPABILITIES)
    if "CAP_ALL" in added:
        have = set(CAPABILITIES)
    if "CAP_ALL" in dropped:
        have = set()
    have |= added - {"CAP_ALL"}
    have -= dropped
    return tuple(name for name in CAPABILITIES if name in have)


def capability_mask(names: Iterable[str]) -> int:
    """Bit n is capability n. Raises KeyError for a name the kernel does not have."""
    mask = 0
    for name in names:
        mask |= _BITS[name]
    return mask


def _names(given: Iterable[str]) -> set[str]:
    names = {name.upper() if name.upper().startswith("CAP_") else f"CAP_{name.upper()}" for name in given}
    for name in sorted(names - {"CAP_ALL"}):
        if name not in _BITS:
            raise RuntimeFailure(
                f'there is no capability "{name.removeprefix("CAP_")}"',
                reason="CreateContainerConfigError",
                hint="capabilities(7) lists them; manifests leave out the CAP_ in front",
            )
    return names
