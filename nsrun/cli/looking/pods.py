"""``nsrun pods``: ``kubectl get pods``."""

from __future__ import annotations

import time

import click

from nsrun.cli.age import age
from nsrun.cli.documents import Document, at, find_pod, is_called, pod_status, ready, restarts, text_at
from nsrun.cli.options import Context, flag, pass_context
from nsrun.cli.output import Column, Kind, Output, output_options, write_listing
from nsrun.cli.selectors import Selection, selection_options
from nsrun.support.clock import from_rfc3339

__all__ = ["command"]


@click.command("pods")
@click.argument("pods", nargs=-1, metavar="[POD]...")
@flag("--watch", "-w", is_flag=True, help="Go on with what changes.")
@selection_options
@output_options
@pass_context
def command(context: Context, pods: tuple[str, ...], watch: bool, selection: Selection, output: Output) -> None:
    """List the pods, or those PODs."""
    if watch:
        from nsrun.cli.looking.pods_watch import watch_pods

        def meant(pod: Document) -> bool:
            return bool(selection.of([pod])) and (not pods or any(is_called(pod, name) for name in pods))

        watch_pods(context.api.watch("pods"), meant, output, lambda: _kind(time.time()))
    documents: list[Document] = list(context.api.pods())
    if pods:
        documents = [find_pod(documents, pod, selection.namespace) for pod in pods]
    write_listing(selection.of(documents), output, _kind(time.time()), single=len(pods) == 1)
    for problem in _problems(context):
        click.echo(problem, err=True)


def _kind(now: float) -> Kind[Document]:
    def age_of(pod: Document) -> str:
        started = text_at(pod, "status", "startTime")
        return age(now - from_rfc3339(started)) if started else "<none>"

    return Kind(
        columns=(
            Column(title="NAMESPACE", cell=lambda pod: text_at(pod, "metadata", "namespace")),
            Column(title="NAME", cell=lambda pod: text_at(pod, "metadata", "name")),
            Column(title="READY", cell=ready),
            Column(title="STATUS", cell=pod_status),
            Column(title="RESTARTS", cell=lambda pod: str(restarts(pod))),
            Column(title="AGE", cell=age_of),
            Column(title="IP", cell=lambda pod: text_at(pod, "status", "podIP") or "<none>"),
            Column(title="NODE", cell=lambda pod: text_at(pod, "spec", "nodeName"), wide=True),
            Column(title="QOS", cell=lambda pod: text_at(pod, "status", "qosClass"), wide=True),
            Column(title="UID", cell=lambda pod: text_at(pod, "metadata", "uid"), wide=True),
        ),
        document=lambda pod: pod,
        name=lambda pod: f"pod/{text_at(pod, 'metadata', 'name')}",
        nothing="No pods found.",
    )


def _problems(context: Context) -> list[str]:
    """What is wrong with manifests belongs beside the pods that are missing because of it."""
    problems = at(context.api.info(), "problems")
    return [str(problem) for problem in problems] if isinstance(problems, list) else []
