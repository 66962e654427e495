"""How control groups are set up here: which hierarchies, where they are mounted, what they can limit.

``v2``: one hierarchy with every controller (systemd's default since 2019). ``v1``: one hierarchy per controller or pair
of them. ``hybrid``: v1 controllers, and beside them a v2 hierarchy that tracks processes but limits nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from nsrun.host.mountinfo import Mount

__all__ = ["CgroupMode", "CgroupSetup", "Hierarchy", "Share", "Unified", "describe_cgroups", "user_service"]

# The v1 controllers that the kernel may offer; the rest of a mount's options are no controllers.
_KNOWN = frozenset(
    {
        "blkio",
        "cpu",
        "cpuacct",
        "cpuset",
        "debug",
        "devices",
        "freezer",
        "hugetlb",
        "memory",
        "misc",
        "net_cls",
        "net_prio",
        "perf_event",
        "pids",
        "rdma",
    }
)

_NEEDED = ("cpu", "memory", "pids")


class CgroupMode(StrEnum):
    """Which set-up this machine has."""

    V2 = "v2"
    HYBRID = "hybrid"
    V1 = "v1"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hierarchy:
    """A v1 hierarchy: mounted at ``directory``, with ``controllers`` (none for a named one, such as systemd's)."""

    directory: str
    controllers: tuple[str, ...]
    name: str = ""
    writable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Unified:
    """The v2 hierarchy. ``controllers``: offered at ``directory``; ``subtree``: of these, handed on to its children."""

    directory: str
    writable: bool
    controllers: frozenset[str] = frozenset()
    subtree: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What systemd's user manager has of the v2 hierarchy, to hand over to its user. ``manager``: whether it runs;
    ``controllers``: those that it has."""

    manager: bool
    controllers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupSetup:
    """All of it. ``missing``: controllers that pods' resources need and this machine does not
    offer; ``disabled``: controllers that the kernel has, but that were switched off when it was started. ``share``: of
    somebody who may make no cgroup where the hierarchies begin, None for whoever may."""

    mode: CgroupMode
    hierarchies: tuple[Hierarchy, ...] = ()
    unified: Unified | None = None
    missing: tuple[str, ...] = _NEEDED
    disabled: frozenset[str] = frozenset()
    share: Share | None = None

    def directory(self, controller: str) -> str | None:
        """Where a controller can be used: its v1 hierarchy, or the v2 one."""
        for hierarchy in self.hierarchies:
            if controller in hierarchy.controllers:
                return hierarchy.directory
        if self.unified is not None and controller in self.unified.controllers:
            return self.unified.directory
        return None

    def tops(self) -> tuple[str, ...]:
        """Where the hierarchies begin that are mounted writable, and limit or hold something together."""
        places = [h.directory for h in self.hierarchies if h.controllers and h.writable]
        if self.unified is not None and self.unified.writable:
            places.append(self.unified.directory)
        return tuple(places)

    def with_unified(self, *, controllers: str, subtree: str) -> CgroupSetup:
        """The same with what the v2 hierarchy's cgroup.controllers and cgroup.subtree_control say."""
        if self.unified is None:
            return self
        unified = replace(self.unified, controllers=frozenset(controllers.split()), subtree=frozenset(subtree.split()))
        known = replace(self, unified=unified)
        return replace(known, missing=tuple(name for name in _NEEDED if known.directory(name) is None))


def describe_cgroups(mounts: Sequence[Mount], proc_cgroups: str = "") -> CgroupSetup:
    """Mounts and the text of ``/proc/cgroups`` → the set-up; what the v2 hierarchy offers is added by
    ``with_unified``."""
    hierarchies = tuple(_hierarchy(mount) for mount in _visible(mounts, "cgroup"))
    unified = next(
        (Unified(directory=mount.point, writable=mount.writable) for mount in _visible(mounts, "cgroup2")), None
    )
    with_controllers = any(hierarchy.controllers for hierarchy in hierarchies)
    if unified is None:
        mode = CgroupMode.V1 if with_controllers else CgroupMode.NONE
    else:
        mode = CgroupMode.HYBRID if with_controllers else CgroupMode.V2
    offered = {name for hierarchy in hierarchies for name in hierarchy.controllers}
    return CgroupSetup(
        mode=mode,
        hierarchies=hierarchies,
        unified=unified,
        missing=tuple(name for name in _NEEDED if name not in offered),
        disabled=_disabled(proc_cgroups),
    )


def user_service(own: str, uid: int) -> str:
    """The cgroup of the user manager's service, from the hierarchy's top. ``own``: ``/proc/self/cgroup``, which names
    it when this process is below; otherwise ``uid`` is whose manager it is."""
    found = re.search(r"^0::/(.*/user@[0-9]+\.service)(/|$)", own, re.MULTILINE)
    return found[1] if found else f"user.slice/user-{uid}.slice/user@{uid}.service"


def _visible(mounts: Sequence[Mount], kind: str) -> list[Mount]:
    """Mounts of one type, each hierarchy once: of several mounts of one, the shortest point is the original and the
    others are bind mounts of it."""
    seen: dict[frozenset[str], Mount] = {}
    for mount in mounts:
        if mount.type != kind:
            continue
        hierarchy = mount.super_options - {"rw", "ro"} if kind == "cgroup" else frozenset()
        known = seen.get(hierarchy)
        if known is None or len(mount.point) < len(known.point):
            seen[hierarchy] = mount
    return list(seen.values())


def _hierarchy(mount: Mount) -> Hierarchy:
    options = sorted(mount.super_options)
    return Hierarchy(
        directory=mount.point,
        controllers=tuple(option for option in options if option in _KNOWN),
        name=next((option.removeprefix("name=") for option in options if option.startswith("name=")), ""),
        writable=mount.writable,
    )


def _disabled(proc_cgroups: str) -> frozenset[str]:
    """Controllers that the kernel has, but that were switched off on its command line (``cgroup_disable=``)."""
    rows = [line.split() for line in proc_cgroups.splitlines() if line and not line.startswith("#")]
    return frozenset(row[0] for row in rows if len(row) == 4 and row[3] == "0")
