"""A pod's live sandbox as the engine holds it: the shim's connection, what runs in it, what is known to have ended."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from nsrun.errors import RuntimeFailure, describe_errno
from nsrun.model.running import ContainerId, RunningContainer, SandboxInfo
from nsrun.runtime.exits import ExitRecord
from nsrun.runtime.failure import explain_failure
from nsrun.runtime.preparation import Launch
from nsrun.runtime.process import peer_process, send_signal
from nsrun.runtime.rundir import SANDBOX_ID, container_key, parse_key
from nsrun.runtime.shim import LogLimits, Shim
from nsrun.runtime.shimsocket import connect
from nsrun.support import native
from nsrun.support.fds import Fd
from nsrun.support.native import Message, abi

__all__ = ["Ended", "Gone", "Sandbox", "open_sandbox", "record_of", "spawn"]

_SHUTDOWN_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The shim told of a container's end."""

    id: ContainerId
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """The shim (``shim``) or the pause process ended. ``running``: containers whose ends nobody will tell any more;
    ``first``: the pod's sandbox was whole until now."""

    uid: str
    shim: bool
    first: bool
    running: tuple[RunningContainer, ...] = ()


@dataclass(slots=True, kw_only=True)
class Sandbox:
    """``running``: every container that was started and whose end was not told yet. ``launching``: launches without an
    answer. ``ended``: told ends, so that none is told twice. ``process``: the shim's pidfd. ``info`` None until its
    pause process runs, and ``broken`` once that ended. ``closing``: it is being removed, and its end is no news."""

    uid: str
    shim: Shim
    process: Fd | None
    info: SandboxInfo | None = None
    running: dict[ContainerId, RunningContainer] = field(default_factory=dict)
    ended: set[ContainerId] = field(default_factory=set)
    launching: dict[str, asyncio.Future[Message]] = field(default_factory=dict)
    broken: bool = False
    closing: bool = False
    died: asyncio.Event = field(default_factory=asyncio.Event)

    async def start_pause(self, launch: Launch, pod: str) -> SandboxInfo:
        """Raises RuntimeFailure."""
        what = f'sandbox of pod "{pod}"'
        started = partial(self._pause_started, launch)
        await self._launch(SANDBOX_ID, launch, what, started, flags=abi.NS_LAUNCH_SANDBOX)
        assert self.info is not None
        return self.info

    def _pause_started(self, launch: Launch, message: Message) -> None:
        self.info = SandboxInfo(
            uid=self.uid,
            shim_pid=self.shim.pid,
            pause_pid=message.pid,
            started_at=message.started_ns / 1e9,
            warnings=launch.warnings + launch.told(message),
        )

    async def start_container(
        self, id: ContainerId, launch: Launch, what: str, hash: str, *, flags: int, limits: LogLimits
    ) -> RunningContainer:
        """Returns after the exec. ``flags``: what its input is; ``limits``: of its log. Raises RuntimeFailure."""
        started = partial(self._container_started, id, launch, hash)
        message = await self._launch(container_key(id), launch, what, started, flags=flags, limits=limits)
        return self._container(id, launch, hash, message)

    def _container_started(self, id: ContainerId, launch: Launch, hash: str, message: Message) -> None:
        if id not in self.ended:
            self.running[id] = self._container(id, launch, hash, message)

    def _container(self, id: ContainerId, launch: Launch, hash: str, message: Message) -> RunningContainer:
        return RunningContainer(
            id=id,
            hash=hash,
            pid=message.pid,
            started_at=message.started_ns / 1e9,
            warnings=launch.warnings + launch.told(message),
        )

    async def settled(self, key: str) -> None:
        """Waits for a launch that an earlier, cancelled call began."""
        answer = self.launching.get(key)
        if answer is not None:
            await asyncio.wait((answer,))

    async def subscribe(self) -> None:
        """From now on every end is told; first those that the shim still remembers. Raises RuntimeFailure."""
        await self.shim.request(abi.NS_REQ_SUBSCRIBE)

    async def signal(self, id: ContainerId, number: int) -> None:
        """Nothing happens when it has ended. Raises RuntimeFailure."""
        message = await self.shim.request(abi.NS_REQ_SIGNAL, value=number, id=container_key(id))
        _expect(message, f'signal container "{id.name}"', fine=(errno.ENOENT, errno.ESRCH))

    async def forget(self, id: ContainerId) -> None:
        """Raises RuntimeFailure when it still runs."""
        message = await self.shim.request(abi.NS_REQ_FORGET, id=container_key(id))
        _expect(message, f'forget container "{id.name}"', fine=(errno.ENOENT,))
        self.ended.discard(id)

    async def shut_down(self) -> None:
        """Everything in the pod is killed and the shim ends; one that does not answer is killed too."""
        self.closing = True
        if not self.shim.closed:
            try:
                async with asyncio.timeout(_SHUTDOWN_SECONDS):
                    await self.shim.request(abi.NS_REQ_SHUTDOWN)
                    await self.died.wait()
            except (TimeoutError, RuntimeFailure):
                pass
        self.shim.close()
        if self.process is not None:
            send_signal(self.process, signal.SIGKILL)
            self.process.close()

    async def _launch(
        self,
        key: str,
        launch: Launch,
        what: str,
        started: Callable[[Message], None],
        *,
        flags: int = 0,
        limits: LogLimits | None = None,
    ) -> Message:
        """``started`` is called also when nobody waits any more: what runs is known."""
        log = launch.log[1] if launch.log is not None else ""
        if launch.log is None:
            flags |= abi.NS_LAUNCH_NO_LOG
        answer = await self.shim.launch(key, launch.numbers(), flags=flags, log=log, limits=limits)
        self.launching[key] = answer
        answer.add_done_callback(partial(self._answered, key, started))
        message = await asyncio.shield(answer)
        if message.kind == abi.NS_MSG_DONE:
            return message
        if message.failure is None:
            raise RuntimeFailure(f"cannot start {what}: the shim does not say why")
        raise explain_failure(what, launch.plan, message.failure)

    def _answered(self, key: str, started: Callable[[Message], None], answer: asyncio.Future[Message]) -> None:
        self.launching.pop(key, None)
        if not answer.cancelled() and answer.exception() is None and answer.result().kind == abi.NS_MSG_DONE:
            started(answer.result())


