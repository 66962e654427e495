"""Sessions: commands in containers and containers themselves, with somebody at the other end of their streams.

A command has pipes, or a terminal in its container, and our ends of them are the session; of a container that somebody
attaches to, the shim hands out the end of its input and copies of its output."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import struct
import termios
from dataclasses import dataclass, field

from nsrun.errors import RuntimeFailure, describe_errno
from nsrun.model.session import SessionRequest, TerminalSize
from nsrun.runtime.exits import exit_code
from nsrun.runtime.shim import Conversation, Shim
from nsrun.support.fds import Fd
from nsrun.support.native import Message, abi

__all__ = ["ShimSession", "Streams", "command_streams", "end_of_file", "wanted_streams"]

_END_OF_FILE = b"\x04"


@dataclass(slots=True, kw_only=True)
class Streams:
    """Our ends. ``terminal``: ``stdin`` is the master of one, and ``stdout`` the same, or a copy of what it says."""

    stdin: Fd | None = None
    stdout: Fd | None = None
    stderr: Fd | None = None
    terminal: bool = False

    def close(self) -> None:
        for fd in (self.stdin, self.stdout, self.stderr):
            if fd is not None:
                fd.close()


@dataclass(slots=True, kw_only=True)
class ShimSession:
    """Implements ``nsrun.supervisor.ports.Session``. ``what``: as failures name it; ``master``: of the terminal, None
    without one; ``attached``: it is a container."""

    what: str
    shim: Shim
    conversation: Conversation
    streams: Streams
    master: Fd | None = None
    attached: bool = False
    _closed: bool = field(default=False, init=False)

    @property
    def stdin(self) -> Fd | None:
        return self.streams.stdin

    @property
    def stdout(self) -> Fd | None:
        return self.streams.stdout

    @property
    def stderr(self) -> Fd | None:
        return self.streams.stderr

    def close_stdin(self) -> None:
        """See the port."""
        stdin = self.streams.stdin
        if stdin is None or stdin.number < 0:
            return
        if not self.streams.terminal:
            stdin.close()
        elif not self.attached:
            try:
                os.write(stdin.fileno(), end_of_file(stdin.fileno()))
            except OSError:
                return  # it reads nothing any more, or has more to read than there is room for

    async def resize(self, size: TerminalSize) -> None:
        """See the port."""
        if self.master is None or self._closed:
            return
        try:
            fcntl.ioctl(self.master.fileno(), termios.TIOCSWINSZ, struct.pack("=4H", size.rows, size.columns, 0, 0))
        except OSError as error:
            if error.errno != errno.EIO:  # it is over
                raise RuntimeFailure(f"cannot resize {self.what}: {describe_errno(error.errno or 0)}") from error

    async def signal(self, signal: int) -> None:
        """See the port."""
        if self.conversation.ended.done():
            return
        message = await self.shim.signal_command(self.conversation.serial, signal)
        failure = message.failure
        if failure is not None and failure.errno != errno.ESRCH:
            raise RuntimeFailure(f"cannot signal {self.what}: {describe_errno(failure.errno)}")

    async def wait(self) -> int:
        """See the port."""
        message = await asyncio.shield(self.conversation.ended)
        if message.kind == abi.NS_MSG_RESULT:
            return exit_code(message.wait_status)
        raise RuntimeFailure(f"cannot go on with {self.what}: {_why(message)}")

    async def close(self) -> None:
        """See the port."""
        if self._closed:
            return
        self._closed = True
        if not self.conversation.ended.done():
            self.shim.cancel(self.conversation.serial)
        self.streams.close()
        if self.master is not None:
            self.master.close()
        self.conversation.ended.add_done_callback(_unheard)


def _unheard(ended: asyncio.Future[Message]) -> None:
    """Nobody has to hear of it any more."""
    if not ended.cancelled():
        ended.exception()


def _why(message: Message) -> str:
    if message.failure is None:
        return "the shim does not say why"
    if (message.failure.step, message.failure.errno) == (abi.NS_STEP_ATTACH, errno.ENOBUFS):
        return "its output came faster than it was read here, and the log has the rest"
    return describe_errno(message.failure.errno)


def end_of_file(terminal: int) -> bytes:
    """What has to be typed for an end of file."""
    try:
        typed: bytes = termios.tcgetattr(terminal)[6][termios.VEOF]
    except termios.error:
        return _END_OF_FILE
    return typed


def wanted_streams(request: SessionRequest) -> int:
    """``enum ns_streams``."""
    flags = abi.NS_STREAM_IN if request.stdin else 0
    flags |= abi.NS_STREAM_OUT if request.stdout else 0
    return int(flags | (abi.NS_STREAM_ERR if request.stderr else 0))


def command_streams(request: SessionRequest) -> tuple[Streams, tuple[Fd, Fd, Fd]]:
    """Pipes for a command without a terminal: our ends, and its 0, 1 and 2. What was not asked for is /dev/null.
    Raises OSError."""
    ours = Streams()
    theirs: list[Fd] = []
    try:
        for name, wanted in (("stdin", request.stdin), ("stdout", request.stdout), ("stderr", request.stderr)):
            if not wanted:
                theirs.append(Fd.open(os.devnull, os.O_RDWR))
                continue
            mine, far = _pipe(read_there=name == "stdin")
            setattr(ours, name, mine)
            theirs.append(far)
    except OSError:
        ours.close()
        for fd in theirs:
            fd.close()
        raise
    return ours, (theirs[0], theirs[1], theirs[2])


def _pipe(*, read_there: bool) -> tuple[Fd, Fd]:
    """Our end, which does not block, and theirs, which a program that is not root can open again (/dev/stdout)."""
    reader, writer = map(Fd, os.pipe2(os.O_CLOEXEC))
    ours, theirs = (writer, reader) if read_there else (reader, writer)
    os.set_blocking(ours.fileno(), False)
    os.fchmod(theirs.fileno(), 0o666)
    return ours, theirs
