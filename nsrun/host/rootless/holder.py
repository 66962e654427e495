"""The doorway to nsrun-holder: what it says, and what it is told (``native/holder.h``)."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from nsrun.errors import HostError, InternalError

__all__ = ["PROGRAM", "HolderFailed", "HolderLine", "spawn"]

PROGRAM: Final = Path(__file__).resolve().parent.parent.parent / "_bin" / "nsrun-holder"
"""Linked statically, beside the others."""

_WORD = struct.Struct("=Iii")  # struct ns_holder_word
_PATIENCE = 30.0  # seconds: it only makes system calls


class HolderFailed(Exception):
    """A stage of the holder's start went wrong. ``step``: enum ns_holder_step; ``errno``: the kernel's answer."""

    def __init__(self, step: int, errno: int) -> None:
        super().__init__(step, errno)
        self.step = step
        self.errno = errno


class HolderLine:
    """The line to a holder that is starting. When it is closed before the end, the holder goes."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line

    def await_step(self, step: int) -> int:
        """The holder's pid when it says that it got there. Raises HolderFailed, HostError."""
        try:
            data = self._line.recv(_WORD.size)
        except TimeoutError:
            data = b""
        if len(data) != _WORD.size:
            raise HostError(f"cannot hold the user's namespaces: {PROGRAM.name} ended without a word")
        said, error, pid = _WORD.unpack(data)
        if error != 0:
            raise HolderFailed(said, error)
        if said != step:
            raise InternalError(f"the holder says {said} instead of {step}")
        return int(pid)

    def go_on(self) -> None:
        """Its maps are written."""
        self._line.send(b"\n")


@contextmanager
def spawn(what: str, pin: str) -> Iterator[HolderLine]:
    """A holder that makes namespaces (``what`` "make") or holds those of this process ("join"). ``pin``: the file on
    which its network namespace is pinned. It is nobody's child here. Raises HostError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.settimeout(_PATIENCE)
        try:
            starter = os.posix_spawn(
                str(PROGRAM),
                ["nsrun-holder", what, pin],
                {},
                file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0)],
            )
        except OSError as error:
            raise HostError(f'cannot run "{PROGRAM}": {os.strerror(error.errno or 0).lower()}') from error
        theirs.close()
        os.waitpid(starter, 0)
        yield HolderLine(ours)
