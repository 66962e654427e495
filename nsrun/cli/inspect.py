"""``nsrun inspect``."""

from __future__ import annotations

import click

from nsrun.cli.documents import find_pod, render
from nsrun.cli.options import Context, flag, output_option, pass_context

__all__ = ["command"]


@click.command("inspect")
@click.argument("pods", nargs=-1, required=True, metavar="POD...")
@flag("--namespace", "-n", help="The pods' namespace.")
@output_option("json", "yaml")
@pass_context
def command(context: Context, pods: tuple[str, ...], namespace: str | None, output: str | None) -> None:
    """Show all that is known of a POD: its manifest with every default, and its status."""
    documents = context.api.pods()
    click.echo(render([find_pod(documents, pod, namespace) for pod in pods], output or "json"))
