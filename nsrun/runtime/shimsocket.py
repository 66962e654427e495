"""The way to a pod's shim, and a plain conversation over it for who has no event loop."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from nsrun.errors import RuntimeFailure, describe_errno
from nsrun.support import native
from nsrun.support.fds import Fd
from nsrun.support.native import Message, abi

__all__ = ["MOST_FDS", "RECEIVE", "PlainShim", "Said", "connect", "receive"]

_SOCKET = "shim.sock"

RECEIVE = native.MESSAGE_SIZE + abi.NS_OUTPUT_MAX + 1
"""The longest message: a command's result with all its output. A longer one is none of ours."""

MOST_FDS = 3
"""The most descriptors that come with one: input, output, errors."""


class Said(NamedTuple):
    """A message and its descriptors, which belong to whoever has it."""

    message: Message
    fds: tuple[Fd, ...]


def connect(run_dir: Path) -> socket.socket | None:
    """A connection to the shim of this run directory; None when none listens. Blocks for microseconds.

    Through the directory's descriptor, because a socket's address holds 107 bytes and a run directory may be deeper.
    Raises OSError.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with Fd.open(run_dir, os.O_PATH | os.O_DIRECTORY) as directory:
            connection.connect(f"/proc/self/fd/{directory.fileno()}/{_SOCKET}")
    except OSError as error:
        connection.close()
        if isinstance(error, FileNotFoundError | NotADirectoryError | ConnectionRefusedError | ConnectionResetError):
            return None
        raise
    return connection


def receive(connection: socket.socket) -> Said:
    """What comes next. Raises OSError; ValueError when it is no message of a shim, as at its end."""
    data, numbers, _, _ = socket.recv_fds(connection, RECEIVE, MOST_FDS, socket.MSG_CMSG_CLOEXEC)
    fds = tuple(Fd(number) for number in numbers)
    return Said(native.unpack_message(data), fds)


class PlainShim:
    """A connection of one's own, for one session at a time; what runs by it ends with it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._serial = 0

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

    def close(self) -> None:
        self._connection.close()

    def _send(self, request: bytes, fds: Sequence[int]) -> int:
        self._serial += 1
        try:
            socket.send_fds(self._connection, [request], list(fds))
        except (BrokenPipeError, ConnectionError) as error:
            raise _gone() from error
        except OSError as error:
            raise RuntimeFailure(f"cannot send to the shim: {describe_errno(error.errno or 0)}") from error
        return self._serial


def _gone() -> RuntimeFailure:
    return RuntimeFailure("the pod's shim is gone", hint="the pod has ended, or is being started again")
