"""``nsrun run``: a pod for now, with docker's flags."""

from __future__ import annotations

import json
import os
import secrets
from typing import Any

import click

from nsrun.cli.changing.run_pod import RunRequest, pod_document, random_name
from nsrun.cli.documents import render
from nsrun.cli.options import Context, flag
from nsrun.errors import SettingsError

__all__ = ["command"]


class _Texts(click.types.StringParamType):
    """A text; several of them in a variable stand in lines of their own, since there may be spaces in them."""

    envvar_list_splitter = "\n"


@click.command("run", context_settings={"allow_interspersed_args": False})
@click.argument("image")
@click.argument("words", nargs=-1, metavar="[--] [COMMAND]...", type=click.UNPROCESSED)
@flag("--interactive", "-i", is_flag=True, help="Let the container read what is typed, or piped in.")
@flag("--tty", "-t", is_flag=True, help="Give it a terminal.")
@flag("--rm", is_flag=True, help="Remove the pod when it has ended.")
@flag("--detach", "-d", is_flag=True, help="Print the pod's name, and leave it to itself.")
@flag("--name", help="The pod's name.  [default: the image's, and five letters]")
@flag("--namespace", "-n", default="default", show_default=True, help="Its namespace.")
@flag("--env", "-e", multiple=True, type=_Texts(), metavar="NAME[=VALUE]", help="A variable; without =, one of yours.")
@flag("--label", "-l", multiple=True, type=_Texts(), metavar="NAME=VALUE", help="A label of the pod.")
@flag("--volume", "-v", multiple=True, type=_Texts(), metavar="HOST:CONTAINER[:ro]", help="A file or directory.")
@flag("--publish", "-p", multiple=True, metavar="[ADDRESS:]HOST:CONTAINER[/udp]", help="A port, open on this machine.")
@flag("--workdir", "-w", metavar="DIR", help="Where the command starts.")
@flag("--user", "-u", metavar="UID[:GID]", help="Whom it runs as.")
@flag("--entrypoint", metavar="PROGRAM", help="What runs, instead of the image's entry point.")
@flag("--restart", type=click.Choice(("no", "on-failure", "always")), default="no", help="When it is run again.")
@flag("--cpus", type=click.FloatRange(0.001), help="Processors it may use.")
@flag("--memory", "-m", metavar="SIZE", help='Memory it may use: "512m".')
@flag("--network", type=click.Choice(("pod", "host")), default="pod", help="A network of its own, or the host's.")
@flag("--pull", type=click.Choice(("always", "missing", "never")), default="missing", help="When to fetch the image.")
@flag("--stop-timeout", type=click.IntRange(0), default=10, show_default=True, help="Seconds it may take to stop.")
@flag("--dry-run", type=click.Choice(("none", "client")), default="none", help="client: only say what would be made.")
@flag("--output", "-o", type=click.Choice(("json", "yaml", "name")), help="With --dry-run: print the pod.")
@click.pass_context
def command(ctx: click.Context, /, image: str, words: tuple[str, ...], **given: Any) -> None:
    """Run a COMMAND in a pod of its own, made from IMAGE, and pass its output and exit code on.

    \b
    nsrun run --rm -it busybox sh              a shell, and nothing left of it
    nsrun run -d -p 8080:80 --name web nginx   a server in the background
    nsrun run --rm busybox -- ls -l /

    Exit codes: the command's own; 125 when there is no pod, 126 when the command cannot be run, 127 when it is not
    there.
    """
    _check(given)
    asked = _asked(image, words[1:] if words[:1] == ("--",) else words, given)
    document = pod_document(asked)
    if given["dry_run"] == "client":
        name = f"pod/{asked.name}"
        if given["output"] in (None, "name"):
            click.echo(name if given["output"] else f"{name} created (dry run)")
        else:
            click.echo(render(document, given["output"]))
        return
    from nsrun.cli.changing.run_foreground import run_foreground

    context: Context = ctx.obj
    answer = context.api.add_pod(json.dumps(document).encode())
    for warning in answer.get("warnings") or ():  # type: ignore[attr-defined]
        click.echo(f"nsrun: {warning}", err=True)
    if given["detach"]:
        click.echo(asked.name)
        return
    ctx.exit(run_foreground(context, answer["pod"], asked))


def _check(given: dict[str, Any]) -> None:
    """Raises SettingsError for flags that contradict each other."""
    if given["rm"] and given["restart"] != "no":
        raise SettingsError("cannot use --rm and --restart together: what is run again never ends")
    if given["detach"] and given["interactive"]:
        raise SettingsError("cannot use --detach and --interactive together: nobody would be there to type")
    if given["output"] and given["dry_run"] == "none":
        raise SettingsError("cannot use --output without --dry-run=client")


def _asked(image: str, words: tuple[str, ...], given: dict[str, Any]) -> RunRequest:
    return RunRequest(
        image=image,
        name=given["name"] or random_name(image, secrets.choice),
        namespace=given["namespace"],
        command=words,
        entrypoint=given["entrypoint"],
        stdin=given["interactive"],
        terminal=given["tty"],
        remove=given["rm"],
        variables=given["env"],
        environment=os.environ,
        labels=given["label"],
        volumes=given["volume"],
        ports=given["publish"],
        workdir=given["workdir"],
        user=given["user"],
        restart=given["restart"],
        cpus=given["cpus"],
        memory=given["memory"],
        host_network=given["network"] == "host",
        pull=given["pull"],
        stop_timeout=given["stop_timeout"],
        directory=os.getcwd(),
    )
