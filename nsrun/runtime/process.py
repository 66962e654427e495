"""Processes that are not our children, held by pidfd: a pid alone is somebody else's as soon as its process is gone."""

from __future__ import annotations

import _socket
import os
import signal
import socket
import struct

from nsrun.support.fds import Fd

__all__ = ["peer_process", "send_signal"]

_CREDENTIALS = struct.Struct("=iII")  # struct ucred
_SO_PEERPIDFD = 77  # since 6.5


def peer_process(connection: _socket.socket) -> tuple[int, Fd | None]:
    """Who listens at the other end: its pid, and its pidfd unless it is gone."""
    pid: int = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))[0]
    try:
        return pid, Fd(connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD))
    except OSError:
        pass
    try:
        # It was alive a moment ago, when it took our connection.
        return pid, Fd(os.pidfd_open(pid))
    except OSError:
        return pid, None


def send_signal(pidfd: Fd, number: int) -> None:
    """Fine when the process has ended. Raises OSError."""
    try:
        signal.pidfd_send_signal(pidfd.fileno(), number)
    except ProcessLookupError:
        pass
