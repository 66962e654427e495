"""Runs nsrun in a process that dies, by SIGKILL, right before one of its steps that change the disk below a directory.

The processes are copies of this one, which has loaded what they need.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import jsonschema  # noqa: F401

import nsrun.assembly
import nsrun.cli.main
import nsrun.images.registry  # noqa: F401
from nsrun.cli.program import run

__all__ = ["count_steps", "dies_before"]

# https://docs.python.org/3/library/audit_events.html; fsync has none.
_CHANGES = frozenset({"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"})


def count_steps(argv: Sequence[str], below: Path) -> int:
    """Runs ``nsrun argv`` to its end; how many steps it takes that change something below ``below``."""
    reading, writing = os.pipe()
    errors = os.memfd_create("errors")
    pid = os.fork()
    if pid == 0:
        steps = _Steps(below, kill_before=0)
        code = _run(argv, steps, errors)
        os.write(writing, str(steps.count).encode())
        os._exit(code)
    os.close(writing)
    with open(reading) as said:
        count = said.read()
    _, status = os.waitpid(pid, 0)
    with open(errors) as told:
        told.seek(0)
        assert status == 0, f"nsrun {' '.join(argv)} ended with {status}: {told.read()}"
    return int(count)


def dies_before(step: int, argv: Sequence[str], below: Path) -> bool:
    """Runs it until it is about to take this step. False when it ended before, as its threads had another order."""
    pid = os.fork()
    if pid == 0:
        os._exit(_run(argv, _Steps(below, kill_before=step)))
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


class _Steps:
    """An audit hook: hears of every step, in whichever thread."""

    def __init__(self, below: Path, *, kill_before: int) -> None:
        self._below = str(below)
        self._kill_before = kill_before
        self.count = 0

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            _, _, flags = arguments
            if not (isinstance(flags, int) and flags & os.O_CREAT):
                return
        elif event not in _CHANGES:
            return
        if str(arguments[0]).startswith(self._below):
            self.step()

    def step(self) -> None:
        self.count += 1
        if self.count == self._kill_before:
            os.kill(os.getpid(), signal.SIGKILL)


def _run(argv: Sequence[str], steps: _Steps, errors: int | None = None) -> int:
    """``errors``: where standard error goes."""
    sink = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):
        os.dup2(sink, standard)
    os.dup2(sink if errors is None else errors, 2)
    sys.stdin, sys.stdout = (open(os.devnull, mode) for mode in ("r", "w"))  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    sync = os.fsync

    def fsync(fd: int) -> None:
        steps.step()
        sync(fd)

    os.fsync = fsync  # type: ignore[assignment]
    sys.addaudithook(steps)
    try:
        return run(list(argv))
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 1
    except BaseException:
        traceback.print_exc()
        return 70
