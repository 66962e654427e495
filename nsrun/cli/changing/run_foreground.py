"""What ``nsrun run`` does once its pod is asked for: waits for it, shows what it writes, passes signals and its exit
code on, and takes it back when that was wanted."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import BinaryIO

import click

from nsrun.cli.changing.rm import wait_until_gone
from nsrun.cli.changing.run_pod import RunRequest
from nsrun.cli.documents import ContainerRow, Document, at, containers, text_at
from nsrun.cli.logs.find import Run as LogRun
from nsrun.cli.logs.find import run_of
from nsrun.cli.logs.follow import Bell, Followed
from nsrun.cli.logs.text import LogSource, drain
from nsrun.cli.lookup import name_of, uid_of
from nsrun.cli.options import Context
from nsrun.cli.sessions.runs import Run
from nsrun.errors import ApiError, NsrunError
from nsrun.support.logreader import LogReader
from nsrun.support.logtext import STDERR, STDOUT, LogText

__all__ = ["EXIT_CANNOT", "run_foreground"]

EXIT_CANNOT = 125
"""Docker's: there is no container whose exit code could be passed on."""
EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND = 126, 127

HOPELESS = frozenset(
    {
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ErrImagePull",
        "ImageInspectError",
        "ImagePullBackOff",
        "InvalidImageName",
    }
)
"""What a container waits for that a person would not."""

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
PATIENT = 2
"""How many of the signals that end a program are passed on; one more ends us."""

_LOOK_AGAIN = 0.03
_TELL_AFTER = 1.0
_SOON, _SELDOM = 0.02, 5.0
_REMOVAL = 30.0


class _Hopeless(NsrunError):
    """The container will not run."""


def run_foreground(context: Context, pod: object, asked: RunRequest) -> int:
    """The exit code. ``pod``: as the daemon accepted it. Raises NsrunError."""
    assert isinstance(pod, dict)
    foreground = _Foreground(context, pod)
    keep = False
    try:
        with foreground.signals():
            foreground.wait_for_start()
        code = foreground.attend(asked)
        keep = not asked.remove or code is None
        if code is None:
            click.echo(f'nsrun: pod "{asked.name}" runs on; nsrun attach -it {asked.name} returns to it', err=True)
        return code or 0
    except _Hopeless as error:
        click.echo(f"nsrun: {error.message}", err=True)
        return foreground.failed_code(error.message)
    except KeyboardInterrupt:
        keep = foreground.started and not asked.remove
        raise
    finally:
        if not keep:
            foreground.take_back()


