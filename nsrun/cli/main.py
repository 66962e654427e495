"""``nsrun``: without a command it runs the pods of ``--manifests``; with one it looks at, or changes, what runs."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import click

from nsrun import __version__
from nsrun.cli.flagtable import COMPLETION, PLACES
from nsrun.cli.options import PATH, Context, Flag, flags_of, write_grouped
from nsrun.cli.outcome import drop_output
from nsrun.cli.places import layout_at
from nsrun.cli.verbs import Verbs

__all__ = ["COMMANDS", "GROUPS", "by_click", "cli", "names_command"]

# Command → module: a command's code, and what it imports, is loaded when the command is used.
COMMANDS = {
    "attach": "nsrun.cli.sessions.attach",
    "check": "nsrun.cli.check",
    "completion": "nsrun.cli.completion",
    "cp": "nsrun.cli.sessions.cp",
    "doctor": "nsrun.cli.serving.doctor",
    "down": "nsrun.cli.changing.down",
    "events": "nsrun.cli.looking.events",
    "exec": "nsrun.cli.sessions.exec",
    "history": "nsrun.cli.history",
    "image": "nsrun.cli.image",
    "images": "nsrun.cli.images",
    "inspect": "nsrun.cli.looking.inspect",
    "load": "nsrun.cli.load",
    "login": "nsrun.cli.login",
    "logout": "nsrun.cli.logout",
    "logs": "nsrun.cli.logs.command",
    "netns": "nsrun.cli.sessions.netns",
    "pods": "nsrun.cli.looking.pods",
    "port-forward": "nsrun.cli.forwarding.port_forward",
    "prune": "nsrun.cli.prune",
    "ps": "nsrun.cli.looking.ps",
    "pull": "nsrun.cli.pull",
    "push": "nsrun.cli.push",
    "restart": "nsrun.cli.changing.restart",
    "rm": "nsrun.cli.changing.rm",
    "rmi": "nsrun.cli.rmi",
    "run": "nsrun.cli.changing.run",
    "save": "nsrun.cli.save",
    "start": "nsrun.cli.changing.start",
    "stats": "nsrun.cli.looking.stats",
    "stop": "nsrun.cli.changing.stop",
    "store": "nsrun.cli.store",
    "systemd": "nsrun.cli.serving.systemd",
    "tag": "nsrun.cli.tag",
    "top": "nsrun.cli.looking.top",
    "unshare": "nsrun.cli.sessions.unshare",
    "version": "nsrun.cli.version",
    "wait": "nsrun.cli.looking.wait",
}

GROUPS = {
    "See what runs": ("pods", "ps", "logs", "inspect", "events", "top", "stats", "wait"),
    "Go inside": ("exec", "attach", "cp", "port-forward", "netns", "unshare"),
    "Change what runs": ("run", "start", "stop", "restart", "rm", "down"),
    "Keep images": ("images", "image", "history", "pull", "push", "tag", "save", "load", "rmi", "prune", "store"),
    "Be known to registries": ("login", "logout"),
}
"""How the help shows the commands; those that are in none come last."""

_COMMAND_ONLY = "nsrun.cli.main.command_only"

# Commands that do a daemon's work, and must know what it was told.
IN_PLACE_OF_A_DAEMON = frozenset({"down"})


def names_command(arguments: list[str]) -> bool:
    """Whether these words are a command's that needs no flag of the daemon, with nothing before it but where things
    are."""
    places = [row.names[0] for row in PLACES]
    words = iter(arguments)
    for word in words:
        if word in places:
            next(words, None)
        elif not word.startswith(tuple(f"{place}=" for place in places)):
            return word in COMMANDS and word not in IN_PLACE_OF_A_DAEMON
    return False


class LazyGroup(Verbs):
    """All verbs, and the daemon's flags only when there is no verb: whoever looks at a pod does not wait for them."""

    @cached_property
    def _daemon_options(self) -> list[click.Parameter]:
        from nsrun.cli.serving.daemon_flags import daemon_options

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
            drop_output()
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


@click.group(
    cls=LazyGroup,
    modules=COMMANDS,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@flags_of(PLACES, group="Places", type=PATH)
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
    netns_dir: Path | None,
    manifests: Path | None = None,
    **options: Any,
) -> None:
    """Run Kubernetes pods with nothing but Linux.

    \b
    nsrun --manifests DIR     run the pods of a directory, in the foreground
    nsrun COMMAND             look at what runs
    """
    ctx.obj = Context(layout=layout_at(root=root, run_dir=run_dir, log_dir=log_dir, netns_dir=netns_dir))
    if ctx.invoked_subcommand is not None:
        return
    if manifests is None and not options["manifest_url"]:
        click.echo(ctx.get_help())
        ctx.exit(0)
    from nsrun.cli.serving.daemon import run_daemon
    from nsrun.cli.serving.settings import settings_of

    settings = settings_of(ctx.obj.layout, manifests, options)
    ctx.exit(run_daemon(settings, tips=options["tips"], verbose=options["verbose"]))


def by_click(arguments: list[str]) -> int:
    """Does what these words say; the exit code. Raises what becomes of it otherwise (``outcome``)."""
    if COMPLETION in os.environ:
        from nsrun.cli.completion import answer

        return answer(cli, os.environ[COMPLETION])
    try:
        code = cli.main(arguments, standalone_mode=False, prog_name="nsrun")
    except click.exceptions.Exit as done:
        code = done.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.Abort as error:
        raise KeyboardInterrupt from error
    return code if isinstance(code, int) else 0
