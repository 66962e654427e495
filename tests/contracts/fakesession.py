"""A session that is only imagined on the far side: its descriptors are real pipes, or a real terminal, and a program of
the tests has the other end of them."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import struct
import termios
from collections.abc import Callable

from nsrun.errors import RuntimeFailure
from nsrun.model.session import SessionRequest, TerminalSize
from nsrun.support.fds import Fd
from tests.contracts.virtualclock import VirtualClock

__all__ = ["FakeSession"]


class FakeSession:
    """``text``: what the program does, in the words of a shell: ``echo WORD``, ``echo WORD >&2``, ``cat``, ``sleep N``,
    ``exit N``, each at most once and in this order. ``ends``: it is a command, which ends with its words, and not a
    container. Made inside a running event loop.

    Invariant: ``_far`` holds the program's ends until it has ended."""

    def __init__(self, text: str, request: SessionRequest, clock: VirtualClock, *, ends: bool, terminal: bool) -> None:
        self.stdin: Fd | None = None
        self.stdout: Fd | None = None
        self.stderr: Fd | None = None
        self.signals: list[int] = []
        self.closed = False
        self._master: Fd | None = None
        self._far: dict[int, Fd] = {}
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._clock = clock
        self._ends = ends
        if terminal:
            self._open_terminal(request)
        else:
            self._open_pipes(request)
        for fd in (self.stdin, self.stdout, self.stderr, *self._far.values()):
            if fd is not None:
                os.set_blocking(fd.fileno(), False)
        self._program = asyncio.get_running_loop().create_task(self._live(text))

    def _open_terminal(self, request: SessionRequest) -> None:
        master, slave = os.openpty()
        self._master = Fd(master)
        self._far = {number: Fd(os.dup(slave)) for number in range(3)}
        os.close(slave)
        self.stdin = Fd(os.dup(master)) if request.stdin else None
        self.stdout = Fd(os.dup(master)) if request.stdout else None
        if request.size is not None:
            self._set_size(request.size)

    def _open_pipes(self, request: SessionRequest) -> None:
        if request.stdin:
            theirs, ours = os.pipe()
            self.stdin, self._far[0] = Fd(ours), Fd(theirs)
        if request.stdout:
            ours, theirs = os.pipe()
            self.stdout, self._far[1] = Fd(ours), Fd(theirs)
        if request.stderr:
            ours, theirs = os.pipe()
            self.stderr, self._far[2] = Fd(ours), Fd(theirs)

    # --- our end

    def close_stdin(self) -> None:
        if self.stdin is None:
            return
        if self._master is not None:
            os.write(self.stdin.fileno(), b"\x04")
        else:
            self.stdin.close()

    async def resize(self, size: TerminalSize) -> None:
        if self._master is not None and not self._ended.done():
            self._set_size(size)

    def _set_size(self, size: TerminalSize) -> None:
        assert self._master is not None
        fcntl.ioctl(self._master.fileno(), termios.TIOCSWINSZ, struct.pack("=4H", size.rows, size.columns, 0, 0))

    async def signal(self, signal: int) -> None:
        if not self._ended.done():
            self.signals.append(signal)
        if self._ends:
            self.end(128 + signal)

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)

    async def close(self) -> None:
        if self._ends:
            self.end(137)
        self._program.cancel()
        self._let_go()
        self.closed = True
        for fd in (self.stdin, self.stdout, self.stderr, self._master):
            if fd is not None:
                fd.close()

    # --- the far end

    def end(self, code: int) -> None:
        """The program ends."""
        if not self._ended.done():
            self._ended.set_result(code)
            self._program.cancel()
            self._let_go()

    def lose(self) -> None:
        """The shim dies."""
        if not self._ended.done():
            self._ended.set_exception(RuntimeFailure("the pod's shim is gone"))
            self._ended.exception()
            self._program.cancel()
            self._let_go()

    def _let_go(self) -> None:
        for fd in self._far.values():
            fd.close()

    async def _live(self, text: str) -> None:
        said = re.search(r"echo ([^\s;]+)( >&2)?", text)
        slept, ended = re.search(r"sleep (\d+)", text), re.search(r"exit (\d+)", text)
        if said:
            await self._write(2 if said[2] else 1, f"{said[1]}\n".encode())
        if re.search(r"\bcat\b", text):
            await self._copy()
        if slept:
            await self._clock.sleep(float(slept[1]))
        if self._ends:
            self.end(int(ended[1]) if ended else 0)

    async def _copy(self) -> None:
        while 0 in self._far and (data := await self._read()):
            await self._write(1, data)

    async def _read(self) -> bytes:
        fd, loop = self._far[0].fileno(), asyncio.get_running_loop()
        await _ready(fd, loop.add_reader, loop.remove_reader)
        return os.read(fd, 65536)

    async def _write(self, number: int, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        while number in self._far and data:
            fd = self._far[number].fileno()
            try:
                data = data[os.write(fd, data) :]
            except BlockingIOError:
                await _ready(fd, loop.add_writer, loop.remove_writer)
            except BrokenPipeError:
                self.end(141)


async def _ready(fd: int, watch: Callable[[int, Callable[[], None]], object], unwatch: Callable[[int], object]) -> None:
    ready = asyncio.Event()
    watch(fd, ready.set)
    try:
        await ready.wait()
    finally:
        unwatch(fd)
