"""What a container sees at /sys/fs/cgroup: its own cgroups and nothing above them, read-only. Data only; whoever builds
the mount namespace carries it out, after the cgroup namespace was made (mounting from the host's would show the host's
tree)."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

from nsrun.runtime.cgroup_v1 import V1Tree
from nsrun.runtime.cgroup_v2 import V2Tree

__all__ = ["CgroupMount", "CgroupView", "container_view", "marked_view"]

TOP = "/sys/fs/cgroup"


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupMount:
    """One mount: nosuid, nodev, noexec, relatime always; ``options`` are the file system's own (``cpu``, ``mode=755``).

    ``read_only``: the mount's attribute, from the start; never the file system's option, which the host would share.
    ``source``: what mountinfo calls it; its type where that is empty.
    """

    destination: str
    type: str
    options: tuple[str, ...] = ()
    read_only: bool = True
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupView:
    """``mounts`` in order, then ``links`` (path, target); then the mount at ``seal`` becomes read-only, unless
    empty."""

    mounts: tuple[CgroupMount, ...]
    links: tuple[tuple[str, str], ...] = ()
    seal: str = ""


def container_view(trees: Sequence[V1Tree | V2Tree]) -> CgroupView:
    """cgroup v2: one mount. v1 and hybrid: a small tmpfs, a mount for each hierarchy that is used, named as on the
    host, and links to those with several controllers (``cpu`` → ``cpu,cpuacct``)."""
    v1 = [tree for tree in trees if isinstance(tree, V1Tree)]
    unified = any(isinstance(tree, V2Tree) for tree in trees)
    if not v1:
        return CgroupView(mounts=(CgroupMount(destination=TOP, type="cgroup2"),))
    mounts = [CgroupMount(destination=TOP, type="tmpfs", options=("mode=755", "size=64k"), read_only=False)]
    links: list[tuple[str, str]] = []
    for tree in v1:
        name = posixpath.basename(tree.directory)
        mounts.append(CgroupMount(destination=f"{TOP}/{name}", type="cgroup", options=tree.mount_options))
        links += [(f"{TOP}/{controller}", name) for controller in sorted(tree.controllers) if controller != name]
    if unified:
        mounts.append(CgroupMount(destination=f"{TOP}/unified", type="cgroup2"))
    return CgroupView(mounts=tuple(mounts), links=tuple(links), seal=TOP)


def marked_view(mark: str) -> CgroupView:
    """Without cgroups: nothing, in a file system that is called as the container's cgroup would be."""
    empty = ("mode=555", "size=4k", "nr_inodes=1")
    return CgroupView(mounts=(CgroupMount(destination=TOP, type="tmpfs", options=empty, source=mark),))
