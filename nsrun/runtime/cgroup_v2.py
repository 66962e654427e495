"""The cgroup v2 hierarchy: every controller in one tree, processes born in their cgroup (``CLONE_INTO_CGROUP``).

Rules of the kernel that shape this (Documentation/admin-guide/cgroup-v2.rst): a cgroup's files of a controller exist
only when its parent's ``cgroup.subtree_control`` names the controller; a cgroup that hands controllers on holds no
process itself. So every level above the containers hands on, and processes live in the leaves only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import partial

from nsrun.errors import describe_errno
from nsrun.model.container import Container
from nsrun.model.pod import Pod
from nsrun.runtime.cgroup_kill import kill_by_file, parse_flat
from nsrun.runtime.cgroup_tree import CgroupTree, read_file, write_file
from nsrun.runtime.devices import EVERY_DEVICE
from nsrun.runtime.figures_texts import Reading, read_v2
from nsrun.runtime.hugetlb import V2, container_pages, pod_pages
from nsrun.runtime.resources import Setting, container_v2, pod_v2, qos_v2, shares_of_weight
from nsrun.support import native
from nsrun.support.fds import Fd

__all__ = ["V2Tree", "hand_on"]


class V2Tree(CgroupTree):
    """On a hybrid host ``controllers`` is empty: the tree then only holds processes together. ``guarded``: a program on
    our top cgroup keeps containers from the host's devices."""

    def __init__(self, *, directory: str, name: str, controllers: frozenset[str], root: Fd, guarded: bool) -> None:
        super().__init__(directory=directory, name=name, controllers=controllers, root=root)
        self._guarded = guarded

    def pod_settings(self, pod: Pod, pids_limit: int) -> tuple[Setting, ...]:
        return (*pod_v2(pod, pids_limit), *pod_pages(pod, self.page_sizes, V2))

    def container_settings(self, container: Container) -> tuple[Setting, ...]:
        return (*container_v2(container), *container_pages(container, self.page_sizes, V2))

    def qos_settings(self, shares: int) -> tuple[Setting, ...]:
        return qos_v2(shares)

    def enable_children(self, cgroup: Fd) -> None:
        """Hands this tree's controllers on to the children of a cgroup. What is refused was refused higher up before,
        and is missed, and told, when a limit is to be written."""
        if self.controllers:
            hand_on(cgroup, self.controllers)

    def guard(self, cgroup: Fd, *, every_device: bool) -> Iterator[str]:
        """What holds for our top cgroup holds below it; for a privileged container another program takes its place.
        Yields a warning when that is refused."""
        if not (every_device and self._guarded):
            return
        try:
            native.attach_device_program(cgroup.fileno(), EVERY_DEVICE)
        except OSError as error:
            yield f"cannot let the container use the host's devices: {describe_errno(error.errno or 0)}"

    def shares(self, path: str) -> int:
        """The shares that stand for a cgroup's weight; 0 when it cannot be told."""
        text = self.read(path, "cpu.weight") if "cpu" in self.controllers else ""
        return shares_of_weight(int(text)) if text else 0

    def oom_kills(self, path: str) -> int:
        """How many processes of the cgroup the kernel killed because its memory, or the pod's, ran out."""
        return parse_flat(self.read(path, "memory.events")).get("oom_kill", 0)

    def reading(self, path: str, *, brief: bool = False) -> Reading:
        """What the tree knows of a cgroup, with all below it; nothing of one that is not there. ``brief``:
        only processor time and memory."""
        return read_v2(partial(self.read, path), self.controllers, brief=brief)

    def kill(self, path: str, deadline: float) -> bool:
        """Kills everything in the cgroup and below; True once it is empty, False at ``deadline`` (monotonic)."""
        cgroup = self.open(path)
        if cgroup is None:
            return True
        with cgroup:
            try:
                return kill_by_file(cgroup, deadline)
            except FileNotFoundError:
                return True  # removed meanwhile


def hand_on(cgroup: Fd, controllers: Collection[str]) -> tuple[dict[str, str], Sequence[str]]:
    """Enables controllers for a cgroup's children, all at once or, when that is refused, one by one. What its owner
    hands on already needs nobody's leave.

    Returns what was refused, with the cause in words, and what is enabled now.
    """
    refused: dict[str, str] = {}
    wanted = sorted(controllers)
    try:
        write_file(cgroup, "cgroup.subtree_control", " ".join(f"+{name}" for name in wanted))
        return refused, wanted
    except OSError:
        pass
    already = _handed_on(cgroup)
    for name in wanted:
        if name in already:
            continue
        try:
            write_file(cgroup, "cgroup.subtree_control", f"+{name}")
        except OSError as error:
            refused[name] = describe_errno(error.errno or 0)
    return refused, [name for name in wanted if name not in refused]


def _handed_on(cgroup: Fd) -> frozenset[str]:
    try:
        return frozenset(read_file(cgroup, "cgroup.subtree_control").split())
    except OSError:
        return frozenset()
