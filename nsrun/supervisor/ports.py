"""What the supervisor asks of the mechanisms. The real parts and the fakes of the tests pass the same contract tests.

Rules for every method: it may be called again (what exists already is kept), it never blocks the event loop, it raises
the subclass of NsrunError named here, and it can be cancelled without leaving half of anything that a later call could
not finish or remove.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Protocol

from nsrun.model.container import PullPolicy
from nsrun.model.credentials import Credentials
from nsrun.model.figures import ContainerDisk, Figures, Filesystem, NetworkFigures
from nsrun.model.image import Image
from nsrun.model.objects import Objects
from nsrun.model.pod import Pod
from nsrun.model.probe import HttpGet, NetworkCheck
from nsrun.model.retention import ImageRetention, Reclaimed
from nsrun.model.running import (
    AdoptedContainer,
    AdoptedPod,
    Attachment,
    CheckResult,
    Command,
    CommandResult,
    ContainerExit,
    ContainerId,
    ContainerRequest,
    Exit,
    ExitReason,
    PreparedVolume,
    RunningContainer,
    SandboxExit,
    SandboxInfo,
)
from nsrun.model.session import SessionRequest, TerminalSize
from nsrun.model.update import SourceUpdate
from nsrun.support.fds import Fd
from nsrun.support.layout import PodName

__all__ = [
    "AdoptedContainer",
    "AdoptedPod",
    "Attachment",
    "CheckResult",
    "Command",
    "CommandResult",
    "ContainerDisk",
    "ContainerExit",
    "ContainerId",
    "ContainerRequest",
    "Exit",
    "ExitReason",
    "Figures",
    "Filesystem",
    "ImageRetention",
    "Images",
    "Manifests",
    "Network",
    "NetworkFigures",
    "PreparedVolume",
    "Probes",
    "Reclaimed",
    "RunningContainer",
    "Runtime",
    "SandboxExit",
    "SandboxInfo",
    "Session",
    "SessionRequest",
    "SourceUpdate",
    "TerminalSize",
    "Volumes",
]


class Manifests(Protocol):
    """A source of desired pods."""

    def updates(self) -> AsyncIterator[SourceUpdate]:
        """The desired set now, then again at every change. Never ends by itself; survives every content."""
        ...


class Images(Protocol):
    """Images: references in, unpacked rootfs layers out."""

    async def ensure(
        self,
        reference: str,
        policy: PullPolicy,
        *,
        pulling: Callable[[], None] | None = None,
        credentials: Credentials | None = None,
    ) -> Image:
        """The image, pulled if the policy asks for it or it is absent. Concurrent calls for one image pull once.

        ``pulling`` is called, at most once, when this call asks a registry, or waits for another call that does.
        ``credentials`` are tried before this machine's own. An image that was pulled with somebody's is given to nobody
        else until its registry has let him in, too. Raises ImageError with the kubelet's reason.
        """
        ...

    async def reclaim(self, retention: ImageRetention, used: Collection[str]) -> Reclaimed:
        """Removes images that nothing runs from, when they are too old or the disk is too full, those first that were
        unused for longest. ``used``: digests of images that are wanted although nothing runs from them yet. An image's
        age is known from the first call on. Raises ImageError."""
        ...

    async def filesystem(self) -> Filesystem:
        """The file system of the images, with what they use of it. Raises ImageError."""
        ...


class Volumes(Protocol):
    """The volumes of pods."""

    async def prepare(
        self, pod: Pod, objects: Objects, images: Mapping[str, Image], attachment: Attachment | None
    ) -> Mapping[str, PreparedVolume]:
        """Every volume of the pod, by name. ``images``: of its image volumes, by the volume's name. ``attachment``:
        what ``status.podIP`` is, None while nobody knows. Raises VolumeError, also for an object that is missing."""
        ...

    async def refresh(self, pod: Pod, objects: Objects, attachment: Attachment | None) -> None:
        """Files made from ConfigMaps, Secrets and the pod's own fields are what those say now; nothing else changes.
        An object that is missing now leaves its files as they are. Raises VolumeError."""
        ...

    async def usage(self, pod: Pod) -> Mapping[str, int]:
        """Bytes on disk of each emptyDir that is not in memory, by volume name. Raises VolumeError."""
        ...

    async def delete_claims(self, claims: Collection[tuple[str, str]]) -> None:
        """Deletes the directories of these persistent volume claims (namespace, name), but not what a pod still has.
        Raises VolumeError."""
        ...

    async def clear(self, uid: str) -> None:
        """Unmounts and deletes what ``prepare`` made for a pod of which nothing runs any more; the pod's directory
        stays, and so do claims and what a hostPath names. Raises VolumeError."""
        ...

    async def remove(self, uid: str) -> None:
        """Unmounts and deletes what ``prepare`` made for a pod, and the pod's directory; hostPath content stays.
        Raises VolumeError."""
        ...

    async def owners(self) -> frozenset[str]:
        """UIDs of pods that own something here now, found on the machine."""
        ...


class Network(Protocol):
    """The pod network."""

    async def attach(self, pod: Pod) -> Attachment:
        """Namespace, veth, address, routes, host ports and hosts files for the pod. Raises NetworkError."""
        ...

    async def connect(self, name: PodName, port: int) -> socket.socket:
        """A TCP connection to a port of the pod's own loopback address, as a process in the pod would make it:
        127.0.0.1 first, then ::1. It does not block. Of a pod in the host's network: to the host's. Raises
        NetworkError."""
        ...

    async def detach(self, name: PodName, uid: str) -> None:
        """Removes all of it, also of a pod that was attached half or not at all. Raises NetworkError."""
        ...

    async def owners(self) -> frozenset[tuple[PodName, str]]:
        """Pods (name and UID) that own something here now, found on the machine."""
        ...

    async def figures(self, uids: Collection[str]) -> NetworkFigures:
        """What went through the machine's interfaces, and those of these pods, all in one look. Who is not attached is
        not in it. Raises NetworkError."""
        ...

    async def tear_down(self) -> None:
        """Removes the bridge and the tables: everything that belongs to no single pod."""
        ...


class Probes(Protocol):
    """Questions to a pod over its network, from the host."""

    async def check(self, action: NetworkCheck, address: str, timeout: float) -> CheckResult:
        """One probe; ports are numbers by now. ``address``: where to go when the action names no host. ``timeout`` in
        seconds. A failure is an answer; only NsrunError is raised, for what cannot be tried at all."""
        ...

    async def call(self, action: HttpGet, address: str, timeout: float | None) -> str | None:
        """A hook: any answer is a success. ``timeout`` in seconds, None for as long as it takes. Returns what went
        otherwise than was meant and still worked, in the kubelet's words. Raises NsrunError when there is no answer."""
        ...


