"""Opens sessions: from what somebody wants to see and say to what the shim is asked for, and back to descriptors."""

from __future__ import annotations

import asyncio
import errno
import os
import shlex

from nsrun.errors import RuntimeFailure, describe_errno, remedy_for_errno
from nsrun.model.running import ContainerId
from nsrun.model.session import SessionRequest
from nsrun.runtime.execution import Execution, explain
from nsrun.runtime.rundir import container_key
from nsrun.runtime.sandbox import Sandbox
from nsrun.runtime.session import ShimSession, Streams, command_streams, wanted_streams
from nsrun.runtime.shim import Conversation, Shim
from nsrun.runtime.shimsocket import Said
from nsrun.support.fds import Fd
from nsrun.support.native import Message, abi
from nsrun.support.threads import finish_in_thread

__all__ = ["open_session"]


async def open_session(
    execution: Execution, sandbox: Sandbox | None, id: ContainerId, request: SessionRequest
) -> ShimSession:
    """See the port. ``sandbox``: the container's, None when there is none. Raises RuntimeFailure."""
    if sandbox is None or sandbox.broken or id not in sandbox.running:
        raise RuntimeFailure(f'cannot open a session in container "{id.name}": it does not run')
    try:
        if request.command is None:
            return await _attach(sandbox.shim, id, request)
        return await _command(execution, sandbox.shim, id, request.command, request)
    except OSError as error:
        raise RuntimeFailure(
            f'cannot open a session in container "{id.name}": {describe_errno(error.errno or 0)}',
            hint=remedy_for_errno(error.errno or 0),
        ) from error


async def _command(
    execution: Execution, shim: Shim, id: ContainerId, words: tuple[str, ...], request: SessionRequest
) -> ShimSession:
    size = request.size if request.terminal else None
    plan, memory = await finish_in_thread(execution.compile, id, words, request.terminal, size)
    what = f'"{shlex.join(words)}" in container "{id.name}"'
    streams: Streams = Streams(terminal=True)
    theirs: tuple[Fd, ...] = ()
    if not request.terminal:
        streams, theirs = command_streams(request)
    try:
        flags = abi.NS_EXEC_TERMINAL if request.terminal else abi.NS_EXEC_STDIO
        fds = [memory.fileno(), *(fd.fileno() for fd in theirs)]
        conversation = await shim.converse(abi.NS_REQ_EXEC, container_key(id), fds, flags=flags)
        said = await _begun(shim, conversation)
        if said.message.kind != abi.NS_MSG_STARTED:
            raise explain(id, words, plan, said.message.failure)
    except BaseException:
        streams.close()
        raise
    finally:
        for fd in theirs:
            fd.close()
    if request.terminal:
        streams = _of_master(request, said.fds[0])
    return ShimSession(
        what=what,
        shim=shim,
        conversation=conversation,
        streams=streams,
        master=said.fds[0] if said.fds else None,
    )


def _of_master(request: SessionRequest, master: Fd) -> Streams:
    return Streams(
        stdin=_copy(master) if request.stdin else None,
        stdout=_copy(master) if request.stdout else None,
        terminal=True,
    )


async def _attach(shim: Shim, id: ContainerId, request: SessionRequest) -> ShimSession:
    what = f'the attachment to container "{id.name}"'
    conversation = await shim.converse(abi.NS_REQ_ATTACH, container_key(id), (), flags=wanted_streams(request))
    said = await _begun(shim, conversation)
    message, fds = said.message, said.fds
    if message.kind != abi.NS_MSG_STARTED:
        raise _refused(id, message)
    master = _copy(fds[0]) if message.flags & abi.NS_STREAM_TERMINAL else None
    streams = _handed_out(request, message.flags, list(fds))
    session = ShimSession(
        what=what, shim=shim, conversation=conversation, streams=streams, master=master, attached=True
    )
    if request.size is not None:
        await session.resize(request.size)
    return session


def _handed_out(request: SessionRequest, flags: int, fds: list[Fd]) -> Streams:
    """What the shim gave: the master of a terminal or the end of a pipe, then copies of what is said."""
    streams = Streams(terminal=bool(flags & abi.NS_STREAM_TERMINAL))
    if streams.terminal or flags & abi.NS_STREAM_IN:
        streams.stdin = fds.pop(0)
    if streams.terminal and streams.stdin is not None and not request.stdin:
        streams.stdin.close()
        streams.stdin = None
    if flags & abi.NS_STREAM_OUT:
        streams.stdout = fds.pop(0)
    if flags & abi.NS_STREAM_ERR:
        streams.stderr = fds.pop(0)
    return streams


async def _begun(shim: Shim, conversation: Conversation) -> Said:
    """Its start; given up, it is ended."""
    try:
        return await asyncio.shield(conversation.started)
    except asyncio.CancelledError:
        conversation.abandon()
        shim.cancel(conversation.serial)
        raise


def _copy(fd: Fd) -> Fd:
    return Fd(os.dup(fd.fileno()))


def _refused(id: ContainerId, message: Message) -> RuntimeFailure:
    number = message.failure.errno if message.failure is not None else 0
    if number in (errno.ESRCH, errno.ENOENT):
        return RuntimeFailure(f'cannot attach to container "{id.name}": it does not run')
    if number == errno.ENOSPC:
        return RuntimeFailure(f'cannot attach to container "{id.name}": {abi.NS_MAX_ATTACHED} others are attached')
    return RuntimeFailure(f'cannot attach to container "{id.name}": {describe_errno(number)}')
