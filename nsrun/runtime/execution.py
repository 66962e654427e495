"""Commands in running containers: probes and hooks by exec.

A command is compiled once for each run of a container and then kept, sealed, as long as the run lasts and there is
room: a probe costs one message to the shim and one back. The shim sees to its time, its output and its end; it kills
what belongs to a supervisor that is gone."""

from __future__ import annotations

import errno
import shlex
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from nsrun.errors import RuntimeFailure, describe_errno
from nsrun.model.running import Command, CommandResult, ContainerId
from nsrun.model.session import TerminalSize
from nsrun.runtime import operations as do
from nsrun.runtime.execplan import exec_plan
from nsrun.runtime.exits import exit_code
from nsrun.runtime.failure import explain_failure
from nsrun.runtime.launchplan import LaunchPlan
from nsrun.runtime.ociconfig import OciConfig
from nsrun.runtime.rundir import RunDirectory, container_key
from nsrun.runtime.sandbox import Sandbox
from nsrun.runtime.travel import sealed_plan
from nsrun.support.fds import Fd
from nsrun.support.native import Failure, Message, abi
from nsrun.support.threads import finish_in_thread

__all__ = ["Execution", "explain"]

# Commands that are kept compiled, of all containers together: each holds a descriptor and some pages.
_KEPT = 1024

# How the end of a container shows to a command that is just joining it.
_GONE = {
    (abi.NS_STEP_REQUEST, errno.ESRCH),
    (abi.NS_OP_ENTER, errno.ESRCH),
    (abi.NS_OP_BIRTH, errno.ENOMEM),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compiled:
    plan: LaunchPlan
    memory: Fd


class Execution:
    """Runs commands. ``filter``: the system call filter that a configuration asks for; blocks.

    Invariant: ``_kept`` holds plans of commands by run and words, the one used last at its end. One that is dropped is
    closed with its last user."""

    def __init__(self, *, run_directory: RunDirectory, filter: Callable[[OciConfig], do.Seccomp | None]) -> None:
        self._run = run_directory
        self._filter = filter
        self._kept: OrderedDict[tuple[ContainerId, tuple[str, ...]], _Compiled] = OrderedDict()

    async def run(self, sandbox: Sandbox | None, id: ContainerId, command: Command) -> CommandResult:
        """See the port. ``sandbox``: the container's, None when there is none. Raises RuntimeFailure."""
        if sandbox is None or sandbox.broken or id not in sandbox.running:
            raise _ended(id)
        compiled = await self._compiled(id, command.arguments)
        message = await sandbox.shim.execute(
            container_key(id),
            [compiled.memory.fileno()],
            timeout=command.timeout,
            output_limit=min(command.output_limit, abi.NS_OUTPUT_MAX),
        )
        if message.kind == abi.NS_MSG_RESULT:
            return _result(message)
        raise explain(id, command.arguments, compiled.plan, message.failure)

    def compile(
        self, id: ContainerId, arguments: tuple[str, ...], terminal: bool, size: TerminalSize | None
    ) -> tuple[LaunchPlan, Fd]:
        """The plan of a command that is run once, and the same as the shim wants it. ``terminal``: it has one, of
        ``size``. Blocks. Raises RuntimeFailure."""
        compiled = self._compile(id, arguments, terminal, size)
        return compiled.plan, compiled.memory

    def forget(self, id: ContainerId) -> None:
        """The run is over."""
        for key in [key for key in self._kept if key[0] == id]:
            del self._kept[key]

    def forget_pod(self, uid: str) -> None:
        """Every run of the pod is over."""
        for key in [key for key in self._kept if key[0].uid == uid]:
            del self._kept[key]

    async def _compiled(self, id: ContainerId, arguments: tuple[str, ...]) -> _Compiled:
        compiled = self._kept.get((id, arguments))
        if compiled is None:
            compiled = self._kept[id, arguments] = await finish_in_thread(self._compile, id, arguments)
        self._kept.move_to_end((id, arguments))
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return compiled

    def _compile(
        self, id: ContainerId, arguments: tuple[str, ...], terminal: bool = False, size: TerminalSize | None = None
    ) -> _Compiled:
        what = f"cannot run {_named(id, arguments)}"
        if not arguments or not arguments[0] or any("\0" in word for word in arguments):
            raise RuntimeFailure(f"{what}: it is no command")
        try:
            config = self._run.config(id)
            plan = exec_plan(
                config,
                arguments,
                seccomp=self._filter(config),
                session=self._run.session(id),
                terminal=terminal,
                size=size,
            )
            return _Compiled(plan=plan, memory=sealed_plan(plan))
        except OSError as error:
            raise RuntimeFailure(f"{what}: {describe_errno(error.errno or 0)}") from error
        except (ValueError, KeyError) as error:
            raise RuntimeFailure(f"{what}: its container's configuration cannot be read") from error
        except RuntimeFailure as error:
            raise RuntimeFailure(f"{what}: {error.message}", hint=error.hint) from error


def _result(message: Message) -> CommandResult:
    return CommandResult(
        code=exit_code(message.wait_status),
        output=message.output,
        timed_out=bool(message.flags & abi.NS_RESULT_TIMED_OUT),
    )


def explain(id: ContainerId, arguments: tuple[str, ...], plan: LaunchPlan, failure: Failure | None) -> RuntimeFailure:
    """Why a command was not started."""
    if failure is None or (failure.step, failure.errno) in _GONE:
        return _ended(id)
    return explain_failure(_named(id, arguments), plan, failure)


def _ended(id: ContainerId) -> RuntimeFailure:
    return RuntimeFailure(f'cannot run a command in container "{id.name}": it does not run')


def _named(id: ContainerId, arguments: tuple[str, ...]) -> str:
    return f'"{shlex.join(arguments)}" in container "{id.name}"'
