"""Control groups of pods and containers, on whatever set-up the machine has.

    <root>/[burstable/|besteffort/]pod<uid>/<container>-<attempt>
                                             …/sandbox              the pod's own process

The kubelet's layout below a root of our own, made with mkdir(2) in the hierarchies themselves: the machine's service
manager keeps out of cgroups it did not make. On cgroup v2 there is one tree with everything. On v1 there is one for
each controller that is used, and a hybrid machine adds its v2 tree, which limits nothing but holds processes together:
there they are born and killed in one step.

No method moves a process: a write to ``cgroup.procs`` may cost 10 ms, a mkdir 30 µs. Every method blocks for as long as
the file system does, may be called from any thread, and again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import ClassVar

from nsrun.errors import RuntimeFailure
from nsrun.model.container import Container
from nsrun.model.figures import Usage
from nsrun.model.pod import Pod
from nsrun.model.resources import QosClass
from nsrun.model.running import ContainerId
from nsrun.model.totals import pod_request
from nsrun.runtime.cgroup_v1 import V1Tree
from nsrun.runtime.cgroup_v2 import V2Tree
from nsrun.runtime.cgroup_view import CgroupView, container_view
from nsrun.runtime.figures_texts import together
from nsrun.runtime.resources import QOS_DIRECTORY, Setting, cpu_shares, with_pod_limits
from nsrun.support.fds import Fd

__all__ = [
    "POD",
    "SANDBOX",
    "CgroupUsage",
    "Cgroups",
    "ContainerCgroup",
    "kill_deadline",
    "leaf_name",
    "outlived",
    "pod_name",
]

SANDBOX = "sandbox"

_UID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_CONTAINER = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
POD = "pod"

# How long killed processes may take to be gone: one that waits for a dead disk or NFS server takes for ever.
_KILL_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerCgroup:
    """Where a container's first process belongs; whoever got it closes it.

    ``into``: the directory that holds it together, where commands get cgroups of their own: v2's, for
    CLONE_INTO_CGROUP; without v2 the freezer's, whose ``cgroup.procs`` its pid must be written to last. None when there
    is neither. ``procs``: ``cgroup.procs`` files that its pid must be written to, of v1's other hierarchies. ``path``:
    relative to every hierarchy's root, for the OCI config's ``cgroupsPath``. ``warnings``: what was asked for and will
    not be enforced; with the sandbox's cgroup, those about the pod as a whole.
    """

    into: Fd | None
    procs: tuple[Fd, ...]
    path: str
    warnings: tuple[str, ...] = ()

    def close(self) -> None:
        for fd in (self.into, *self.procs):
            if fd is not None:
                fd.close()

    def __enter__(self) -> ContainerCgroup:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupUsage:
    """What a pod uses. ``path`` as ``ContainerCgroup.path``. ``whole``: with the sandbox and what runs beside the
    containers' own processes."""

    path: str
    whole: Usage
    containers: Mapping[ContainerId, Usage]


