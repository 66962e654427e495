"""``nsrun ps``."""

from __future__ import annotations

import time

import click

from nsrun.cli.age import age
from nsrun.cli.documents import ContainerRow, containers, render, text_at
from nsrun.cli.options import Context, flag, output_option, pass_context
from nsrun.cli.table import table
from nsrun.support.clock import from_rfc3339

__all__ = ["command"]

HEADER = ("CONTAINER ID", "IMAGE", "POD", "NAME", "STATUS", "RESTARTS")
WIDE = ("IP", "IMAGE ID")


@click.command("ps")
@flag("--all", "-a", "everything", is_flag=True, help="Also containers that do not run.")
@output_option("json", "yaml", "wide", "name")
@pass_context
def command(context: Context, everything: bool, output: str | None) -> None:
    """List the containers that run."""
    rows = [row for row in containers(context.api.pods()) if everything or row.state == "running"]
    if output in ("json", "yaml"):
        click.echo(render([_document(row) for row in rows], output))
    elif output == "name":
        for row in rows:
            click.echo(f"{text_at(row.pod, 'metadata', 'name')}/{text_at(row.spec, 'name')}")
    else:
        header = (*HEADER, *WIDE) if output == "wide" else HEADER
        click.echo(table(header, [_row(row, wide=output == "wide") for row in rows]))


def _document(row: ContainerRow) -> dict[str, object]:
    return {
        "namespace": text_at(row.pod, "metadata", "namespace"),
        "pod": text_at(row.pod, "metadata", "name"),
        "uid": text_at(row.pod, "metadata", "uid"),
        **row.status,
    }


def _row(row: ContainerRow, *, wide: bool) -> tuple[str, ...]:
    cells = (
        row.id[:12],
        text_at(row.spec, "image"),
        text_at(row.pod, "metadata", "name"),
        text_at(row.spec, "name"),
        status(row, time.time()),
        text_at(row.status, "restartCount"),
    )
    return (*cells, text_at(row.pod, "status", "podIP"), text_at(row.status, "imageID")) if wide else cells


def status(row: ContainerRow, now: float) -> str:
    """Docker's STATUS column: ``Up 5s``, ``Exited (1) 3m ago``, or why it waits."""
    if row.state == "running":
        return f"Up {age(now - from_rfc3339(text_at(row.status, 'state', 'running', 'startedAt')))}"
    if row.state == "terminated":
        code = text_at(row.status, "state", "terminated", "exitCode")
        finished = text_at(row.status, "state", "terminated", "finishedAt")
        return f"Exited ({code}) {age(now - from_rfc3339(finished))} ago"
    return text_at(row.status, "state", "waiting", "reason") or "Waiting"
