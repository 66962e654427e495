"""One request over nsrun's own socket, and its answer: HTTP/1.0, in which the end of the answer is the end of the
connection. ``http.client`` would do, but to import it takes longer than to list all pods."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from nsrun.errors import ApiError

__all__ = ["Answer", "connect", "exchange"]

_MAX_LINE = 1 << 16
_MAX_LINES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer whose head was read. ``length``: of the body, None when nobody knows. ``body``: what comes after the
    head, as it comes."""

    status: int
    length: int | None
    body: BinaryIO

    def whole(self) -> bytes:
        """All of the body. Raises OSError; EOFError when the daemon ended in the middle of it."""
        content = self.body.read()
        if self.length is not None and len(content) < self.length:
            raise EOFError(f"it broke off after {len(content)} of {self.length} bytes")
        return content


@contextlib.contextmanager
def exchange(
    path: Path, method: str, target: str, *, body: bytes = b"", timeout: float | None = None
) -> Iterator[Answer]:
    """Asks the daemon that listens at ``path``; the connection is closed with the block. ``timeout``: seconds for each
    wait, None for ever.

    Raises OSError (TimeoutError) and EOFError, of which ``unreachable`` makes a sentence.
    """
    with connect(path, timeout=timeout) as connection:
        head = f"{method} {target} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode("ascii") + body)
        with connection.makefile("rb") as file:
            yield _answer(file)


def connect(path: Path, *, timeout: float | None = None) -> socket.socket:
    """Connects through the directory's fd, so that the path may be longer than sun_path's 108 bytes. Raises OSError."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        _limit_connect(connection, timeout)
        connection.connect(f"/proc/self/fd/{directory}/{path.name}")
        connection.settimeout(timeout)
    except BlockingIOError as error:
        connection.close()
        raise TimeoutError(*error.args) from error
    except OSError:
        connection.close()
        raise
    finally:
        os.close(directory)
    return connection


def _limit_connect(connection: socket.socket, timeout: float | None) -> None:
    """A socket with a timeout of Python's would not wait at all while many others are waiting to be accepted
    (unix(7): EAGAIN)."""
    if timeout is not None:
        seconds, part = divmod(timeout, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(seconds), int(part * 1e6)))


def _answer(file: BinaryIO) -> Answer:
    words = _line(file).split(b" ", 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise ApiError("cannot read the answer of nsrun: it is not HTTP")
    length = None
    for _ in range(_MAX_LINES):
        line = _line(file)
        if not line:
            return Answer(status=int(words[1]), length=length, body=file)
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    raise ApiError("cannot read the answer of nsrun: it has too many headers")


def _line(file: BinaryIO) -> bytes:
    line = file.readline(_MAX_LINE)
    if not line.endswith(b"\n"):
        raise EOFError("it broke off in the head of its answer")
    return line.rstrip(b"\r\n")
