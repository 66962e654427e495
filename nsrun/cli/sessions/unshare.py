"""``nsrun unshare``: a command where nsrun's own processes are, as ``podman unshare`` has it.

The process becomes the command: so the exit code, the terminal and every signal are the command's."""

from __future__ import annotations

import os

import click

from nsrun.cli.becoming import become
from nsrun.cli.options import Context, pass_context
from nsrun.errors import NsrunError
from nsrun.host.rootless.visiting import visit
from nsrun.host.rootless.world import world

__all__ = ["command"]


@click.command("unshare", context_settings={"allow_interspersed_args": False})
@click.argument("program", nargs=-1, type=click.UNPROCESSED, metavar="[--] [CMD...]")
@pass_context
def command(context: Context, program: tuple[str, ...]) -> None:
    """Run a command, or your shell, in the user, mount and network namespaces that your pods are in.

    \b
    nsrun unshare                          a shell: you are root there
    nsrun unshare -- ip netns list         the network namespaces of the pods
    nsrun unshare -- rm -r DIRECTORY       what belongs to users of containers

    It sees your files, with the owners that containers see, and what is mounted for pods.
    """
    own = world(context.layout.run_dir)
    if own is None:
        raise NsrunError(
            "cannot go into a user's namespaces: pods of root are in the host's",
            hint="nsrun unshare is for who is not root",
        )
    words = program[1:] if program[:1] == ("--",) else program
    if program and not words:
        raise click.UsageError("there is no command after --")
    visit(own, pins=context.layout.netns_dir, stage=context.layout.stage)
    become(words or (os.environ.get("SHELL", "/bin/sh"),))
