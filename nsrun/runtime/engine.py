"""The runtime: sandboxes and containers, as the supervisor's ``Runtime`` port asks for them.

Nothing here waits for the disk or the kernel: what blocks runs in a thread, one hop for each step. What it holds in
memory is only what lets it answer quickly; after a restart ``adopt`` finds all of it again in run directories, shims
and cgroups."""

from __future__ import annotations

import asyncio
import signal
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from nsrun.errors import RuntimeFailure, describe_errno, remedy_for_errno
from nsrun.host.facts import HostFacts
from nsrun.model.container import Container
from nsrun.model.figures import ContainerDisk, Figures, Filesystem
from nsrun.model.pod import Pod
from nsrun.model.running import (
    AdoptedPod,
    Attachment,
    Command,
    CommandResult,
    ContainerExit,
    ContainerId,
    ContainerRequest,
    RunningContainer,
    SandboxExit,
    SandboxInfo,
)
from nsrun.model.session import SessionRequest
from nsrun.runtime.adoption import Adoption, Found
from nsrun.runtime.cgroups import Cgroups
from nsrun.runtime.endings import Endings
from nsrun.runtime.execution import Execution
from nsrun.runtime.figures import Running, look
from nsrun.runtime.machine import read_machine
from nsrun.runtime.preparation import Launch, Preparation, subject
from nsrun.runtime.rundir import SANDBOX_ID, RunDirectory, container_key
from nsrun.runtime.sandbox import Ended, Gone, Sandbox, open_sandbox, record_of, spawn
from nsrun.runtime.seccomp import Seccomp
from nsrun.runtime.session import ShimSession
from nsrun.runtime.sessions import open_session
from nsrun.runtime.shim import LogLimits
from nsrun.runtime.travel import sealed_program
from nsrun.runtime.usage import all_logged, container_disk, filesystem_of
from nsrun.support.boot import boot_id
from nsrun.support.clock import Clock
from nsrun.support.fds import Fd
from nsrun.support.layout import Layout, PodName
from nsrun.support.native import abi
from nsrun.support.threads import finish_in_thread

__all__ = ["Engine", "LogLimits", "Programs"]

_BIN = Path(__file__).resolve().parent.parent / "_bin"
_SHIM, _PAUSE = "the pod's shim", "the sandbox's pause process"
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """The native programs: ``shim`` is started for each pod, ``pause`` holds its namespaces."""

    shim: Path = _BIN / "nsrun-shim"
    pause: Path = _BIN / "pause"