class Session(Protocol):
    """A command in a container, or the container itself, with its streams at our end.

    The descriptors do not block, and belong to the session. With a terminal ``stdin`` and ``stdout`` are two
    descriptors of its master, which says EIO when nobody has the other end any more, and there is no ``stderr``; of an
    attached container ``stdout`` is a pipe with a copy of what it writes there."""

    @property
    def stdin(self) -> Fd | None:
        """To be written to; None when it was not asked for, or the container has none."""
        ...

    @property
    def stdout(self) -> Fd | None:
        """To be read from."""
        ...

    @property
    def stderr(self) -> Fd | None:
        """To be read from."""
        ...

    def close_stdin(self) -> None:
        """The other side reads its end. Of a terminal nothing is closed: its own end-of-file character is typed."""
        ...

    async def resize(self, size: TerminalSize) -> None:
        """The terminal has another size now; nothing happens without one."""
        ...

    async def signal(self, signal: int) -> None:
        """To the command's process; nothing happens when it has ended. Raises RuntimeFailure."""
        ...

    async def wait(self) -> int:
        """The exit code, 128 + signal for a killed process. Of an attached container: its own, or 0 when it is not
        known. What it wrote may still be in the pipes. Raises RuntimeFailure, also for who is attached and was cut off
        because the container wrote faster than was read."""
        ...

    async def close(self) -> None:
        """Closes the streams. A command that runs is killed with all it started; an attached container runs on."""
        ...


