"""``nsrun inspect``: ``podman inspect``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from nsrun.cli.documents import ContainerRow, Document, containers, find_pod, named, render, text_at
from nsrun.cli.looking.inspect_facts import container_document, pids_of, pod_document
from nsrun.cli.lookup import uid_of
from nsrun.cli.options import Context, flag, pass_context
from nsrun.cli.output import Output, parse_output, write_documents
from nsrun.errors import NotFoundError, NsrunError, SettingsError
from nsrun.support.layout import Layout

__all__ = ["FORMATS", "command", "find", "write_found"]

_SHORTEST = 4
"""Letters of an id: fewer are a name that was mistyped."""
_FORMATS = ("json", "yaml", "jsonpath", "jsonpath-as-json")
FORMATS = "json, yaml, jsonpath=… or jsonpath-as-json=…"
"""As the help has them."""


@click.command("inspect")
@click.argument("objects", nargs=-1, required=True, metavar="POD|POD/CONTAINER|CONTAINER-ID...")
@flag("--namespace", "-n", metavar="NAME", help="The pods' namespace.")
@flag("--format", "-f", "template", metavar="JSONPATH", help="Of each only what is there: {.status.podIP}.")
@flag("--output", "-o", metavar="FORMAT", help=f"{FORMATS}.  [default: json]")
@pass_context
def command(
    context: Context, objects: tuple[str, ...], namespace: str | None, template: str | None, output: str | None
) -> None:
    """Show all that is known of pods and containers.

    Of a pod: its manifest with every default, its status, and nsrun's own knowledge: process ids, cgroups, network
    namespace, directories. Of a container also the OCI configuration of its last run. A list, even of one.
    """
    if template is not None and output is not None:
        raise SettingsError("cannot use --format and --output together")
    pods, layout = context.api.pods(), _layout(context)
    write_found([_document(find(pods, wanted, namespace), layout) for wanted in objects], template, output)


def write_found(found: Sequence[Document], template: str | None, output: str | None) -> None:
    """Writes what was inspected: ``template`` is a JSONPath for each, ``output`` one of the formats, for all. Raises
    SettingsError, NsrunError."""
    if template is not None:
        _write_each(template, found)
        return
    format, argument = parse_output(output or "json", allowed=_FORMATS)
    if format in ("json", "yaml"):
        click.echo(render(found, format))
    else:
        write_documents(found[0] if len(found) == 1 else found, Output(format=format, argument=argument))


def _layout(context: Context) -> Layout:
    """Where the daemon keeps things, whatever this command was told."""
    places = context.api.info()
    return Layout(
        root=Path(str(places["root"])), run_dir=Path(str(places["runDir"])), log_dir=Path(str(places["logDir"]))
    )


def _write_each(template: str, documents: Sequence[Document]) -> None:
    from nsrun.cli.jsonpath import parse_template
    from nsrun.cli.jsonpath_results import write

    if "{{" in template:
        raise SettingsError(
            "cannot use --format: nsrun has no Go templates", hint="a JSONPath such as '{.status.podIP}'"
        )
    nodes = parse_template(template)
    for document in documents:
        click.echo(write(nodes, document))


def _document(found: Document | ContainerRow, layout: Layout) -> Document:
    if isinstance(found, ContainerRow):
        return container_document(found, layout, pids_of(layout, uid_of(found.pod)))
    return pod_document(found, layout, pids_of(layout, uid_of(found)))


def find(pods: Sequence[Document], wanted: str, namespace: str | None) -> Document | ContainerRow:
    """The pod that is called so; else the container whose id begins so; else the one of a pod. Raises NotFoundError,
    and NsrunError when several fit."""
    try:
        return find_pod(pods, wanted, namespace)
    except NotFoundError as error:
        by_id = [row for row in containers(pods) if len(wanted) >= _SHORTEST and row.id.startswith(wanted)]
        if len(by_id) > 1:
            raise NsrunError(
                f'cannot choose container "{wanted}": the ids of {len(by_id)} begin so', hint="give more of it"
            ) from None
        if by_id:
            return by_id[0]
        pod, slash, container = wanted.rpartition("/")
        if not slash or pod.count("/") > 1 or not _is_there(pods, pod, namespace):
            raise error from None
    return named(containers([find_pod(pods, pod, namespace)]), container)


def _is_there(pods: Sequence[Document], pod: str, namespace: str | None) -> bool:
    try:
        return bool(text_at(find_pod(pods, pod, namespace), "metadata", "name"))
    except NotFoundError:
        return False
