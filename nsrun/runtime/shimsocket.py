"""The way to a pod's shim, and a plain conversation over it for who has no event loop."""

from __future__ import annotations

import _socket
import os
import sys

from nsrun.errors import RuntimeFailure, describe_errno
from nsrun.support import native
from nsrun.support.fds import Fd
from nsrun.support.native import Message, abi
from nsrun.support.record import Record

TYPE_CHECKING = False  # `typing` is dear, and `nsrun exec` in a hurry
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

__all__ = ["MOST_FDS", "RECEIVE", "PlainShim", "Said", "connect", "receive", "send"]

_SOCKET = "shim.sock"

RECEIVE = native.MESSAGE_SIZE + abi.NS_OUTPUT_MAX + 1
"""The longest message: a command's result with all its output. A longer one is none of ours."""

MOST_FDS = 3
"""The most descriptors that come with one: input, output, errors."""

_FD_SIZE = 4


class Said(Record):
    """A message and its descriptors, which belong to whoever has it."""

    __slots__ = ("fds", "message")

    def __init__(self, message: Message, fds: tuple[Fd, ...]) -> None:
        self.message = message
        self.fds = fds


def connect(run_dir: str | os.PathLike[str]) -> _socket.socket | None:
    """A connection to the shim of this run directory; None when none listens. Blocks for microseconds. It is what
    ``socket`` makes its sockets from: they are the same, but `socket` itself takes as long to load as all of a tool.

    Through the directory's descriptor, because a socket's address holds 107 bytes and a run directory may be deeper.
    Raises OSError.
    """
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    try:
        with Fd.open(run_dir, os.O_PATH | os.O_DIRECTORY) as directory:
            connection.connect(f"/proc/self/fd/{directory.fileno()}/{_SOCKET}")
    except OSError as error:
        connection.close()
        if isinstance(error, FileNotFoundError | NotADirectoryError | ConnectionRefusedError | ConnectionResetError):
            return None
        raise
    return connection


def receive(connection: _socket.socket) -> Said:
    """What comes next. Raises OSError; ValueError when it is no message of a shim, as at its end."""
    room = _socket.CMSG_LEN(MOST_FDS * _FD_SIZE)
    data, passed, _, _ = connection.recvmsg(RECEIVE, room, _socket.MSG_CMSG_CLOEXEC)
    fds = tuple(Fd(number) for number in _numbers(passed))
    return Said(native.unpack_message(data), fds)


def _numbers(passed: Sequence[tuple[int, int, bytes]]) -> list[int]:
    """Of what came beside a message. A number that was cut off is none."""
    return [
        int.from_bytes(data[start : start + _FD_SIZE], sys.byteorder)
        for level, kind, data in passed
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS)
        for start in range(0, len(data) - _FD_SIZE + 1, _FD_SIZE)
    ]


def send(connection: _socket.socket, request: bytes, fds: Sequence[int]) -> None:
    """Raises OSError."""
    numbers = b"".join(fd.to_bytes(_FD_SIZE, sys.byteorder) for fd in fds)
    connection.sendmsg([request], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, numbers)] if fds else [])


class PlainShim:
    """A connection of one's own, for one session at a time; what runs by it ends with it."""

    def __init__(self, connection: _socket.socket) -> None:
        self._connection = connection
        self._serial = 0

    def __enter__(self) -> PlainShim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def fileno(self) -> int:
        return self._connection.fileno()

    def ask(self, kind: int, id: str = "", *, flags: int = 0, fds: Sequence[int] = ()) -> int:
        """Sends a request; its serial. Raises RuntimeFailure."""
        return self._send(native.pack_request(kind, self._serial + 1, flags=flags, id=id), fds)

    def signal(self, of_serial: int, number: int) -> None:
        """Signals the command that was asked for by this serial. Raises RuntimeFailure."""
        request = native.pack_request(abi.NS_REQ_SIGNAL, self._serial + 1, value=number, of_serial=of_serial)
        self._send(request, ())

    def hear(self, serial: int) -> Said:
        """The next word about a request, in whatever time it takes. Raises RuntimeFailure when the shim is gone."""
        while (said := self.receive()).message.serial != serial:
            pass
        return said

    def receive(self) -> Said:
        """The next word, whatever it is about. Raises RuntimeFailure when the shim is gone."""
        try:
            return receive(self._connection)
        except (OSError, ValueError) as error:
            raise _gone() from error

    def _send(self, request: bytes, fds: Sequence[int]) -> int:
        self._serial += 1
        try:
            send(self._connection, request, fds)
        except (BrokenPipeError, ConnectionError) as error:
            raise _gone() from error
        except OSError as error:
            raise RuntimeFailure(f"cannot send to the shim: {describe_errno(error.errno or 0)}") from error
        return self._serial


def _gone() -> RuntimeFailure:
    return RuntimeFailure("the pod's shim is gone", hint="the pod has ended, or is being started again")
