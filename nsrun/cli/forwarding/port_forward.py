"""``nsrun port-forward``: kubectl's, but straight into the pod's network namespace; the daemon need not run."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from nsrun.cli.documents import Document, at
from nsrun.cli.lookup import name_of, pod_called, uid_of
from nsrun.cli.options import Context, flag, pass_context
from nsrun.errors import NsrunError, describe_errno

if TYPE_CHECKING:
    from nsrun.support.fds import Fd

__all__ = ["command"]


@click.command("port-forward")
@flag("--namespace", "-n", help="The pod's namespace.")
@click.option(
    "--address",
    default="localhost",
    show_default=True,
    envvar="NSRUN_FORWARD_ADDRESS",  # what nsrun itself listens on is another matter
    show_envvar=True,
    help="Addresses to listen on, with commas between.",
)
@click.argument("pod")
@click.argument("ports", nargs=-1, required=True, metavar="[LOCAL:]REMOTE...")
@pass_context
def command(context: Context, pod: str, ports: tuple[str, ...], namespace: str | None, address: str) -> None:
    """Forward ports of this machine to ports of POD, until it ends or Ctrl-C is pressed.

    \b
    nsrun port-forward web 80        port 80 here is port 80 there
    nsrun port-forward web 8080:80   another port here
    nsrun port-forward web :80       any free port here
    nsrun port-forward web 8080:http the port that a container calls http
    """
    import asyncio

    from nsrun.cli.forwarding.forwarder import forward, open_listeners
    from nsrun.cli.forwarding.forwards import listen_addresses, named_ports, parse_forward

    document = pod_called(context, pod, namespace)
    forwards = [parse_forward(text, named_ports(document)) for text in ports]
    addresses = listen_addresses(address)
    name = name_of(document)
    pin = None if at(document, "spec", "hostNetwork") is True else context.layout.netns(name)
    with ExitStack() as held:
        process = held.enter_context(_shim(context, document))
        listeners = open_listeners(forwards, addresses, held)
        for listener in listeners:
            _say(f"Forwarding from {listener.address.shown(listener.local)} -> {listener.remote}")
        asyncio.run(forward(listeners, pin, process, say=_say, complain=_complain))
    raise NsrunError("lost connection to pod")


def _shim(context: Context, pod: Document) -> Fd:
    """The pidfd of the process that lives as long as the pod does. Raises NsrunError when the pod does not run."""
    from nsrun.runtime.process import peer_process
    from nsrun.runtime.shimsocket import connect

    refusal = f'cannot forward to pod "{name_of(pod)}"'
    try:
        connection = connect(context.layout.run_pod(uid_of(pod)))
    except OSError as error:
        raise NsrunError(f"{refusal}: {describe_errno(error.errno or 0)}", hint="run it as root") from error
    if connection is None:
        raise NsrunError(f"{refusal}: it does not run")
    _, process = peer_process(connection)
    connection.close()
    if process is None:
        raise NsrunError(f"{refusal}: it has just ended")
    return process


def _say(text: str) -> None:
    click.echo(text)


def _complain(error: NsrunError) -> None:
    click.echo(f"nsrun: {error.message}", err=True)
