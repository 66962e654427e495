"""``nsrun``: without a command it runs the pods of ``--manifests``; with one it looks at, or changes, what runs."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NoReturn

import click

from nsrun import __version__
from nsrun.cli.options import Context, Flag, default_layout, flag, write_grouped
from nsrun.cli.verbs import Verbs
from nsrun.errors import NsrunError, describe_errno

__all__ = ["COMMANDS", "COMPLETION", "GROUPS", "cli", "main", "names_command", "program"]

# Command → module: a command's code, and what it imports, is loaded when the command is used.
COMMANDS = {
    "attach": "nsrun.cli.attach",
    "check": "nsrun.cli.check",
    "completion": "nsrun.cli.completion",
    "cp": "nsrun.cli.cp",
    "doctor": "nsrun.cli.doctor",
    "down": "nsrun.cli.down",
    "events": "nsrun.cli.events",
    "exec": "nsrun.cli.exec",
    "history": "nsrun.cli.history",
    "image": "nsrun.cli.image",
    "images": "nsrun.cli.images",
    "inspect": "nsrun.cli.inspect",
    "load": "nsrun.cli.load",
    "logs": "nsrun.cli.logs",
    "netns": "nsrun.cli.netns",
    "pods": "nsrun.cli.pods",
    "port-forward": "nsrun.cli.port_forward",
    "ps": "nsrun.cli.ps",
    "pull": "nsrun.cli.pull",
    "restart": "nsrun.cli.restart",
    "rm": "nsrun.cli.rm",
    "rmi": "nsrun.cli.rmi",
    "run": "nsrun.cli.run",
    "save": "nsrun.cli.save",
    "start": "nsrun.cli.start",
    "stats": "nsrun.cli.stats",
    "stop": "nsrun.cli.stop",
    "tag": "nsrun.cli.tag",
    "top": "nsrun.cli.top",
    "version": "nsrun.cli.version",
    "wait": "nsrun.cli.wait",
}

GROUPS = {
    "See what runs": ("pods", "ps", "logs", "inspect", "events", "top", "stats", "wait"),
    "Go inside": ("exec", "attach", "cp", "port-forward", "netns"),
    "Change what runs": ("run", "start", "stop", "restart", "rm", "down"),
    "Keep images": ("images", "image", "history", "pull", "tag", "save", "load", "rmi"),
}
"""How the help shows the commands; those that are in none come last."""

COMPLETION = "_NSRUN_COMPLETE"
"""The variable by which a shell asks for words (``completion``)."""

EXIT_ERROR = 1
_COMMAND_ONLY = "nsrun.cli.main.command_only"
EXIT_INTERRUPTED = 130

# Objects that are made before anybody looks for garbage, instead of 700. The daemon goes back to those.
_GARBAGE = 50_000


PLACES = ("--root", "--run-dir", "--log-dir")


# Commands that do a daemon's work, and must know what it was told.
IN_PLACE_OF_A_DAEMON = frozenset({"down"})


def names_command(arguments: list[str]) -> bool:
    """Whether these words are a command's that needs no flag of the daemon, with nothing before it but where things
    are."""
    words = iter(arguments)
    for word in words:
        if word in PLACES:
            next(words, None)
        elif not word.startswith(tuple(f"{place}=" for place in PLACES)):
            return word in COMMANDS and word not in IN_PLACE_OF_A_DAEMON
    return False


class LazyGroup(Verbs):
    """All verbs, and the daemon's flags only when there is no verb: whoever looks at a pod does not wait for them."""

    @cached_property
    def _daemon_options(self) -> list[click.Parameter]:
        from nsrun.cli.daemon_flags import daemon_options

        return daemon_options()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_COMMAND_ONLY] = names_command(args)
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        places = super().get_params(ctx)
        return (
            places
            if ctx.meta.get(_COMMAND_ONLY)
            else [*places[: len(PLACES)], *self._daemon_options, *places[len(PLACES) :]]
        )

    def invoke(self, ctx: click.Context) -> Any:
        """That the reader of our output has gone (``nsrun logs | head``) is no failure, though click thinks so."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Python would complain again while it closes stdout.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_grouped(self, ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        grouped = {name for names in GROUPS.values() for name in names}
        rest = tuple(name for name in self.list_commands(ctx) if name not in grouped)
        for title, names in {**GROUPS, "More": rest}.items():
            found = [(name, self.get_command(ctx, name)) for name in names]
            width = formatter.width - 6 - max(map(len, names))
            with formatter.section(title):
                formatter.write_dl([(name, one.get_short_help_str(width)) for name, one in found if one is not None])


place = partial(flag, group="Places", type=click.Path(path_type=Path))


@click.group(
    cls=LazyGroup,
    modules=COMMANDS,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@place("--root", help="Images, layers and volumes.  [default: /var/lib/nsrun]")
@place("--run-dir", help="Sockets and run-time state.  [default: /run/nsrun]")
@place("--log-dir", help="Where pods/ and containers/ logs are kept.  [default: /var/log]")
@click.version_option(
    __version__,
    "--version",
    cls=Flag,
    group="Output",
    help="Show the version.",
    prog_name="nsrun",
    message="%(prog)s %(version)s",
)
@click.pass_context
def cli(
    ctx: click.Context,
    /,
    root: Path | None,
    run_dir: Path | None,
    log_dir: Path | None,
    manifests: Path | None = None,
    **options: Any,
) -> None:
    """Run Kubernetes pods with nothing but Linux.

    \b
    nsrun --manifests DIR     run the pods of a directory, in the foreground
    nsrun COMMAND             look at what runs
    """
    ctx.obj = Context(layout=default_layout(root, run_dir, log_dir))
    if ctx.invoked_subcommand is not None:
        return
    if manifests is None and not options["manifest_url"]:
        click.echo(ctx.get_help())
        ctx.exit(0)
    from nsrun.cli.daemon import run_daemon
    from nsrun.cli.settings import settings_of

    settings = settings_of(ctx.obj.layout, manifests, options)
    ctx.exit(run_daemon(settings, tips=options["tips"], verbose=options["verbose"]))


def program() -> NoReturn:
    """The console script: ``main``, for a process that is its own. Most commands live for a moment, in which there is
    no garbage worth looking for, and they need not be taken apart at the end: of 112 ms that leaves 79."""
    gc.set_threshold(_GARBAGE)
    try:
        main()
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else 0
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        pass  # its reader has gone, which is no failure
    except OSError as error:
        complain_of_output(error)
        code = code or EXIT_ERROR
    os._exit(code)


def main() -> NoReturn:
    """Runs what the arguments say. Exit codes: 0 done, 1 cannot, 2 wrong usage, 130 interrupted."""
    try:
        if COMPLETION in os.environ:
            from nsrun.cli.completion import answer

            sys.exit(answer(cli, os.environ[COMPLETION]))
        code = cli.main(standalone_mode=False, prog_name="nsrun")
    except NsrunError as error:
        complain(error)
        code = EXIT_ERROR
    except click.exceptions.Exit as done:
        code = done.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        code = EXIT_INTERRUPTED
    except ExceptionGroup as group:
        code = several(group)
    except OSError as error:
        complain_of_output(error)
        code = EXIT_ERROR
    sys.exit(code if isinstance(code, int) else 0)


def several(group: ExceptionGroup[Exception]) -> int:
    """What ended together: each of ours is told; anything else is a bug, and its traceback goes on."""
    ours, bugs = group.split(NsrunError)
    if bugs is not None:
        raise bugs
    for error in leaves(ours or group):
        complain(error)
    return EXIT_ERROR


def leaves(group: ExceptionGroup[Exception]) -> Iterator[NsrunError]:
    """The errors at the ends of a tree of groups."""
    for error in group.exceptions:
        if isinstance(error, ExceptionGroup):
            yield from leaves(error)
        elif isinstance(error, NsrunError):
            yield error


def complain_of_output(error: OSError) -> None:
    """Output that cannot be written: a full disk, a terminal that is gone."""
    what = f'use "{error.filename}"' if error.filename else "write the output"
    with contextlib.suppress(OSError):
        complain(NsrunError(f"cannot {what}: {describe_errno(error.errno or 0)}"))


def complain(error: NsrunError) -> None:
    """One sentence on standard error, the remedy below it."""
    click.echo(f"nsrun: {error.message}", err=True)
    if error.hint:
        click.echo(f"       ({error.hint})", err=True)
