"""Runs in the machine: carries out the jobs that arrive on a virtio-serial port, one after the other.

A frame is ``NSVM``, one byte that says what it is, four bytes of length, and that many bytes. ``channel.py`` is the
other end and imports the constants from here; the machine holds this file alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import pwd
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from enum import IntEnum

__all__ = ["HEADER", "MAGIC", "PORT", "Kind", "frame", "serve"]

PORT = "/dev/virtio-ports/nsrun"
MAGIC = b"NSVM"
HEADER = struct.Struct(">4sBI")

# How long a finished job's pipes may stay open: something it left running may hold them for ever.
_LINGER_SECONDS = 1.0

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Kind(IntEnum):
    """What a frame carries. HELLO and JOB carry JSON; STDIN without bytes is its end; SIGNAL and EXIT a number; SIZE
    the rows and columns of the terminal."""

    HELLO = 1
    JOB = 2
    STDIN = 3
    SIGNAL = 4
    OUT = 5
    ERR = 6
    EXIT = 7
    SIZE = 8


def frame(kind: Kind, payload: bytes) -> bytes:
    """One frame, ready to be written."""
    return HEADER.pack(MAGIC, kind, len(payload)) + payload


class Port:
    """The machine's end of the line."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()

    def send(self, kind: Kind, payload: bytes) -> None:
        with self._lock:
            rest = memoryview(frame(kind, payload))
            while rest:
                rest = rest[os.write(self._fd, rest) :]

    def frames(self) -> Iterator[tuple[Kind, bytes]]:
        """Every frame that arrives, for ever; bytes that belong to none (half a frame, from before a reset) are
        skipped."""
        buffer = b""
        while True:
            start = buffer.find(MAGIC)
            buffer = buffer[start:] if start >= 0 else buffer[-len(MAGIC) + 1 :]
            if start >= 0 and len(buffer) >= HEADER.size:
                _, kind, length = HEADER.unpack_from(buffer)
                if len(buffer) >= HEADER.size + length:
                    yield Kind(kind), buffer[HEADER.size : HEADER.size + length]
                    buffer = buffer[HEADER.size + length :]
                    continue
            data = os.read(self._fd, 65536)
            if not data:
                time.sleep(0.1)  # nobody is at the other end, and the driver has no way to wait for one
            buffer += data


class Job:
    """One command of the host's."""

    def __init__(self, port: Port, request: dict[str, object]) -> None:
        self._port = port
        self._terminal = bool(request.get("tty"))
        self._stdin = -1
        self._process = self._start(request)

    def _start(self, request: dict[str, object]) -> subprocess.Popen[bytes]:
        user = pwd.getpwnam(str(request.get("user") or "root"))
        given = request.get("env")
        environment = {
            "HOME": user.pw_dir,
            "LANG": "C.UTF-8",
            "LOGNAME": user.pw_name,
            "PATH": _PATH,
            "USER": user.pw_name,
            **(given if isinstance(given, dict) else {}),
        }
        words = request["argv"]
        assert isinstance(words, list)
        identity = {} if user.pw_uid == 0 else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        cwd = str(request.get("cwd") or user.pw_dir)
        start = self._start_on_terminal if self._terminal else self._start_on_pipes
        return start(words, {"env": environment, "cwd": cwd, **identity})

    def _start_on_terminal(self, words: list[str], options: dict[str, object]) -> subprocess.Popen[bytes]:
        master, slave = pty.openpty()
        self._stdin = master
        command = ["setsid", "--ctty", "--wait", *words]
        process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, **options)  # type: ignore[call-overload]
        os.close(slave)
        self._pumps = [self._pump(master, Kind.OUT)]
        return process  # type: ignore[no-any-return]

    def _start_on_pipes(self, words: list[str], options: dict[str, object]) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True, **options)  # type: ignore[call-overload]
        assert process.stdin
        assert process.stdout
        assert process.stderr
        self._stdin = os.dup(process.stdin.fileno())
        process.stdin.close()
        self._pumps = [self._pump(process.stdout.fileno(), Kind.OUT), self._pump(process.stderr.fileno(), Kind.ERR)]
        return process  # type: ignore[no-any-return]

    def _pump(self, fd: int, kind: Kind) -> threading.Thread:
        def run() -> None:
            with contextlib.suppress(OSError):  # EIO: the terminal's last process has ended
                while data := os.read(fd, 32768):
                    self._port.send(kind, data)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def watch(self) -> None:
        """Tells of the job's end."""
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        code = self._process.wait()
        for pump in self._pumps:
            pump.join(_LINGER_SECONDS)
        self._port.send(Kind.EXIT, str(code if code >= 0 else 128 - code).encode())

    def feed(self, data: bytes) -> None:
        if data:
            with contextlib.suppress(OSError):  # it does not read, or has ended
                os.write(self._stdin, data)
        elif not self._terminal and self._stdin >= 0:
            os.close(self._stdin)
            self._stdin = -1

    def resize(self, rows: int, columns: int) -> None:
        """The person's terminal is that large now; the kernel tells those who draw on it."""
        if self._terminal:
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._stdin, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def serve(port: Port) -> None:
    """Answers the host for ever."""
    job: Job | None = None
    for kind, payload in port.frames():
        if kind is Kind.HELLO:
            time.clock_settime(time.CLOCK_REALTIME, float(json.loads(payload)["time"]))
            port.send(Kind.HELLO, json.dumps(_about()).encode())
        elif kind is Kind.JOB:
            job = _begin(port, json.loads(payload))
        elif kind is Kind.STDIN and job is not None:
            job.feed(payload)
        elif kind is Kind.SIGNAL and job is not None:
            job.signal(int(payload))
        elif kind is Kind.SIZE and job is not None:
            job.resize(*map(int, payload.split()))


def _about() -> dict[str, object]:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return {"boot_id": file.read().strip(), "kernel": os.uname().release, "uptime": time.monotonic()}


def _begin(port: Port, request: dict[str, object]) -> Job | None:
    try:
        job = Job(port, request)
    except (OSError, KeyError) as error:
        port.send(Kind.ERR, f"cannot run {request.get('argv')}: {error}\n".encode())
        port.send(Kind.EXIT, b"127")
        return None
    job.watch()
    return job


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    serve(Port(os.open(sys.argv[1] if len(sys.argv) > 1 else PORT, os.O_RDWR)))
