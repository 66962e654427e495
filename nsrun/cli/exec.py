"""``nsrun exec``: a command in a container that runs, asked of the pod's own shim: a daemon is not needed.

The plan is compiled here, streams go by descriptor, and the exit code is the command's."""

from __future__ import annotations

import errno
import os

import click

from nsrun.cli.options import Context, flag, pass_context
from nsrun.cli.runs import Run, find_run
from nsrun.cli.shims import shim_of
from nsrun.cli.streaming import command_ends, first_word, is_terminal, stream, terminal_size, told_signals
from nsrun.errors import NsrunError, describe_errno
from nsrun.runtime.exectemplate import complete, read_template
from nsrun.runtime.shimsocket import PlainShim, Said
from nsrun.runtime.travel import sealed
from nsrun.support.fds import Fd
from nsrun.support.layout import Layout
from nsrun.support.native import abi
from nsrun.support.relay import Flow

__all__ = ["command"]

EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND = 126, 127
"""As shells have it."""


class _Exec(click.Command):
    """Flags come before the pod, as docker has them, or between the pod and ``--``, as kubectl does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        found, _, _ = self.make_parser(ctx).parse_args(list(args))
        words = found.get("words")
        behind = list(words) if isinstance(words, tuple) else []
        if behind and behind[0].startswith("-") and behind[0] != "--" and "--" in behind:
            end, before = behind.index("--"), len(args) - len(behind) - 1
            args = [*args[:before], *behind[:end], found["pod"], *behind[end:]]
        return super().parse_args(ctx, args)


@click.command("exec", cls=_Exec, context_settings={"allow_interspersed_args": False})
@flag("--stdin", "--interactive", "-i", is_flag=True, help="Pass standard input to the command.")
@flag("--tty", "-t", is_flag=True, help="Give the command a terminal.")
@flag("--container", "-c", help="Which container.  [default: the first]")
@flag("--namespace", "-n", help="The pod's namespace.")
@click.argument("pod")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[--] CMD...")
@pass_context
def command(
    context: Context,
    pod: str,
    words: tuple[str, ...],
    stdin: bool,
    tty: bool,
    container: str | None,
    namespace: str | None,
) -> None:
    """Run a command in a container of POD.

    \b
    nsrun exec web nginx -t              its output and its exit code
    nsrun exec -it web -c app -- sh      a shell with a terminal
    tar c . | nsrun exec -i web tar x    bytes through a pipe

    Exit codes: the command's, 128 + n when signal n ended it, 126 when it cannot be executed, 127 when it is not there,
    1 when there is no such pod or container.
    """
    words = words[1:] if words[:1] == ("--",) else words
    if not words:
        raise click.UsageError("there is no command")
    if tty and stdin and not is_terminal(0):
        click.echo("nsrun: cannot give the command a terminal: standard input is none", err=True)
        tty = False
    run = find_run(context.layout, pod, namespace, container)
    with shim_of(context.layout, run) as shim, _plan(context.layout, run, words, terminal=tty) as plan:
        session = _with_terminal if tty else _with_pipes
        code = session(context.layout, shim, run, words, plan, stdin=stdin)
    raise click.exceptions.Exit(code)


def _plan(layout: Layout, run: Run, words: tuple[str, ...], *, terminal: bool) -> Fd:
    """Raises NsrunError."""
    if not words[0] or any("\0" in word for word in words):
        raise NsrunError("cannot run an empty command")
    try:
        template = read_template(layout.container_run(*run), terminal=terminal)
        if template is None:
            template = _compile(layout, run, terminal=terminal)
        return sealed("nsrun-plan", complete(template, words, terminal_size() if terminal else None))
    except FileNotFoundError as error:
        raise NsrunError(f'cannot run a command in container "{run.container}": it does not run') from error
    except OSError as error:
        raise NsrunError(
            f'cannot run a command in container "{run.container}": {describe_errno(error.errno or 0)}'
        ) from error
    except (ValueError, KeyError) as error:
        raise NsrunError(
            f'cannot run a command in container "{run.container}": its configuration cannot be read'
        ) from error


def _compile(layout: Layout, run: Run, *, terminal: bool) -> bytes:
    """The first command of a run."""
    from nsrun.model.running import ContainerId
    from nsrun.runtime.commandplan import compile_template

    return compile_template(
        layout, ContainerId(uid=run.uid, name=run.container, attempt=run.attempt), terminal=terminal
    )


def _with_pipes(layout: Layout, shim: PlainShim, run: Run, words: tuple[str, ...], plan: Fd, *, stdin: bool) -> int:
    ends = command_ends(stdin=stdin)
    numbers = [plan.fileno(), *(fd.fileno() for fd in ends.theirs)]
    with told_signals() as told:
        serial = shim.ask(abi.NS_REQ_EXEC, run.key, flags=abi.NS_EXEC_STDIO, fds=numbers)
        ends.close_theirs()
        _check_started(layout, run, words, first_word(shim, serial, told, pass_on=True), terminal=False)
        return stream(shim, serial, ends.flows, told=told, pass_on=True) or 0


def _with_terminal(layout: Layout, shim: PlainShim, run: Run, words: tuple[str, ...], plan: Fd, *, stdin: bool) -> int:
    with told_signals(resize=True) as told:
        serial = shim.ask(abi.NS_REQ_EXEC, run.key, flags=abi.NS_EXEC_TERMINAL, fds=[plan.fileno()])
        said = first_word(shim, serial, told)
        _check_started(layout, run, words, said, terminal=True)
        (master,) = said.fds
        flows = [Flow(1, Fd(os.dup(master.fileno())))]
        if stdin:
            flows.append(Flow(0, Fd(os.dup(master.fileno())), input=True, typed=True))
        raw = 0 if stdin else None
        return stream(shim, serial, flows, told=told, pass_on=False, raw=raw, master=master) or 0


def _check_started(layout: Layout, run: Run, words: tuple[str, ...], said: Said, *, terminal: bool) -> None:
    """Raises NsrunError, or the exit of a shell that cannot execute what it was told."""
    if said.message.kind == abi.NS_MSG_STARTED:
        return
    from nsrun.cli.main import complain
    from nsrun.model.running import ContainerId
    from nsrun.runtime.commandplan import explained

    failure = said.message.failure
    id = ContainerId(uid=run.uid, name=run.container, attempt=run.attempt)
    error = explained(layout, id, words, failure, terminal=terminal)
    if failure is None or failure.step != abi.NS_OP_EXEC:
        raise error
    complain(error)
    raise click.exceptions.Exit(EXIT_NOT_FOUND if failure.errno == errno.ENOENT else EXIT_NOT_EXECUTABLE)