class _Foreground:
    """One pod, from the moment it was asked for. ``started``: whether its container ran."""

    def __init__(self, context: Context, pod: Document) -> None:
        self.started = False
        self._context = context
        self._name = name_of(pod)
        self._uid = uid_of(pod)
        self._grace = float(text_at(pod, "spec", "terminationGracePeriodSeconds") or 0)
        self._row: ContainerRow = containers([pod])[0]
        self._seen = False
        self._ending = 0

    # --- signals

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """As docker has it: they are the container's; until there is one, and when it does not listen, ours."""
        before = {number: signal.signal(number, self._forward) for number in FORWARDED}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _forward(self, number: int, _frame: FrameType | None) -> None:
        self._ending += number in (signal.SIGINT, signal.SIGTERM)
        if not self.started or self._ending > PATIENT:
            raise KeyboardInterrupt
        with contextlib.suppress(ApiError):
            self._context.api.signal_pod(self._name.namespace, self._name.name, number)

    # --- waiting

    def wait_for_start(self) -> None:
        """Returns when the container runs, or ran. What takes longer than a second is told. Raises _Hopeless."""
        tell_at, told = time.monotonic() + _TELL_AFTER, ""
        while not self._look():
            if time.monotonic() > tell_at:
                tell_at = time.monotonic() + _TELL_AFTER
                what = self._doing()
                if what != told:
                    click.echo(f"nsrun: {what}", err=True)
                told = what
            time.sleep(_LOOK_AGAIN)
        self.started = True

    def _doing(self) -> str:
        """What happened last on the way there."""
        found = [event for event in self._context.api.events() if text_at(event, "involvedObject", "uid") == self._uid]
        if found:
            return text_at(found[-1], "message")
        return f'waiting for pod "{self._name}" to be made'

    def _look(self) -> bool:
        """Whether the container's first run is there. Raises _Hopeless."""
        pod = self._pod()
        if pod is None:
            return False
        status = self._row.status
        if self._row.state == "running" or self._ended() is not None:
            return True
        reason = text_at(status, "state", "waiting", "reason")
        if reason in HOPELESS:
            raise _Hopeless(text_at(status, "state", "waiting", "message") or reason)
        if text_at(pod, "status", "phase") == "Failed":
            raise _Hopeless(text_at(pod, "status", "message") or text_at(pod, "status", "reason"))
        return False

    def _pod(self) -> Document | None:
        """The pod as it is now, and its container with it. None before it is there. Raises NsrunError when it was
        taken away."""
        pod = self._context.api.pod(self._name.namespace, self._name.name)
        if pod is not None and uid_of(pod) == self._uid:
            self._row, self._seen = containers([pod])[0], True
            return pod
        if self._seen:
            raise NsrunError(f'cannot tell how pod "{self._name}" ended: it was removed')
        return None

    def _ended(self) -> Document | None:
        """How the last run that ended did."""
        for state in ("state", "lastState"):
            found = at(self._row.status, state, "terminated")
            if isinstance(found, dict):
                return found
        return None

    # --- showing

    def attend(self, asked: RunRequest) -> int | None:
        """Until the container's end: its exit code, None when it was left running. Raises _Hopeless."""
        if asked.terminal:
            from nsrun.cli.changing.run_interactive import Missed, terminal

            with contextlib.suppress(Missed):
                return terminal(self._context.layout, self._run(), self._log_run().log, stdin=asked.stdin)
        with self.signals(), contextlib.ExitStack() as held:
            if asked.stdin and not asked.terminal:
                from nsrun.cli.changing.run_interactive import fed

                with contextlib.suppress(NsrunError):  # it has ended already, and reads nothing
                    held.enter_context(fed(self._context.layout, self._run()))
            self._show(asked)
            return self.exit_code()

    def _run(self) -> Run:
        """The first, as its shim knows it."""
        return Run(self._uid, text_at(self._row.spec, "name"), 0)

    def _log_run(self) -> LogRun:
        layout = replace(self._context.layout, log_dir=Path(str(self._context.api.info()["logDir"])))
        return run_of(replace(self._row, status={**self._row.status, "restartCount": 0}), layout, previous=False)

    def _show(self, asked: RunRequest) -> None:
        """Writes what the container writes, each stream to its own, until its run has ended."""
        run, write = self._log_run(), _as_it_is
        if asked.terminal:
            from nsrun.cli.changing.run_interactive import shown_writer

            write = shown_writer
        with contextlib.ExitStack() as opened:
            logs = []
            for stream, output in ((STDOUT, sys.stdout.buffer), (STDERR, sys.stderr.buffer)):
                try:
                    reader = opened.enter_context(LogReader(run.log))
                except FileNotFoundError:
                    return  # it could not even be started
                logs.append((Followed(run, LogSource(reader, LogText(streams=stream))), output))
            followed = logs[0][0]
            bell = opened.enter_context(Bell(followed.directories()))
            while True:
                over = followed.over()  # asked before the last look, so that nothing comes after it
                for log, output in logs:
                    drain([log.source], write(output))
                    output.flush()
                if over:
                    return
                bell.wait(_SOON if followed.ending() else _SELDOM)

    # --- ending

    def exit_code(self) -> int:
        """Of the run that was shown. Raises _Hopeless when it could not be started."""
        while (ended := self._ended()) is None:
            self._pod()
            if self._ended() is None:
                time.sleep(_LOOK_AGAIN)
        if text_at(ended, "reason") in ("StartError", "ContainerCannotRun"):
            raise _Hopeless(text_at(ended, "message"))
        return int(text_at(ended, "exitCode") or 0)

    def failed_code(self, message: str) -> int:
        """Docker's codes for what cannot be run."""
        if not self.started:
            return EXIT_CANNOT
        if "(ENOENT)" in message:
            return EXIT_NOT_FOUND
        return EXIT_NOT_EXECUTABLE if "(EACCES)" in message or "(ENOEXEC)" in message else EXIT_CANNOT

    def take_back(self) -> None:
        """The pod goes, and is waited for: its name is free again."""
        with contextlib.suppress(ApiError):
            # Whoever is impatient may not wait with us, but this is said.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
            try:
                self._context.api.remove_pod(self._name.namespace, self._name.name)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            wait_until_gone(self._context, self._name, self._grace + _REMOVAL, uid=self._uid)


def _as_it_is(output: BinaryIO) -> Callable[[memoryview], object]:
    return output.write
