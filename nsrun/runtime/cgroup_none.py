"""A machine that lets us make no cgroup: v1 as a user, v2 without delegation, nothing mounted. Pods run all the same.

What a cgroup holds together is found by the mark in its mount namespace (``cgroup_marks``); what it would count is read
process by process (``figures_processes``). What only a cgroup can do is told: no limit is enforced, each container says
which of its own; that memory ran out is not known, so such an end is an ``Error`` with code 137 like any kill.

A container with a process namespace of its own needs nothing of this to end: the kernel ends all in it with its first
process (pid_namespaces(7)).
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from threading import Lock
from typing import ClassVar

from nsrun.model.container import Container
from nsrun.model.figures import Usage
from nsrun.model.pod import Pod
from nsrun.model.running import ContainerId
from nsrun.runtime.cgroup_kill import kill_one_by_one, stop_one_by_one
from nsrun.runtime.cgroup_marks import Marks
from nsrun.runtime.cgroup_view import CgroupView, marked_view
from nsrun.runtime.cgroups import (
    POD,
    SANDBOX,
    Cgroups,
    CgroupUsage,
    ContainerCgroup,
    kill_deadline,
    leaf_name,
    outlived,
    pod_name,
)
from nsrun.runtime.figures_processes import ProcessUse, read_process, summed
from nsrun.runtime.hugetlb import V2, container_pages
from nsrun.runtime.resources import container_v2, pod_v2, with_pod_limits

__all__ = ["NoCgroups"]


class NoCgroups(Cgroups):
    """Keeps what ``Cgroups`` promises, without any.

    Invariant: ``_alone`` holds only runs whose process namespace is their own; of others found after a restart nobody
    knows, and they are looked for. ``_most`` is the most processor time that each container was seen to have used: a
    process that nobody waited for takes its own along, and counters must not fall.
    """

    exist: ClassVar[bool] = False

    def __init__(self, *, root: str, warnings: tuple[str, ...] = (), pids_limit: int = 0) -> None:
        super().__init__(root=root, trees=(), warnings=warnings, pids_limit=pids_limit)
        self._marks = Marks(root)
        self._alone: set[ContainerId] = set()
        self._most: dict[str, int] = {}
        self._seen = Lock()

    # --- making

    def create_pod(self, pod: Pod) -> str:
        """Makes nothing; the name that a cgroup would have."""
        return self._path(pod_name(pod.uid))

    def create_container(self, pod: Pod, id: ContainerId, container: Container | None) -> ContainerCgroup:
        """Makes nothing; the warnings say what will not be enforced."""
        if container is not None and not (pod.spec.share_process_namespace or pod.spec.host_pid):
            self._alone.add(id)
        unmet = self._unmet_of_pod(pod) if container is None else self._unmet(with_pod_limits(pod, container))
        told = tuple(f"cannot enforce {asked}: this machine lets nsrun make no cgroups" for asked in unmet)
        leaf = SANDBOX if container is None else leaf_name(id)
        path = self._path(f"{pod_name(pod.uid)}/{leaf}")
        return ContainerCgroup(into=None, procs=(), path=path, warnings=tuple(dict.fromkeys(told)))

    # --- looking

    def owners(self) -> frozenset[str]:
        """UIDs of the pods that have a marked process anywhere."""
        heads = {name.partition("/")[0] for name in self._marks.find()}
        return frozenset(head.removeprefix(POD) for head in heads if head.startswith(POD) and head != POD)

    def pids(self, uid: str) -> frozenset[int]:
        """Every process of the pod's containers."""
        return frozenset(self._marks.pids(f"{pod_name(uid)}/", below=True))

    def usage(self, wanted: Mapping[str, Collection[ContainerId]], *, brief: bool = False) -> Mapping[str, CgroupUsage]:
        """As of cgroups; the pause process, a few KiB, is left out. Pods without a process are."""
        names = {id: f"{pod_name(uid)}/{leaf_name(id)}" for uid, ids in wanted.items() for id in ids}
        uses = self._uses(frozenset(names.values()))
        found: dict[str, CgroupUsage] = {}
        for uid, ids in wanted.items():
            living = {id: uses[names[id]] for id in ids if names[id] in uses}
            if living:
                found[uid] = CgroupUsage(
                    path=self._path(pod_name(uid)),
                    whole=self._usage({names[id]: processes for id, processes in living.items()}, brief=brief),
                    containers={id: self._usage({names[id]: living[id]}, brief=brief) for id in living},
                )
        return found

    def whole_usage(self) -> Usage:
        """Of all pods together."""
        return self._usage(self._uses(None), brief=True)

    def container_mounts(self, path: str) -> CgroupView:
        """The mark."""
        return marked_view(path)

    # --- ending

    def kill_container(self, id: ContainerId) -> None:
        """SIGKILL for everything in the container; returns when nothing is left. Raises RuntimeFailure."""
        name = f"{pod_name(id.uid)}/{leaf_name(id)}"
        self._kill_marked(name, f'container "{id.name}"')

    def end_container(self, id: ContainerId) -> None:
        """Kills what outlived a container's first process. Raises RuntimeFailure."""
        if id not in self._alone:
            self.kill_container(id)

    def kill_pod(self, uid: str) -> None:
        """SIGKILL for everything in the pod's containers; returns when nothing is left. The pause process dies with its
        shim. Raises RuntimeFailure."""
        self._kill_marked(f"{pod_name(uid)}/", f'pod "{uid}"', below=True)

    def remove_container(self, id: ContainerId) -> None:
        """Forgets it."""
        self._alone.discard(id)
        with self._seen:
            self._most.pop(f"{pod_name(id.uid)}/{leaf_name(id)}", None)

    def remove_pod(self, uid: str) -> None:
        """Forgets it."""
        for id in [id for id in self._alone.copy() if id.uid == uid]:
            self.remove_container(id)
        with self._seen:
            for name in [name for name in self._most if name.startswith(f"{pod_name(uid)}/")]:
                del self._most[name]

    # --- inside

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _unmet(self, container: Container) -> Iterator[str]:
        settings = (*container_v2(container), *container_pages(container, (), V2))
        return (setting.asked for setting in settings if setting.asked)

    def _unmet_of_pod(self, pod: Pod) -> Iterator[str]:
        """What was said of the whole pod; its containers' own are told with them."""
        for setting in pod_v2(pod, self._pids_limit):
            if setting.asked and (setting.controller == "pids" or pod.spec.resources is not None):
                yield setting.asked

    def _kill_marked(self, name: str, what: str, *, below: bool = False) -> None:
        pids = partial(self._marks.pids, name, below=below)
        deadline = kill_deadline()
        if not pids() or kill_one_by_one(pids, partial(_stop, pids, deadline), deadline):
            return
        if left := pids():  # on a busy machine the time may be over when all is
            raise outlived(what, left)

    def _uses(self, names: Collection[str] | None) -> dict[str, list[ProcessUse]]:
        """By name; of all names for None."""
        marked = ((name, pids) for name, pids in self._marks.find().items() if names is None or name in names)
        return {name: [use for pid in pids if (use := read_process(pid)) is not None] for name, pids in marked}

    def _usage(self, uses: Mapping[str, Collection[ProcessUse]], *, brief: bool) -> Usage:
        processes = [use for of_name in uses.values() for use in of_name]
        used = summed(processes, time=time.time(), monotonic=time.monotonic(), brief=brief)
        assert used.cpu is not None
        most = sum(self._rising(name, sum(use.user + use.system for use in uses[name])) for name in uses)
        return replace(used, cpu=replace(used.cpu, usage=most))

    def _rising(self, name: str, now: int) -> int:
        with self._seen:
            self._most[name] = max(self._most.get(name, 0), now)
            return self._most[name]


def _stop(pids: partial[set[int]], deadline: float, frozen: bool) -> None:
    """In a freezer's place; what was killed needs no thaw."""
    if frozen:
        stop_one_by_one(pids, deadline)
