"""The two ways in which ``nsrun run`` lets somebody type to its container.

With a terminal, both directions go through an attachment. Without one only the input does: what the container writes is
read from its log, which waits for whoever reads slowly, as an attachment cannot."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from nsrun.cli.sessions.attach import attach, parse_keys
from nsrun.cli.sessions.runs import Run
from nsrun.cli.sessions.shims import shim_of
from nsrun.errors import NsrunError
from nsrun.support.fds import Fd
from nsrun.support.layout import Layout
from nsrun.support.logreader import LogReader
from nsrun.support.logtext import LogText
from nsrun.support.native import abi

__all__ = ["Missed", "fed", "shown_writer", "terminal"]

_KEYS = "ctrl-p,ctrl-q"
_CHUNK = 1 << 16


class Missed(NsrunError):
    """The container has ended already: its log has all there is to see."""


def terminal(layout: Layout, run: Run, log: Path, *, stdin: bool) -> int | None:
    """A container with a terminal, from its first byte to its end: its exit code, None when it was left running.

    Raises NsrunError; Missed when nothing was shown."""
    seen = False

    def begun(_terminal: bool) -> None:
        nonlocal seen
        seen = True
        _replay(log)

    try:
        with shim_of(layout.run_paths, run) as shim:
            return attach(shim, run, stdin=stdin, keys=parse_keys(_KEYS), begun=begun)
    except NsrunError as error:
        raise error if seen else Missed(error.message) from None


def shown_writer(output: BinaryIO) -> Callable[[memoryview], object]:
    """Writes what went through a container's terminal. One of ours that is not raw adds what that one added already."""
    if not output.isatty():
        return output.write
    return lambda text: output.write(bytes(text).replace(b"\r\n", b"\n"))


def _replay(log: Path) -> None:
    """What was written before we were there; an attachment begins where the log ends."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f999Z").encode()
    text, write = LogText(), shown_writer(sys.stdout.buffer)
    with LogReader(log) as reader:
        while records := reader.read():
            done = 0
            for count, piece in text.render(records, until=now):
                done += count
                write(piece)
            if done < len(records):
                break
    sys.stdout.buffer.flush()


@contextmanager
def fed(layout: Layout, run: Run) -> Iterator[None]:
    """While it lasts, our standard input is the container's; its end ends that. A container that has ended already gets
    nothing. Raises NsrunError."""
    with shim_of(layout.run_paths, run) as shim:
        said = shim.hear(shim.ask(abi.NS_REQ_ATTACH, run.key, flags=abi.NS_STREAM_IN))
        # Signals are the business of who waits for them: the thread is born with all of them blocked.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        for end in said.fds:
            threading.Thread(target=_pour, args=(end,), daemon=True).start()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        yield


def _pour(end: Fd) -> None:
    with end:
        try:
            while data := os.read(0, _CHUNK):
                _write_all(end.fileno(), data)
        except OSError:
            return  # nobody reads any more, or there is no input at all


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            select.select((), (fd,), ())
