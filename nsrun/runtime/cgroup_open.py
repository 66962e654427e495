"""Choosing the hierarchies, once at start: which are used for what, and what the machine refuses."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from nsrun.errors import HostError, describe_errno
from nsrun.host.cgroups import CgroupMode, Hierarchy, Unified
from nsrun.host.facts import HostFacts
from nsrun.runtime.cgroup_none import NoCgroups
from nsrun.runtime.cgroup_tree import CgroupTree
from nsrun.runtime.cgroup_v1 import V1Tree
from nsrun.runtime.cgroup_v2 import V2Tree, hand_on
from nsrun.runtime.cgroups import Cgroups
from nsrun.runtime.devices import DEFAULT_DEVICES, device_program
from nsrun.runtime.resources import ALL_CONTROLLERS, CONTROLLERS
from nsrun.support import native
from nsrun.support.fds import Fd

__all__ = ["choose_hierarchies", "open_cgroups", "open_trees"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW

# A plain name, or a unit's of systemd's: user@1000.service, nsrun\\x2d1.scope.
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:\\-]{0,254}")


def open_cgroups(facts: HostFacts, root: str, *, pids_limit: int = 0) -> Cgroups:
    """Makes ``root`` in every hierarchy that is used, and learns what pods are there. Where this machine lets us make
    no cgroup at all, pods run without. ``pids_limit``: how many processes a pod may have, 0 for any number. Raises
    HostError for a root that is no path of plain names."""
    if not root or any(not _PART.fullmatch(part) for part in root.split("/")):
        raise HostError(f'cannot use cgroup "{root}": a relative path of plain names is needed')
    trees, warnings = open_trees(facts, root)
    if not trees:
        return NoCgroups(root=root, warnings=(_without(warnings),), pids_limit=pids_limit)
    return Cgroups(root=root, trees=trees, warnings=warnings, pids_limit=pids_limit)


def _without(warnings: Sequence[str]) -> str:
    """One sentence for all: each hierarchy that refuses has much the same to say."""
    cause = warnings[0] if warnings else "no hierarchy is mounted"
    return f"pods run without cgroups, and their limits are not enforced: {cause} (nsrun doctor tells the remedy)"


def open_trees(facts: HostFacts, root: str) -> tuple[list[V1Tree | V2Tree], tuple[str, ...]]:
    """Our top cgroup in every hierarchy that is used, the v2 one first, and a warning for each that refuses."""
    trees: list[V1Tree | V2Tree] = []
    warnings: list[str] = []
    unified = facts.cgroups.unified
    if unified is not None and unified.writable:
        trees += _open_v2(unified, root, warnings, guarded=facts.users is None)
    for hierarchy in choose_hierarchies(facts, tracked=bool(trees)):
        trees += _open_v1(hierarchy, root, warnings)
    offered = {name for tree in trees for name in tree.controllers}
    told = " ".join(warnings)
    warnings += [_missing(facts, name) for name in CONTROLLERS if name not in offered and f'"{name}"' not in told]
    return trees, tuple(warnings)


def choose_hierarchies(facts: HostFacts, *, tracked: bool) -> tuple[Hierarchy, ...]:
    """The v1 hierarchies a pod is put into: those that limit what pods ask for and count what they use; the freezer and
    devices, unless v2 keeps track of processes and has a program for devices (``tracked``); systemd's own where systemd
    runs, or else stopping our service would take the pods along."""
    useful = ALL_CONTROLLERS if tracked else {*ALL_CONTROLLERS, "devices", "freezer"}
    return tuple(
        hierarchy
        for hierarchy in facts.cgroups.hierarchies
        if useful & set(hierarchy.controllers) or (hierarchy.name == "systemd" and facts.systemd)
    )


def _open_v1(hierarchy: Hierarchy, root: str, warnings: list[str]) -> list[V1Tree]:
    top = _make_root(hierarchy.directory, root, hierarchy.controllers or (hierarchy.name,), warnings)
    if top is None:
        return []
    options = hierarchy.controllers or ("none",)
    if hierarchy.name:
        options = (*options, f"name={hierarchy.name}")
    return [
        V1Tree(
            directory=hierarchy.directory,
            name=root,
            controllers=frozenset(hierarchy.controllers),
            root=top,
            mount_options=options,
        )
    ]


def _open_v2(unified: Unified, root: str, warnings: list[str], *, guarded: bool) -> list[V2Tree]:
    """The v2 tree, with the controllers that every level down to our top cgroup hands on. ``guarded``: with a program
    for devices. It takes the host's CAP_BPF; in a user namespace no device of the host's can be made or opened
    anyway."""
    wanted = sorted(unified.controllers & ALL_CONTROLLERS)
    top = _make_root(unified.directory, root, wanted, warnings)
    if top is None:
        return []
    if guarded:
        try:
            native.attach_device_program(top.fileno(), device_program(DEFAULT_DEVICES))
        except OSError as error:
            warnings.append(_unguarded(error))
    with Fd.open(unified.directory, _DIRECTORY) as directory:
        parts = root.split("/")
        for depth in range(len(parts) + 1):
            path = "/".join(parts[:depth]) or "."
            with Fd.open(path, _DIRECTORY, dir_fd=directory.fileno()) as level:
                wanted = _hand_on(level, wanted, f"{unified.directory}/{path}".removesuffix("/."), warnings)
    controllers = frozenset(wanted)
    return [V2Tree(directory=unified.directory, name=root, controllers=controllers, root=top, guarded=guarded)]


def _unguarded(error: OSError) -> str:
    return f"cannot keep containers from the host's devices: {describe_errno(error.errno or 0)}"


def _hand_on(level: Fd, wanted: Sequence[str], path: str, warnings: list[str]) -> list[str]:
    if not wanted:
        return []
    refused, enabled = hand_on(level, wanted)
    warnings += [
        f'cannot use the "{name}" controller: "{path}" does not hand it on: {why}'
        for name, why in refused.items()
        if name in CONTROLLERS
    ]
    return list(enabled)


def _make_root(directory: str, root: str, controllers: Sequence[str], warnings: list[str]) -> Fd | None:
    try:
        return CgroupTree.make_root(directory, root)
    except OSError as error:
        names = ", ".join(f'"{name}"' for name in controllers) or "the v2 hierarchy"
        warnings.append(f'cannot use {names}: creating "{root}" in "{directory}": {describe_errno(error.errno or 0)}')
        return None


def _missing(facts: HostFacts, name: str) -> str:
    if name in facts.cgroups.disabled:
        return f'cannot use the "{name}" controller: it was switched off when the kernel was started'
    where = "is not mounted" if facts.cgroups.mode is not CgroupMode.V2 else "is not offered here"
    return f'cannot use the "{name}" controller: it {where}'
