"""A cgroup v1 hierarchy: one controller or a few, processes put in by writing ``cgroup.procs``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

from nsrun.errors import RuntimeFailure, describe_errno
from nsrun.model.container import Container
from nsrun.model.pod import Pod
from nsrun.runtime.cgroup_kill import kill_one_by_one, parse_flat
from nsrun.runtime.cgroup_tree import CgroupTree, read_file, write_file
from nsrun.runtime.devices import DEFAULT_DEVICES, v1_lines
from nsrun.runtime.figures_texts import Reading, read_v1
from nsrun.runtime.hugetlb import V1, container_pages, pod_pages
from nsrun.runtime.resources import Setting, container_v1, pod_v1, qos_v1
from nsrun.support.fds import Fd

__all__ = ["V1Tree"]


class V1Tree(CgroupTree):
    """``mount_options``: what mounts the very same hierarchy again (``cpu``, ``cpuacct``; ``none``,
    ``name=systemd``)."""

    def __init__(
        self, *, directory: str, name: str, controllers: frozenset[str], root: Fd, mount_options: tuple[str, ...]
    ) -> None:
        super().__init__(directory=directory, name=name, controllers=controllers, root=root)
        self.mount_options = mount_options

    def pod_settings(self, pod: Pod, pids_limit: int) -> tuple[Setting, ...]:
        return (*pod_v1(pod, pids_limit), *pod_pages(pod, self.page_sizes, V1))

    def container_settings(self, container: Container) -> tuple[Setting, ...]:
        return (*container_v1(container), *container_pages(container, self.page_sizes, V1))

    def qos_settings(self, shares: int) -> tuple[Setting, ...]:
        return qos_v1(shares)

    def guard(self, cgroup: Fd, *, every_device: bool) -> Iterator[str]:
        """Denies all but the default devices to whoever is not privileged. Nobody may be in the cgroup yet. Yields a
        warning when that is refused, or was denied further up already."""
        if "devices" not in self.controllers:
            return
        try:
            unlimited = read_file(cgroup, "devices.list").split() == ["a", "*:*", "rwm"]
            if every_device and not unlimited:
                yield "cannot let the container use the host's devices: a cgroup above it is denied them"
            if not every_device:
                if unlimited:
                    write_file(cgroup, "devices.deny", "a")
                for line in v1_lines(DEFAULT_DEVICES):
                    write_file(cgroup, "devices.allow", line)
        except OSError as error:
            yield f"cannot keep the container from the host's devices: {describe_errno(error.errno or 0)}"

    def open_procs(self, cgroup: Fd) -> Fd:
        """``cgroup.procs``, open for the one who will put a process in. Raises RuntimeFailure."""
        try:
            return Fd.open("cgroup.procs", os.O_WRONLY | os.O_NOFOLLOW, dir_fd=cgroup.fileno())
        except OSError as error:
            raise RuntimeFailure(
                f'cannot open cgroup.procs in "{self.directory}": {describe_errno(error.errno or 0)}'
            ) from error

    def shares(self, path: str) -> int:
        """The shares a cgroup has now; 0 when it cannot be told."""
        text = self.read(path, "cpu.shares") if "cpu" in self.controllers else ""
        return int(text or 0)

    def oom_kills(self, path: str) -> int:
        """How many processes of the cgroup the kernel killed because its memory ran out."""
        return parse_flat(self.read(path, "memory.oom_control")).get("oom_kill", 0)

    def reading(self, path: str, *, brief: bool = False) -> Reading:
        """What this hierarchy knows of a cgroup, with all below it; nothing of one that is not there. ``brief``:
        only processor time and memory."""
        return read_v1(partial(self.read, path), self.controllers, brief=brief)

    def kill(self, path: str, deadline: float) -> bool:
        """Kills everything in the cgroup and below; True once it is empty, False at ``deadline`` (monotonic)."""
        return kill_one_by_one(partial(self.pids, path), partial(self._freeze, path), deadline)

    def _freeze(self, path: str, frozen: bool) -> None:
        cgroup = self.open(path) if "freezer" in self.controllers else None
        if cgroup is None:
            return
        with cgroup:
            try:
                write_file(cgroup, "freezer.state", "FROZEN" if frozen else "THAWED")
            except OSError:
                return  # removed meanwhile, or frozen from above: then whoever did that has the say
