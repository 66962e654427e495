"""``nsrun pods``."""

from __future__ import annotations

import time

import click

from nsrun.cli.age import age
from nsrun.cli.documents import Document, at, find_pod, pod_status, ready, render, restarts, text_at
from nsrun.cli.options import Context, output_option, pass_context
from nsrun.cli.table import table
from nsrun.support.clock import from_rfc3339

__all__ = ["command"]

HEADER = ("NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP")
WIDE = ("NODE", "QOS", "UID")


@click.command("pods")
@click.argument("pod", required=False)
@output_option("json", "yaml", "wide", "name")
@pass_context
def command(context: Context, pod: str | None, output: str | None) -> None:
    """List the pods, or one POD."""
    documents: list[Document] = list(context.api.pods())
    if pod is not None:
        documents = [find_pod(documents, pod, None)]
    if output in ("json", "yaml"):
        one: object = (
            documents[0]
            if pod is not None
            else {"kind": "List", "apiVersion": "v1", "metadata": {}, "items": documents}
        )
        click.echo(render(one, output))
    elif output == "name":
        for document in documents:
            click.echo(f"pod/{text_at(document, 'metadata', 'name')}")
    else:
        _table(documents, wide=output == "wide")
    for problem in _problems(context):
        click.echo(problem, err=True)


def _table(pods: list[Document], *, wide: bool) -> None:
    if not pods:
        click.echo("No pods found.", err=True)
        return
    header = (*HEADER, *WIDE) if wide else HEADER
    click.echo(table(header, [_row(pod, wide=wide) for pod in pods]))


def _row(pod: Document, *, wide: bool) -> tuple[str, ...]:
    started = text_at(pod, "status", "startTime")
    row = (
        text_at(pod, "metadata", "namespace"),
        text_at(pod, "metadata", "name"),
        ready(pod),
        pod_status(pod),
        str(restarts(pod)),
        age(time.time() - from_rfc3339(started)) if started else "<none>",
        text_at(pod, "status", "podIP") or "<none>",
    )
    if not wide:
        return row
    return (*row, text_at(pod, "spec", "nodeName"), text_at(pod, "status", "qosClass"), text_at(pod, "metadata", "uid"))


def _problems(context: Context) -> list[str]:
    """What is wrong with manifests belongs beside the pods that are missing because of it."""
    problems = at(context.api.info(), "problems")
    return [str(problem) for problem in problems] if isinstance(problems, list) else []
