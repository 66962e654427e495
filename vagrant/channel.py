"""The host's end of the line to the machine's agent (``guest.py``)."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from vagrant.guest import HEADER, MAGIC, Kind, frame

__all__ = ["Channel", "ChannelError", "Greeting", "Job"]

Sink = Callable[[bytes], object]

_CHUNK = 1 << 16
_HELLO_EVERY = 0.25
_END_SECONDS = 60.0


class ChannelError(Exception):
    """The machine does not answer, or has gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """Who answers. ``uptime``: seconds since this boot of the machine."""

    boot_id: str
    kernel: str
    uptime: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A command: by whom, where, with what. ``stdin`` is all it gets to read. ``seconds``: it is killed after that.
    ``tty``: on a terminal, of ``size`` (rows, columns)."""

    argv: Sequence[str]
    user: str = "root"
    cwd: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: bytes = b""
    tty: bool = False
    size: tuple[int, int] | None = None
    seconds: float | None = None


class Channel:
    """Frames over a connected socket; one job at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = b""
        self._write = threading.Lock()

    def greet(self, seconds: float, *, not_boot: str = "", alive: Callable[[], None] = lambda: None) -> Greeting:
        """Waits until the machine answers (with ``not_boot``: from another boot than that one), and sets its clock.
        ``alive`` is asked now and then and raises when waiting is vain. Raises ChannelError."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._send(Kind.HELLO, json.dumps({"time": time.time()}).encode())
            try:
                kind, payload = self._receive(min(_HELLO_EVERY, left))
            except TimeoutError:
                alive()
                continue
            if kind is Kind.HELLO:
                greeting = Greeting(**json.loads(payload))
                if greeting.boot_id != not_boot:
                    return greeting
        raise ChannelError(f"cannot reach the machine: no answer within {seconds:g} s")

    def run(self, job: Job, *, out: Sink, err: Sink) -> int:
        """Runs a command, hands on what it writes, returns its exit code. Raises ChannelError, and TimeoutError when
        it was killed for taking too long."""
        deadline = None if job.seconds is None else time.monotonic() + job.seconds
        request = {"argv": list(job.argv), "user": job.user, "cwd": job.cwd, "env": dict(job.env), "tty": job.tty}
        self._send(Kind.JOB, json.dumps(request).encode())
        if job.size is not None:
            self.resize(*job.size)
        if not job.tty:
            for start in range(0, len(job.stdin), _CHUNK):
                self._send(Kind.STDIN, job.stdin[start : start + _CHUNK])
            self._send(Kind.STDIN, b"")
        try:
            while True:
                kind, payload = self._receive(None if deadline is None else max(0.0, deadline - time.monotonic()))
                if kind is Kind.OUT:
                    out(payload)
                elif kind is Kind.ERR:
                    err(payload)
                elif kind is Kind.EXIT:
                    return int(payload)
        except TimeoutError:
            self._end()
            raise TimeoutError(f"{' '.join(job.argv)[:200]}: not done within {job.seconds:g} s") from None
        except (KeyboardInterrupt, SystemExit):
            self._end()
            raise

    def _end(self) -> None:
        """Kills the job and waits for word of its end: then another can be run."""
        self.signal(9)
        deadline = time.monotonic() + _END_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            with suppress(TimeoutError):
                if self._receive(left)[0] is Kind.EXIT:
                    return

    def type(self, data: bytes) -> None:
        """Hands on what a person typed to the job that runs. May be called from another thread."""
        self._send(Kind.STDIN, data)

    def resize(self, rows: int, columns: int) -> None:
        """Tells the job that runs how large its terminal is. May be called from another thread."""
        self._send(Kind.SIZE, f"{rows} {columns}".encode())

    def signal(self, number: int) -> None:
        """Sends a signal to the job that runs, and its process group."""
        self._send(Kind.SIGNAL, str(number).encode())

    def _send(self, kind: Kind, payload: bytes) -> None:
        with self._write:
            try:
                self._socket.settimeout(None)
                self._socket.sendall(frame(kind, payload))
            except OSError as error:
                raise ChannelError(f"cannot reach the machine: {error}") from error

    def _receive(self, seconds: float | None) -> tuple[Kind, bytes]:
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            start = self._buffer.find(MAGIC)
            self._buffer = self._buffer[start:] if start >= 0 else self._buffer[-len(MAGIC) + 1 :]
            if start >= 0 and len(self._buffer) >= HEADER.size:
                _, kind, length = HEADER.unpack_from(self._buffer)
                end = HEADER.size + length
                if len(self._buffer) >= end:
                    payload, self._buffer = self._buffer[HEADER.size : end], self._buffer[end:]
                    return Kind(kind), payload
            self._fill(deadline)

    def _fill(self, deadline: float | None) -> None:
        try:
            self._socket.settimeout(None if deadline is None else max(0.001, deadline - time.monotonic()))
            data = self._socket.recv(1 << 20)
        except TimeoutError:
            raise
        except OSError as error:
            raise ChannelError(f"cannot reach the machine: {error}") from error
        if not data:
            raise ChannelError("cannot reach the machine: it has ended")
        self._buffer += data