class Cgroups:
    """All cgroups of ours. ``warnings``: what this machine withholds from every pod. ``exist``: whether there are any.

    Invariant: ``_requests`` holds the cpu request (thousandths of a core) of each burstable pod that has a cgroup; the
    class's own share follows from their sum.
    """

    exist: ClassVar[bool] = True

    def __init__(
        self, *, root: str, trees: Sequence[V1Tree | V2Tree], warnings: tuple[str, ...] = (), pids_limit: int = 0
    ) -> None:
        self.warnings = warnings
        self._root = root
        self._trees = tuple(trees)
        self._pids_limit = pids_limit
        self._controllers = frozenset(name for tree in trees for name in tree.controllers)
        self._lock = Lock()
        self._requests = self._found_requests()
        self._class_shares: dict[str, int] = {}
        self._pod_warnings: dict[str, tuple[str, ...]] = {}
        for tree in self._trees:
            for directory in QOS_DIRECTORY.values():
                _make_class(tree, directory, again=True)

    # --- making

    def create_pod(self, pod: Pod) -> str:
        """The pod's cgroup with the limits of the whole pod; returns its path as ``ContainerCgroup.path``.
        Raises RuntimeFailure."""
        path = _pod_path(pod)
        warnings: list[str] = []
        for tree in self._trees:
            _make_class(tree, QOS_DIRECTORY[pod.qos_class])
            warnings += _fill(tree, path, tree.pod_settings(pod, self._pids_limit))
        if pod.qos_class is QosClass.BURSTABLE:
            self._weigh_class({pod.uid: pod_request(pod, "cpu")})
        with self._lock:
            self._pod_warnings[pod.uid] = tuple(dict.fromkeys(warnings))
        return f"{self._root}/{path}"

    def create_container(self, pod: Pod, id: ContainerId, container: Container | None) -> ContainerCgroup:
        """A container's cgroup with its limits; ``container`` None: the sandbox's own, without any. Makes the pod's
        when it is not there. Raises RuntimeFailure."""
        path = f"{_pod_path(pod)}/{SANDBOX if container is None else leaf_name(id)}"
        if not all(tree.exists(_pod_path(pod)) for tree in self._trees):
            self.create_pod(pod)
        limited = with_pod_limits(pod, container) if container is not None else None
        into: Fd | None = None
        procs: list[Fd] = []
        warnings = list(self._unmet(limited)) if limited is not None else list(self._of_pod(pod.uid))
        try:
            for tree in self._trees:
                settings = tree.container_settings(limited) if limited is not None else ()
                leaf, fresh = tree.make(path)
                warnings += tree.apply(leaf, settings, fresh=fresh)
                warnings += tree.guard(leaf, every_device=_has_every_device(container))
                if isinstance(tree, V2Tree) or (into is None and "freezer" in tree.controllers):
                    into = leaf
                else:
                    with leaf:
                        procs.append(tree.open_procs(leaf))
        except BaseException:
            ContainerCgroup(into=into, procs=tuple(procs), path=path).close()
            raise
        return ContainerCgroup(
            into=into, procs=tuple(procs), path=f"{self._root}/{path}", warnings=tuple(dict.fromkeys(warnings))
        )

    # --- looking

    def owners(self) -> frozenset[str]:
        """UIDs of the pods that have a cgroup anywhere."""
        return frozenset(
            name.removeprefix(POD)
            for tree in self._trees
            for directory in QOS_DIRECTORY.values()
            for name in tree.children(directory)
            if name.startswith(POD) and name != POD
        )

    def pids(self, uid: str) -> frozenset[int]:
        """Every process of the pod, the sandbox's too."""
        return frozenset(pid for tree, path in self._places(uid) for pid in tree.pids(path))

    def oom_killed(self, id: ContainerId) -> bool:
        """Whether the kernel killed anything in the container because memory ran out; ask before it is removed."""
        return any(tree.oom_kills(f"{path}/{leaf_name(id)}") > 0 for tree, path in self._places(id.uid))

    def usage(self, wanted: Mapping[str, Collection[ContainerId]], *, brief: bool = False) -> Mapping[str, CgroupUsage]:
        """One look at many pods, by UID, and the containers named with each. Who has no cgroup (any more) is left out.
        ``brief``: only processor time and memory, at a third of the cost."""
        found: dict[str, CgroupUsage] = {}
        places = self._all_places()
        for uid in wanted.keys() & places.keys():
            inside = {id: [(tree, f"{path}/{leaf_name(id)}") for tree, path in places[uid]] for id in wanted[uid]}
            found[uid] = CgroupUsage(
                path=f"{self._root}/{places[uid][0][1]}",
                whole=_usage(places[uid], brief=brief),
                containers={
                    id: _usage(at, brief=brief, leaf=True) for id, at in inside.items() if at[0][0].exists(at[0][1])
                },
            )
        return found

    def whole_usage(self) -> Usage:
        """Of all pods together."""
        return _usage([(tree, "") for tree in self._trees], brief=True)

    def container_mounts(self, path: str) -> CgroupView:
        """What a container is shown at /sys/fs/cgroup, as data. ``path``: as ``ContainerCgroup.path``."""
        return container_view(self._trees)

    # --- ending

    def kill_container(self, id: ContainerId) -> None:
        """SIGKILL for everything in the container; returns when nothing is left. Raises RuntimeFailure."""
        self._kill([(tree, f"{path}/{leaf_name(id)}") for tree, path in self._places(id.uid)], f'container "{id.name}"')

    def end_container(self, id: ContainerId) -> None:
        """Kills what outlived a container's first process, which it can where that was no PID 1. Mostly there is
        nothing, and nothing is done. Raises RuntimeFailure."""
        path = leaf_name(id)
        if any(tree.pids(f"{pod}/{path}") for tree, pod in self._places(id.uid)):
            self.kill_container(id)

    def kill_pod(self, uid: str) -> None:
        """SIGKILL for everything in the pod, the sandbox too; returns when nothing is left. Raises RuntimeFailure."""
        self._kill(list(self._places(uid)), f'pod "{uid}"')

    def remove_container(self, id: ContainerId) -> None:
        """Removes an ended container's cgroup. Raises RuntimeFailure when something still runs in it."""
        for tree, path in self._places(id.uid):
            tree.remove(f"{path}/{leaf_name(id)}")

    def remove_pod(self, uid: str) -> None:
        """Removes the pod's cgroup with all below it. Raises RuntimeFailure when something still runs in it."""
        for tree, path in list(self._places(uid)):
            tree.remove(path)
        with self._lock:
            self._pod_warnings.pop(uid, None)
        self._weigh_class({uid: None})

    def remove_root(self) -> None:
        """Removes everything that was made here, pods' cgroups too. Raises RuntimeFailure when something still runs."""
        for tree in self._trees:
            tree.remove_root()

    def close(self) -> None:
        """Closes what is open; cgroups and their processes stay."""
        for tree in self._trees:
            tree.close()

    # --- inside

    def _places(self, uid: str) -> Iterator[tuple[V1Tree | V2Tree, str]]:
        """Where the pod's cgroups are now, the v2 tree first: a pod's class may have changed since they were made."""
        name = pod_name(uid)
        for tree in self._trees:
            for directory in QOS_DIRECTORY.values():
                path = f"{directory}/{name}" if directory else name
                if tree.exists(path):
                    yield tree, path

    def _all_places(self) -> dict[str, list[tuple[V1Tree | V2Tree, str]]]:
        """The same of every pod, by UID: a listing of each class."""
        found: dict[str, list[tuple[V1Tree | V2Tree, str]]] = {}
        for tree in self._trees:
            for directory in QOS_DIRECTORY.values():
                for name in tree.children(directory):
                    if name.startswith(POD):
                        path = f"{directory}/{name}" if directory else name
                        found.setdefault(name.removeprefix(POD), []).append((tree, path))
        return found

    def _weigh_class(self, changed: dict[str, int | None]) -> None:
        """Gives the burstable class the share of its pods together (the kubelet does so once a minute)."""
        directory = QOS_DIRECTORY[QosClass.BURSTABLE]
        with self._lock:
            for uid, milli in changed.items():
                if milli is None:
                    self._requests.pop(uid, None)
                else:
                    self._requests[uid] = milli
            shares = cpu_shares(sum(self._requests.values()))
            if self._class_shares.get(directory) == shares:
                return
            self._class_shares[directory] = shares
            for tree in self._trees:
                cgroup = tree.open(directory)
                if cgroup is not None:
                    with cgroup:
                        list(tree.apply(cgroup, tree.qos_settings(shares), fresh=False))

    def _found_requests(self) -> dict[str, int]:
        """Requests of the burstable pods that are here already, from the shares they have."""
        directory = QOS_DIRECTORY[QosClass.BURSTABLE]
        found: dict[str, int] = {}
        for tree in self._trees:
            if "cpu" not in tree.controllers:
                continue
            for name in tree.children(directory):
                found[name.removeprefix(POD)] = -(-tree.shares(f"{directory}/{name}") * 1000 // 1024)
        return found

    def _unmet(self, container: Container) -> Iterator[str]:
        """Warnings for what the container asks of controllers that are not here."""
        for setting in self._trees[0].container_settings(container):
            if setting.asked and setting.controller not in self._controllers:
                yield f'cannot enforce {setting.asked}: this machine offers no "{setting.controller}" controller'

    def _of_pod(self, uid: str) -> tuple[str, ...]:
        with self._lock:
            told = self._pod_warnings.get(uid, ())
        if self._pids_limit > 0 and "pids" not in self._controllers:
            told += ('cannot enforce the limit of processes of the pod: this machine offers no "pids" controller',)
        return told

    def _kill(self, places: Sequence[tuple[V1Tree | V2Tree, str]], what: str) -> None:
        """v2 trees come first and end nearly everything at once; v1 trees then hold only what never got into a v2
        one."""
        deadline = kill_deadline()
        for tree, path in places:
            if not tree.kill(path, deadline):
                raise outlived(what, tree.pids(path))


def kill_deadline() -> float:
    """When (monotonic) what is killed from now on should be gone."""
    return time.monotonic() + _KILL_SECONDS


def outlived(what: str, pids: Collection[int]) -> RuntimeFailure:
    """``pids`` were killed, and are still there at the deadline."""
    return RuntimeFailure(
        f"cannot kill {what}: {len(pids)} of its processes outlived SIGKILL by {_KILL_SECONDS:.0f} s: "
        + ", ".join(str(pid) for pid in sorted(pids)[:8]),
        hint="they wait for a device or a network file system that does not answer",
    )


def _has_every_device(container: Container | None) -> bool:
    return container is not None and container.security_context.privileged


def _make_class(tree: V1Tree | V2Tree, directory: str, *, again: bool = False) -> None:
    """A QoS class's cgroup. ``again``: also set up one that is there already, in case its maker did not come that far.

    What it is refused is not told: its pods' own limits will be refused too, and they tell it.
    """
    if directory and (again or not tree.exists(directory)):
        _fill(tree, directory, tree.qos_settings(cpu_shares(0)) if not tree.exists(directory) else ())


def _fill(tree: V1Tree | V2Tree, path: str, settings: Iterable[Setting]) -> list[str]:
    """Makes an inner cgroup, applies settings, and on v2 hands the controllers on to what will be below it."""
    cgroup, fresh = tree.make(path)
    with cgroup:
        if isinstance(tree, V2Tree):
            tree.enable_children(cgroup)
        return list(tree.apply(cgroup, tuple(settings), fresh=fresh))


def _usage(places: Sequence[tuple[V1Tree | V2Tree, str]], *, brief: bool, leaf: bool = False) -> Usage:
    """Of one cgroup, in every hierarchy. Processes are in a ``leaf`` only."""
    tree, path = places[0]
    processes = tree.read(path, "cgroup.procs").count("\n") if leaf and not brief else None
    parts = [tree.reading(path, brief=brief) for tree, path in places]
    return together(parts, time=time.time(), monotonic=time.monotonic(), processes=processes)


def _pod_path(pod: Pod) -> str:
    name = pod_name(pod.uid)
    directory = QOS_DIRECTORY[pod.qos_class]
    return f"{directory}/{name}" if directory else name


def pod_name(uid: str) -> str:
    """Of a pod's cgroup, in its class's. Raises RuntimeFailure for a UID that is no plain name."""
    return POD + _checked(uid, _UID, "pod UID")


def leaf_name(id: ContainerId) -> str:
    """Of a container's cgroup, in its pod's. Raises RuntimeFailure for a name that is none."""
    return f"{_checked(id.name, _CONTAINER, 'container name')}-{id.attempt:d}"


def _checked(name: str, pattern: re.Pattern[str], what: str) -> str:
    if not pattern.fullmatch(name):
        raise RuntimeFailure(f'cannot use {what} "{name}": it is no plain name')
    return name
