"""``nsrun rm``."""

from __future__ import annotations

import time

import click

from nsrun.cli.documents import find_pod, text_at
from nsrun.cli.lookup import name_of
from nsrun.cli.options import Context, flag, pass_context
from nsrun.errors import NsrunError
from nsrun.support.layout import PodName

__all__ = ["command", "wait_until_gone"]

_LOOK_AGAIN = 0.05
_PATIENCE = 30.0
"""Seconds for the removal itself, when every container has ended."""


@click.command("rm")
@click.argument("pods", nargs=-1, required=True, metavar="POD...")
@flag("--namespace", "-n", help="The pods' namespace.")
@flag("--no-wait", is_flag=True, help="Return when their end has begun.")
@pass_context
def command(context: Context, pods: tuple[str, ...], namespace: str | None, no_wait: bool) -> None:
    """Stop and remove PODs that nsrun run made.

    A pod that comes from a manifest is removed by deleting its manifest.
    """
    documents = context.api.pods()
    chosen = [find_pod(documents, pod, namespace) for pod in pods]
    for pod in chosen:
        name = name_of(pod)
        context.api.remove_pod(name.namespace, name.name)
    for wanted, pod in zip(pods, chosen, strict=True):
        if not no_wait:
            grace = float(text_at(pod, "spec", "terminationGracePeriodSeconds") or 30)
            wait_until_gone(context, name_of(pod), grace + _PATIENCE, uid=text_at(pod, "metadata", "uid"))
        click.echo(wanted)


def wait_until_gone(context: Context, name: PodName, seconds: float, *, uid: str) -> None:
    """Returns when nothing of the pod is left. Raises NsrunError after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        pod = context.api.pod(name.namespace, name.name)
        if pod is None or text_at(pod, "metadata", "uid") != uid:
            return
        if time.monotonic() > deadline:
            raise NsrunError(f'cannot remove pod "{name}" within {seconds:g} s', hint="nsrun goes on trying")
        time.sleep(_LOOK_AGAIN)
