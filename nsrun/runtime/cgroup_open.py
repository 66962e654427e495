"""Choosing the hierarchies, once at start: which are used for what, and what the machine refuses."""

from __future__ import annotations

import os
from collections.abc import Sequence

from nsrun.errors import describe_errno
from nsrun.host.cgroups import CgroupMode, Hierarchy, Unified
from nsrun.host.facts import HostFacts
from nsrun.runtime.cgroup_tree import CgroupTree
from nsrun.runtime.cgroup_v1 import V1Tree
from nsrun.runtime.cgroup_v2 import V2Tree, hand_on
from nsrun.runtime.devices import DEFAULT_DEVICES, device_program
from nsrun.runtime.resources import ALL_CONTROLLERS, CONTROLLERS
from nsrun.support import native
from nsrun.support.fds import Fd

__all__ = ["choose_hierarchies", "open_trees"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def open_trees(facts: HostFacts, root: str) -> tuple[list[V1Tree | V2Tree], tuple[str, ...]]:
    """Our top cgroup in every hierarchy that is used, the v2 one first, and a warning for each that refuses."""
    trees: list[V1Tree | V2Tree] = []
    warnings: list[str] = []
    unified = facts.cgroups.unified
    if unified is not None and unified.writable:
        trees += _open_v2(unified, root, warnings)
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


def _open_v2(unified: Unified, root: str, warnings: list[str]) -> list[V2Tree]:
    """The v2 tree, with the controllers that every level down to our top cgroup hands on."""
    wanted = sorted(unified.controllers & ALL_CONTROLLERS)
    top = _make_root(unified.directory, root, wanted, warnings)
    if top is None:
        return []
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
    return [V2Tree(directory=unified.directory, name=root, controllers=frozenset(wanted), root=top)]


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