class Runtime(Protocol):
    """Sandboxes and containers."""

    async def adopt(self) -> Sequence[AdoptedPod]:
        """Called once, first: what runs on this machine already, with every exit that happened meanwhile. From then on
        ``exits`` tells about the adopted ones too."""
        ...

    async def start_sandbox(self, pod: Pod, attachment: Attachment, document: Mapping[str, object]) -> SandboxInfo:
        """Cgroup, run directory, pod.json (``document``), shim and pause process. Raises RuntimeFailure."""
        ...

    async def record(self, uid: str, document: Mapping[str, object]) -> None:
        """Another pod.json for a pod that has a run directory; without one nothing happens. Raises RuntimeFailure."""
        ...

    async def start_container(self, request: ContainerRequest) -> RunningContainer:
        """Rootfs, OCI config, launch plan, process; returns after the exec. Raises RuntimeFailure.

        A failed start leaves nothing behind, but its attempt number counts as used. Asked for again, a run that was
        started is not started twice: it is returned while it runs."""
        ...

    async def signal(self, id: ContainerId, signal: int) -> None:
        """Signals the container's first process; nothing happens when it has ended. Raises RuntimeFailure."""
        ...

    async def run(self, id: ContainerId, command: Command) -> CommandResult:
        """Runs a command in a container as its own process would run: same namespaces, cgroup, user, environment,
        capabilities and filter. What it started is killed with it at its timeout, and when this call is cancelled.
        Raises RuntimeFailure when it cannot be started: also when the container has ended."""
        ...

    async def open_session(self, id: ContainerId, request: SessionRequest) -> Session:
        """A command in a container, as ``run`` runs it, or the container's own process, with streams. The caller closes
        it. Raises RuntimeFailure when it cannot be started, or the container has ended."""
        ...

    async def usage(self, uid: str) -> Mapping[str, int]:
        """Bytes on disk of each container of the pod, by name: what it wrote into its root file system, and its logs.
        Raises RuntimeFailure."""
        ...

    async def disk(self, uid: str) -> Mapping[str, ContainerDisk]:
        """The same with its parts, and inodes: every file is looked at. Raises RuntimeFailure."""
        ...

    async def filesystem(self) -> Filesystem:
        """The file system that containers write to, with what everybody uses of it. Raises RuntimeFailure."""
        ...

    async def figures(self, *, brief: bool = False) -> Figures:
        """One look at the machine and at every pod that runs here, with its containers that run. ``brief``: of these
        only processor time and memory, at a third of the cost."""
        ...

    async def kill(self, id: ContainerId) -> None:
        """SIGKILL for everything in the container. The exit arrives through ``exits``. Raises RuntimeFailure."""
        ...

    def stop_signal(self, id: ContainerId) -> int:
        """The signal that asks this container to stop: the manifest's, the image's STOPSIGNAL, or SIGTERM."""
        ...

    async def remove_container(self, id: ContainerId) -> None:
        """Forgets an ended run and deletes its rootfs, records and cgroup; its log stays. Raises RuntimeFailure."""
        ...

    async def remove_sandbox(self, name: PodName | None, uid: str) -> None:
        """Kills whatever is left of the pod, and removes shim, cgroups, run directory and, with a name, its logs and
        the links to them. Without a name the logs stay, so that the attempts in a new sandbox are numbered on.

        Raises RuntimeFailure."""
        ...

    async def logged(self) -> frozenset[tuple[PodName, str]]:
        """Pods (name and UID) that have logs here, found on the machine. Others than nsrun may have written some."""
        ...

    async def next_attempt(self, pod: Pod, container: str) -> int:
        """One more than the highest attempt that left a trace (run directory or log), 0 when there is none."""
        ...

    def exits(self) -> AsyncIterator[ContainerExit | SandboxExit]:
        """Every end, once, also of those that ended before this was called. Never ends by itself."""
        ...