class Engine:
    """Implements ``nsrun.supervisor.ports.Runtime``.

    Invariant: ``_sandboxes`` holds every pod whose shim we are connected to, ``_stop_signals`` every run that was
    started or adopted and not removed yet; ``_ends``, ``_untold`` and ``_told``, one after the other, every end that
    ``exits`` has not told."""

    def __init__(
        self,
        *,
        layout: Layout,
        cgroups: Cgroups,
        seccomp: Seccomp,
        facts: HostFacts,
        clock: Clock,
        programs: Programs | None = None,
        logs: LogLimits | None = None,
    ) -> None:
        self._layout = layout
        self._cgroups = cgroups
        self._clock = clock
        self._programs = programs or Programs()
        self._logs = logs or LogLimits()
        self._run = RunDirectory(layout, boot=boot_id())
        self._preparation = Preparation(
            layout=layout,
            run_directory=self._run,
            cgroups=cgroups,
            seccomp=seccomp,
            machine=read_machine(facts),
            pause=self._programs.pause,
        )
        self._endings = Endings(run_directory=self._run, cgroups=cgroups, clock=clock)
        self._adoption = Adoption(layout=layout, run_directory=self._run, cgroups=cgroups, endings=self._endings)
        self._execution = Execution(run_directory=self._run, filter=self._preparation.filter)
        self._shim: Fd | None = None
        self._sandboxes: dict[str, Sandbox] = {}
        self._stop_signals: dict[ContainerId, int] = {}
        self._ends: asyncio.Queue[Ended | Gone] = asyncio.Queue()
        self._untold: Ended | Gone | None = None
        self._told: deque[ContainerExit | SandboxExit] = deque()

    # --- finding

    async def adopt(self) -> Sequence[AdoptedPod]:
        """See the port. Pods whose shim is gone are killed here, and their containers' ends are in the answer."""
        pods = []
        for uid in await asyncio.to_thread(self._run.pods):
            found = await self._adoption.adopt(uid, self._ends.put_nowait)
            self._remember(found)
            pods.append(found.pod)
        return pods

    def _remember(self, found: Found) -> None:
        self._stop_signals.update(found.stop_signals)
        if found.sandbox is not None:
            self._sandboxes[found.pod.uid] = found.sandbox

    # --- sandboxes

    async def start_sandbox(self, pod: Pod, attachment: Attachment, document: Mapping[str, object]) -> SandboxInfo:
        """See the port."""
        sandbox = self._sandboxes.get(pod.uid)
        if sandbox is not None and sandbox.broken:
            await self.remove_sandbox(None, pod.uid)
            sandbox = None
        if sandbox is not None:
            await sandbox.settled(SANDBOX_ID)
            if sandbox.info is not None:
                return sandbox.info
        launch = await finish_in_thread(self._preparation.sandbox, pod, attachment, document, undo=Launch.close)
        try:
            if sandbox is None:
                sandbox = await self._open_sandbox(pod)
            return await sandbox.start_pause(launch, str(pod.name))
        finally:
            launch.close()

    async def _open_sandbox(self, pod: Pod) -> Sandbox:
        """Starts the shim, or finds the one that an earlier, cancelled call started."""
        make = await finish_in_thread(self._connect_or_spawn, pod.uid, str(pod.name))
        sandbox = make()
        self._sandboxes[pod.uid] = sandbox
        await sandbox.subscribe()
        return sandbox

    def _connect_or_spawn(self, uid: str, title: str) -> Callable[[], Sandbox]:
        run_dir = self._layout.run_pod(uid)
        try:
            make = open_sandbox(uid, run_dir, self._ends.put_nowait)
            if make is None:
                spawn(self._shim_program(), run_dir, title)
                make = open_sandbox(uid, run_dir, self._ends.put_nowait)
        except OSError as error:
            raise RuntimeFailure(
                f'cannot reach the shim of pod "{title}": {describe_errno(error.errno or 0)}',
                reason="CreatePodSandboxError",
            ) from error
        if make is None:
            raise RuntimeFailure(f'the shim of pod "{title}" does not listen', reason="CreatePodSandboxError")
        return make

    def _shim_program(self) -> Fd:
        """Copied at the first use; two threads that come at once make two copies, and one of them goes away."""
        if self._shim is None:
            try:
                self._shim = sealed_program(self._programs.shim)
            except OSError as error:
                raise RuntimeFailure(
                    f'cannot use the shim "{self._programs.shim}": {describe_errno(error.errno or 0)}',
                    reason="CreatePodSandboxError",
                    hint="./dev setup builds it; the sysctl vm.memfd_noexec must not be 2",
                ) from error
        return self._shim

    async def remove_sandbox(self, name: PodName | None, uid: str) -> None:
        """See the port."""
        sandbox = self._sandboxes.get(uid)
        if sandbox is None:
            make = await self._blocking(open_sandbox, uid, self._layout.run_pod(uid), self._ends.put_nowait)
            sandbox = make() if make is not None else None
        if sandbox is not None:
            await sandbox.shut_down()
        self._sandboxes.pop(uid, None)
        await self._blocking(self._remove_pod, name, uid)
        self._execution.forget_pod(uid)
        for id in [id for id in self._stop_signals if id.uid == uid]:
            del self._stop_signals[id]

    async def record(self, uid: str, document: Mapping[str, object]) -> None:
        """See the port."""
        await self._blocking(self._run.write_document, uid, document)

    def _remove_pod(self, name: PodName | None, uid: str) -> None:
        self._cgroups.kill_pod(uid)
        self._cgroups.remove_pod(uid)
        self._run.remove_pod(name, uid)

    # --- containers

    async def start_container(self, request: ContainerRequest) -> RunningContainer:
        """See the port."""
        what = subject(request)
        sandbox = self._sandboxes.get(request.id.uid)
        if sandbox is None or sandbox.info is None or sandbox.broken:
            raise RuntimeFailure(f"cannot start {what}: the pod's sandbox does not run")
        await sandbox.settled(container_key(request.id))
        if request.id in sandbox.running:
            return sandbox.running[request.id]
        launch = await finish_in_thread(
            self._preparation.container,
            request,
            sandbox.info.pause_pid,
            self._clock.now(),
            undo=lambda launch: self._drop(request, launch),
        )
        try:
            return await self._start(sandbox, request, launch)
        finally:
            launch.close()

    async def _start(self, sandbox: Sandbox, request: ContainerRequest, launch: Launch) -> RunningContainer:
        id = request.id
        self._stop_signals[id] = self._preparation.stop_signal(request)
        try:
            container = await sandbox.start_container(
                id, launch, subject(request), self._run.hash(id), flags=_input(request.container), limits=self._logs
            )
        except RuntimeFailure:
            await finish_in_thread(self._preparation.discard, request)
            raise
        return container

    def _drop(self, request: ContainerRequest, launch: Launch) -> None:
        launch.close()
        self._preparation.discard(request)

    async def signal(self, id: ContainerId, signal: int) -> None:
        """See the port."""
        sandbox = self._sandboxes.get(id.uid)
        if sandbox is not None and id in sandbox.running:
            await sandbox.signal(id, signal)

    async def kill(self, id: ContainerId) -> None:
        """See the port. The first process comes first: where it is PID 1 of its namespace, the kernel kills the rest
        with it, and nothing is left to do."""
        await self.signal(id, signal.SIGKILL)
        await self._blocking(self._cgroups.end_container, id)

    async def run(self, id: ContainerId, command: Command) -> CommandResult:
        """See the port."""
        return await self._execution.run(self._sandboxes.get(id.uid), id, command)

    async def open_session(self, id: ContainerId, request: SessionRequest) -> ShimSession:
        """See the port."""
        return await open_session(self._execution, self._sandboxes.get(id.uid), id, request)

    async def usage(self, uid: str) -> Mapping[str, int]:
        """See the port."""
        return {name: use.root.bytes + use.logs.bytes for name, use in (await self.disk(uid)).items()}

    async def disk(self, uid: str) -> Mapping[str, ContainerDisk]:
        """See the port."""
        return await self._blocking(container_disk, self._layout, uid)

    async def filesystem(self) -> Filesystem:
        """See the port."""
        return await self._blocking(filesystem_of, self._layout.root)

    async def figures(self, *, brief: bool = False) -> Figures:
        """See the port."""
        running = {
            uid: Running(started_at=sandbox.info.started_at, containers=tuple(sandbox.running.values()))
            for uid, sandbox in self._sandboxes.items()
            if sandbox.info is not None and not sandbox.broken
        }
        return await asyncio.to_thread(look, self._cgroups, running, brief=brief)

    def stop_signal(self, id: ContainerId) -> int:
        """See the port."""
        return self._stop_signals.get(id, signal.SIGTERM)

    async def remove_container(self, id: ContainerId) -> None:
        """See the port."""
        sandbox = self._sandboxes.get(id.uid)
        if sandbox is not None and not sandbox.shim.closed:
            await sandbox.forget(id)
        await self._blocking(self._remove_files, id)
        self._execution.forget(id)
        self._stop_signals.pop(id, None)

    def _remove_files(self, id: ContainerId) -> None:
        self._cgroups.remove_container(id)
        self._run.remove_container(id)

    async def logged(self) -> frozenset[tuple[PodName, str]]:
        """See the port."""
        return await self._blocking(lambda: frozenset(all_logged(self._layout)))

    async def next_attempt(self, pod: Pod, container: str) -> int:
        """See the port."""
        return await asyncio.to_thread(self._run.next_attempt, pod, container)

    # --- ends

    async def exits(self) -> AsyncIterator[ContainerExit | SandboxExit]:
        """See the port. One reader at a time; one that is cancelled has taken nothing, and the next goes on."""
        while True:
            while self._told:
                yield self._told.popleft()
            if self._untold is None:
                self._untold = await self._ends.get()
            self._told.extend(await asyncio.to_thread(self._ends_of, self._untold))
            self._untold = None

    def _ends_of(self, end: Ended | Gone) -> list[ContainerExit | SandboxExit]:
        if isinstance(end, Gone):
            return self._lost(end)
        return [ContainerExit(id=end.id, exit=self._endings.of_record(end.id, record_of(end.message)))]

    def _lost(self, gone: Gone) -> list[ContainerExit | SandboxExit]:
        message = f"{_SHIM if gone.shim else _PAUSE} ended, which nobody asked for"
        ends: list[ContainerExit | SandboxExit] = []
        if gone.shim:
            started = {container.id: container.started_at for container in gone.running}
            exits, complaint = self._endings.of_lost_pod(gone.uid, started)
            ends += [ContainerExit(id=id, exit=exit) for id, exit in exits.items()]
            message += f"; {complaint}" if complaint else ""
        if gone.first:
            ends.append(SandboxExit(uid=gone.uid, message=message))
        return ends

    # --- inside

    async def _blocking(self, function: Callable[..., _Value], *arguments: object) -> _Value:
        try:
            return await finish_in_thread(function, *arguments)
        except OSError as error:
            place = f' "{error.filename}"' if error.filename else ""
            cause = describe_errno(error.errno or 0)
            hint = remedy_for_errno(error.errno or 0)
            raise RuntimeFailure(f"cannot use{place or ' a file'}: {cause}", hint=hint) from error


def _input(container: Container) -> int:
    """Where standard input comes from: the terminal, a pipe that somebody may attach to (once), or nowhere."""
    if container.tty:
        return int(abi.NS_LAUNCH_TERMINAL)
    if not container.stdin:
        return 0
    return int(abi.NS_LAUNCH_STDIN | (abi.NS_LAUNCH_STDIN_ONCE if container.stdin_once else 0))
