"""Following logs until the runs that write them have ended, without a question to the daemon.

The kernel rings when something happens in their directories (dnotify: of inotify's instances a user has 128, and
``nsrun logs -f`` is run more often than that); the shim's record tells that a run has ended, and that the file is open
for writing no more, that its last line is written."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Self

from nsrun.cli.logs.find import Run
from nsrun.cli.logs.text import LogSource, drain

__all__ = ["Bell", "Followed", "follow_all"]

_EVENTS = fcntl.DN_MODIFY | fcntl.DN_CREATE | fcntl.DN_DELETE | fcntl.DN_RENAME | fcntl.DN_MULTISHOT
_SELDOM = 5.0
"""Seconds between two looks when nothing happens: whether the run is forgotten, whether anybody still reads."""
_SOON = 0.02
"""… while the last lines of a run may come: nothing rings when a file is closed."""
_REST = 0.01
"""… after it has rung: of a thousand lines a second not each is worth a look of two hundred followers."""
_DEAF = 0.1
"""… where nothing rings at all."""
_LATEST = 2.0
"""Seconds after its end within which the last lines of a run are written, where the kernel does not tell: the shim
gives them a quarter of one."""


class Bell:
    """Rings when something happens in one of the directories."""

    def __init__(self, directories: Iterable[Path]) -> None:
        self._directories = tuple(dict.fromkeys(directories))
        self._held = contextlib.ExitStack()
        self.rings = True

    def __enter__(self) -> Self:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO})
        self._held.callback(self._stop, before)
        for directory in self._directories:
            try:
                fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                self._held.callback(os.close, fd)
                fcntl.fcntl(fd, fcntl.F_NOTIFY, _EVENTS)
            except FileNotFoundError:
                continue  # the pod is gone: its files are still open
            except OSError:
                self.rings = False
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def wait(self, seconds: float) -> None:
        """Returns when it has rung since the last time, or when the time is over."""
        if self.rings:
            if signal.sigtimedwait({signal.SIGIO}, seconds) is not None:
                time.sleep(_REST)
        else:
            time.sleep(min(seconds, _DEAF))

    @staticmethod
    def _stop(mask: set[int | signal.Signals]) -> None:
        """What rang last must not be heard by anybody else: unread, it would end the process."""
        while signal.sigtimedwait({signal.SIGIO}, 0) is not None:
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class Followed:
    """A log that is followed, and the run that writes it."""

    def __init__(self, run: Run, source: LogSource) -> None:
        self._run = run
        self.source = source

    def directories(self) -> Iterator[Path]:
        """In which something happens when it goes on or ends."""
        yield self._run.log.parent
        yield self._run.record.parent

    def ending(self) -> bool:
        """The run has ended; its last lines may still come."""
        return self._run.record.exists() or not self._run.state.exists()

    def over(self) -> bool:
        """It has ended, and every line is written."""
        if not self.ending():
            return False
        try:
            return not _is_written_to(self.source.reader.fileno())
        except OSError:
            return self._age() > _LATEST

    def _age(self) -> float:
        """Seconds since the end; endless when nobody knows."""
        try:
            return time.time() - self._run.record.stat().st_mtime
        except OSError:
            return float("inf")


def _is_written_to(fd: int) -> bool:
    """Whether anybody has the file open for writing: then there is no read lease of it (fcntl(2)). Raises OSError where
    there are no leases."""
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def follow_all(runs: Iterable[Followed], write: Callable[[memoryview], object], flush: Callable[[], object]) -> None:
    """Writes what the logs hold and what comes, until every run has ended or nobody reads any more."""
    alive = list(runs)
    with Bell(directory for run in alive for directory in run.directories()) as bell:
        while True:
            over = [run.over() for run in alive]  # asked before the last look, so that nothing comes after it
            drain([run.source for run in alive], write)
            flush()
            alive = [run for run, done in zip(alive, over, strict=True) if not done]
            if not alive or _nobody_reads():
                return
            bell.wait(_SOON if any(run.ending() for run in alive) else _SELDOM)


def _nobody_reads() -> bool:
    """Whether the reader of a pipe that is standard output has gone."""
    poll = select.poll()
    poll.register(1, 0)
    return any(event & (select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0))
