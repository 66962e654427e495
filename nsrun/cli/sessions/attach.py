"""``nsrun attach``: the standard streams of a container's own process, asked of the pod's own shim: a daemon is not
needed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import click

from nsrun.cli.options import Context, flag, pass_context
from nsrun.cli.sessions.runs import Run, find_run
from nsrun.cli.sessions.shims import shim_of
from nsrun.cli.sessions.streaming import first_word, is_terminal, stream, told_signals
from nsrun.errors import NsrunError, describe_errno
from nsrun.runtime.shimsocket import PlainShim, Said
from nsrun.support.fds import Fd
from nsrun.support.native import Failure, abi
from nsrun.support.relay import Flow, copy_size

__all__ = ["attach", "command", "parse_keys"]

_MOST_KEYS = 16


def parse_keys(text: str) -> bytes:
    """``ctrl-p,ctrl-q`` → what a terminal sends for that; nothing for "". Raises ValueError."""
    if not text:
        return b""
    keys = bytes(_key(word) for word in text.split(","))
    if len(keys) > _MOST_KEYS:
        raise ValueError(f"at most {_MOST_KEYS} keys")
    return keys


def _key(word: str) -> int:
    control = word.lower().removeprefix("ctrl-")
    if word.lower().startswith("ctrl-") and len(control) == 1 and "@" <= control.upper() <= "_":
        return ord(control.upper()) & 0x1F
    if len(word) == 1 and word.isascii() and word.isprintable():
        return ord(word)
    raise ValueError(f'"{word}" is no key: write a character, or ctrl- and one of a-z @ [ \\ ] ^ _')


def _checked_keys(ctx: click.Context, parameter: click.Parameter, value: str) -> bytes:
    try:
        return parse_keys(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command("attach")
@flag("--stdin", "-i", is_flag=True, help="Pass standard input to the container.")
@flag("--tty", "-t", is_flag=True, help="For kubectl's sake: the container's manifest decides.")
@flag("--no-stdin", is_flag=True, help="Only look.")
@flag(
    "--detach-keys",
    default="ctrl-p,ctrl-q",
    show_default=True,
    callback=_checked_keys,
    help="Leave a container with a terminal running, when these are typed.",
)
@flag("--container", "-c", help="Which container.  [default: the first]")
@flag("--namespace", "-n", help="The pod's namespace.")
@click.argument("pod")
@pass_context
def command(
    context: Context,
    pod: str,
    stdin: bool,
    tty: bool,
    no_stdin: bool,
    detach_keys: bytes,
    container: str | None,
    namespace: str | None,
) -> None:
    """Attach to a container of POD: see what it writes from now on and, with -i, write to it.

    A signal, and the detach keys, end the attachment; the container runs on. When the container ends, its exit code is
    this command's.
    """
    run = find_run(context.layout.run_paths, pod, namespace, container)
    with shim_of(context.layout.run_paths, run) as shim:
        reads = stdin and not no_stdin
        code = attach(shim, run, stdin=reads, keys=detach_keys, begun=_hint if reads else lambda terminal: None)
    raise click.exceptions.Exit(code or 0)


def _hint(terminal: bool) -> None:
    if terminal and is_terminal(0):
        click.echo("If you don't see a command prompt, try pressing enter.", err=True)


def attach(shim: PlainShim, run: Run, *, stdin: bool, keys: bytes, begun: Callable[[bool], object]) -> int | None:
    """The exit code, None when the keys ended the attachment. ``begun`` is told whether it is a terminal once nothing
    more can be missed, and before anything is shown: that begins with the line the container is writing.

    Raises NsrunError."""
    flags = abi.NS_STREAM_OUT | abi.NS_STREAM_ERR | (abi.NS_STREAM_IN if stdin else 0)
    with told_signals(resize=True) as told:
        serial = shim.ask(abi.NS_REQ_ATTACH, run.key, flags=flags)
        said = first_word(shim, serial, told)
        if said.message.kind != abi.NS_MSG_STARTED:
            raise _refused(run, said.message.failure)
        terminal = bool(said.message.flags & abi.NS_STREAM_TERMINAL)
        begun(terminal)
        if terminal:
            return _to_terminal(shim, serial, said, told=told, stdin=stdin, keys=keys)
        if stdin and not said.message.flags & abi.NS_STREAM_IN:
            click.echo(f'nsrun: container "{run.container}" reads no input: its manifest does not say stdin', err=True)
        return stream(shim, serial, _flows(said), told=told, pass_on=False)


def _to_terminal(shim: PlainShim, serial: int, said: Said, *, told: Fd, stdin: bool, keys: bytes) -> int | None:
    master, output = said.fds
    flows = [Flow(1, output)]
    raw = 0 if stdin and is_terminal(0) else None
    if stdin:
        flows.append(Flow(0, Fd(os.dup(master.fileno())), input=True, typed=raw is not None))
    with master:
        for fd in (0, 1, 2):
            if is_terminal(fd):
                copy_size(fd, master.fileno())
                break
        keys = keys if raw is not None else b""
        return stream(shim, serial, flows, told=told, pass_on=False, raw=raw, master=master, keys=keys)


def _flows(said: Said) -> list[Flow]:
    flows, fds = [], list(said.fds)
    for here, bit in ((0, abi.NS_STREAM_IN), (1, abi.NS_STREAM_OUT), (2, abi.NS_STREAM_ERR)):
        if said.message.flags & bit:
            flows.append(Flow(here, fds.pop(0), input=here == 0))
    return flows


def _refused(run: Run, failure: Failure | None) -> NsrunError:
    number = failure.errno if failure is not None else 0
    if number == errno.ESRCH:
        return NsrunError(f'cannot attach to container "{run.container}": it does not run')
    if number == errno.ENOSPC:
        return NsrunError(f'cannot attach to container "{run.container}": {abi.NS_MAX_ATTACHED} others are attached')
    return NsrunError(f'cannot attach to container "{run.container}": {describe_errno(number)}')