def open_sandbox(uid: str, run_dir: Path, tell: Callable[[Ended | Gone], None]) -> Callable[[], Sandbox] | None:
    """Connects to the pod's shim. Blocks; the answer makes the Sandbox and must be called in the event loop. None when
    no shim listens. Raises OSError."""
    connection = connect(run_dir)
    if connection is None:
        return None
    pid, process = peer_process(connection)

    def make() -> Sandbox:
        sandbox: Sandbox
        shim = Shim(
            socket.socket(fileno=connection.detach()),
            pid=pid,
            on_exit=lambda message: _on_exit(sandbox, message, tell),
            on_death=lambda: _on_death(sandbox, tell),
        )
        sandbox = Sandbox(uid=uid, shim=shim, process=process)
        return sandbox

    return make


def spawn(program: Fd, run_dir: Path, title: str) -> None:
    """Starts a shim in the run directory. Blocks until it listens. Raises RuntimeFailure."""
    try:
        with Fd.open(run_dir, os.O_RDONLY | os.O_DIRECTORY) as directory:
            native.spawn_shim(f"/proc/self/fd/{program.fileno()}", directory.fileno(), title)
    except OSError as error:
        raise RuntimeFailure(
            f'cannot start the shim of pod "{title}": {describe_errno(error.errno or 0)}',
            reason="CreatePodSandboxError",
        ) from error


def record_of(message: Message) -> ExitRecord:
    """What a message says of an end."""
    return ExitRecord(
        pid=message.pid,
        started_ns=message.started_ns,
        exited_ns=message.exited_ns,
        wait_status=message.wait_status,
        dropped=message.dropped,
    )


def _on_exit(sandbox: Sandbox, message: Message, tell: Callable[[Ended | Gone], None]) -> None:
    if message.id == SANDBOX_ID:
        _tell_gone(sandbox, shim=False, tell=tell)
        return
    id = parse_key(sandbox.uid, message.id)
    if id is None or id in sandbox.ended:
        return
    sandbox.ended.add(id)
    sandbox.running.pop(id, None)
    tell(Ended(id=id, message=message))


def _on_death(sandbox: Sandbox, tell: Callable[[Ended | Gone], None]) -> None:
    sandbox.died.set()
    _tell_gone(sandbox, shim=True, tell=tell)


def _tell_gone(sandbox: Sandbox, *, shim: bool, tell: Callable[[Ended | Gone], None]) -> None:
    """Not when we end it ourselves."""
    if sandbox.closing:
        return
    running = tuple(sandbox.running.values()) if shim else ()
    tell(Gone(uid=sandbox.uid, shim=shim, first=not sandbox.broken, running=running))
    sandbox.broken = True


def _expect(message: Message, what: str, *, fine: tuple[int, ...]) -> None:
    """``fine``: errnos that mean there is nothing left to do."""
    failure = message.failure
    if message.kind == abi.NS_MSG_FAILED and failure is not None and failure.errno not in fine:
        raise RuntimeFailure(f"cannot {what}: {describe_errno(failure.errno)}")
