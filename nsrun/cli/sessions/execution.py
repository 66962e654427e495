"""What ``nsrun exec`` does: a command in a container that runs, asked of the pod's own shim.

The plan is completed here, streams go by descriptor, and the exit code is the command's. Nothing that takes long to
load is imported before it is needed: of a command like ``true``, loading is most of what there is to wait for."""

from __future__ import annotations

import errno
import os

from nsrun.cli.outcome import Ended, complain, say
from nsrun.cli.sessions.runs import Run, find_run
from nsrun.cli.sessions.shims import shim_of
from nsrun.cli.sessions.streaming import command_ends, first_word, is_terminal, stream, terminal_size, told_signals
from nsrun.errors import NsrunError, describe_errno
from nsrun.runtime.exectemplate import complete, read_template
from nsrun.runtime.travel import sealed
from nsrun.support.fds import Fd
from nsrun.support.native import abi
from nsrun.support.relay import Flow

TYPE_CHECKING = False  # `typing` is dear
if TYPE_CHECKING:
    from collections.abc import Callable

    from nsrun.model.running import ContainerId
    from nsrun.runtime.shimsocket import PlainShim, Said
    from nsrun.support.layout import Layout
    from nsrun.support.runpaths import RunPaths

__all__ = ["execute"]

EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND = 126, 127
"""As shells have it."""


def execute(
    paths: RunPaths,
    layout: Callable[[], Layout],
    pod: str,
    words: tuple[str, ...],
    *,
    stdin: bool = False,
    tty: bool = False,
    container: str | None = None,
    namespace: str | None = None,
) -> int:
    """Runs the command to its end; its exit code. ``layout``: all paths, for what is seldom needed. Raises NsrunError,
    Ended."""
    if tty and stdin and not is_terminal(0):
        say("nsrun: cannot give the command a terminal: standard input is none")
        tty = False
    run = find_run(paths, pod, namespace, container)
    with shim_of(paths, run) as shim:
        return _Session(paths, layout, run, words, terminal=tty).run(shim, stdin=stdin)


class _Session:
    """One command of a run."""

    def __init__(
        self, paths: RunPaths, layout: Callable[[], Layout], run: Run, words: tuple[str, ...], *, terminal: bool
    ) -> None:
        self._paths = paths
        self._layout = layout
        self._run = run
        self._words = words
        self._terminal = terminal

    def run(self, shim: PlainShim, *, stdin: bool) -> int:
        """Its exit code. Raises NsrunError, Ended."""
        with self._plan() as plan:
            return (self._with_terminal if self._terminal else self._with_pipes)(shim, plan, stdin=stdin)

    def _plan(self) -> Fd:
        words, run, terminal = self._words, self._run, self._terminal
        if not words[0] or any("\0" in word for word in words):
            raise NsrunError("cannot run an empty command")
        try:
            template = read_template(self._paths.run(run.uid, run.container, run.attempt), terminal=terminal)
            if template is None:
                template = self._compile()
            return sealed("nsrun-plan", complete(template, words, terminal_size() if terminal else None))
        except FileNotFoundError as error:
            raise self._cannot("it does not run") from error
        except OSError as error:
            raise self._cannot(describe_errno(error.errno or 0)) from error
        except (ValueError, KeyError) as error:
            raise self._cannot("its configuration cannot be read") from error

    def _cannot(self, cause: str) -> NsrunError:
        return NsrunError(f'cannot run a command in container "{self._run.container}": {cause}')

    def _compile(self) -> bytes:
        """The first command of a run."""
        from nsrun.runtime.commandplan import compile_template

        return compile_template(self._layout(), self._id(), terminal=self._terminal)

    def _id(self) -> ContainerId:
        from nsrun.model.running import ContainerId

        return ContainerId(uid=self._run.uid, name=self._run.container, attempt=self._run.attempt)

    def _with_pipes(self, shim: PlainShim, plan: Fd, *, stdin: bool) -> int:
        ends = command_ends(stdin=stdin)
        numbers = [plan.fileno(), *(fd.fileno() for fd in ends.theirs)]
        with told_signals() as told:
            serial = shim.ask(abi.NS_REQ_EXEC, self._run.key, flags=abi.NS_EXEC_STDIO, fds=numbers)
            ends.close_theirs()
            self._check_started(first_word(shim, serial, told, pass_on=True))
            return stream(shim, serial, ends.flows, told=told, pass_on=True) or 0

    def _with_terminal(self, shim: PlainShim, plan: Fd, *, stdin: bool) -> int:
        with told_signals(resize=True) as told:
            serial = shim.ask(abi.NS_REQ_EXEC, self._run.key, flags=abi.NS_EXEC_TERMINAL, fds=[plan.fileno()])
            said = first_word(shim, serial, told)
            self._check_started(said)
            (master,) = said.fds
            flows = [Flow(1, Fd(os.dup(master.fileno())))]
            if stdin:
                flows.append(Flow(0, Fd(os.dup(master.fileno())), input=True, typed=True))
            raw = 0 if stdin else None
            return stream(shim, serial, flows, told=told, pass_on=False, raw=raw, master=master) or 0

    def _check_started(self, said: Said) -> None:
        """Raises NsrunError, or Ended as a shell does that cannot execute what it was told."""
        if said.message.kind == abi.NS_MSG_STARTED:
            return
        from nsrun.runtime.commandplan import explained

        failure = said.message.failure
        error = explained(self._layout(), self._id(), self._words, failure, terminal=self._terminal)
        if failure is None or failure.step != abi.NS_OP_EXEC:
            raise error
        complain(error)
        raise Ended(EXIT_NOT_FOUND if failure.errno == errno.ENOENT else EXIT_NOT_EXECUTABLE)
