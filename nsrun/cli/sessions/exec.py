"""``nsrun exec`` as click reads it. Plain words go a shorter way to the same ``execute`` (``program``)."""

from __future__ import annotations

import click

from nsrun.cli.flagtable import EXEC
from nsrun.cli.options import Context, flags_of, pass_context
from nsrun.cli.sessions.execution import execute

__all__ = ["command"]


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
@flags_of(EXEC)
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
    layout = context.layout
    code = execute(
        layout.run_paths,
        lambda: layout,
        pod,
        words,
        stdin=stdin,
        tty=tty,
        container=container,
        namespace=namespace,
    )
    raise click.exceptions.Exit(code)
