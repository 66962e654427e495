"""``nsrun cp``: files in and out of containers that run. Nothing of a container is executed, nor need the daemon run.

Flags and the rules for what comes to be where are docker's and podman's; ``--no-preserve`` is kubectl's."""

from __future__ import annotations

import click

from nsrun.cli.options import Context, flag, pass_context
from nsrun.cli.sessions.runs import find_run

__all__ = ["command"]


@click.command("cp")
@flag("--container", "-c", help="Which container.  [default: the first]")
@flag("--namespace", "-n", help="The pod's namespace.")
@flag("--archive", "-a", is_flag=True, help="Keep owners, as numbers, and set-user-ID and set-group-ID bits.")
@flag("--no-preserve", is_flag=True, help="Keep neither times, nor permissions that a umask of 022 takes away.")
@click.argument("source")
@click.argument("destination")
@pass_context
def command(
    context: Context,
    source: str,
    destination: str,
    container: str | None,
    namespace: str | None,
    archive: bool,
    no_preserve: bool,
) -> None:
    """Copy files and directories between this machine and a container that runs.

    \b
    nsrun cp web:/etc/nginx ./conf    out of a container
    nsrun cp ./site/. web:/srv        what is in ./site, into it
    nsrun cp web:/srv - | tar t       as an archive; in: tar c . | nsrun cp - web:/srv

    Links stay links. What is made belongs to whoever copies out or, copied in, to the container's user.
    """
    from nsrun.cli.copying.copy import copy
    from nsrun.cli.copying.places import InPod, place
    from nsrun.cli.copying.target import Dress
    from nsrun.model.running import ContainerId
    from nsrun.runtime.container_root import open_container_root

    if archive and no_preserve:
        raise click.UsageError("--archive and --no-preserve exclude each other")
    places = (place(source), place(destination))
    there = [one for one in places if isinstance(one, InPod)]
    if len(there) != 1:
        raise click.UsageError("one of the two is POD:PATH, the other a path of this machine or -")
    run = find_run(context.layout.run_paths, there[0].pod, namespace, container)
    dress = Dress(archive=archive, preserve=not no_preserve)
    opened = open_container_root(context.layout, ContainerId(uid=run.uid, name=run.container, attempt=run.attempt))
    with opened.root:
        copy(*places, opened, dress, passed_over=_pass_over)


def _pass_over(path: str, why: str) -> None:
    click.echo(f'nsrun: passed over "{path}": it is {why}', err=True)
