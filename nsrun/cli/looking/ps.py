"""``nsrun ps``: containers, as docker and podman list them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import click

from nsrun.cli.age import age
from nsrun.cli.documents import ContainerRow, Document, containers, nearest, text_at
from nsrun.cli.options import Context, flag, pass_context
from nsrun.cli.output import Column, Kind, Output, output_options, write_listing
from nsrun.cli.selectors import Selection, selection_options
from nsrun.errors import SettingsError
from nsrun.support.clock import from_rfc3339

__all__ = ["command", "filtered", "status"]

_SHORT = 12
_STATES = {
    "running": "running",
    "waiting": "waiting",
    "created": "waiting",
    "terminated": "terminated",
    "exited": "terminated",
}
"""kubectl's words and docker's."""


@click.command("ps")
@flag("--all", "-a", "everything", is_flag=True, help="Also containers that do not run.")
@flag("--quiet", "-q", is_flag=True, help="Only their ids.")
@flag("--no-trunc", is_flag=True, help="Whole ids.")
@flag(
    "--filter",
    "filters",
    multiple=True,
    metavar="KEY=VALUE",
    help="Only those with this name, pod, namespace, id, image or status.",
)
@selection_options
@output_options
@pass_context
def command(
    context: Context,
    everything: bool,
    quiet: bool,
    no_trunc: bool,
    filters: tuple[str, ...],
    selection: Selection,
    output: Output,
) -> None:
    """List the containers that run."""
    wanted = parse_filters(filters)
    rows = filtered(containers(selection.of(context.api.pods())), wanted)
    if not everything and "status" not in wanted:
        rows = [row for row in rows if row.state == "running"]
    length = None if no_trunc else _SHORT
    if quiet:
        for row in rows:
            if row.id:
                click.echo(row.id[:length])
    else:
        write_listing(rows, output, _kind(time.time(), length))


def _kind(now: float, length: int | None) -> Kind[ContainerRow]:
    return Kind(
        columns=(
            Column(title="CONTAINER ID", cell=lambda row: row.id[:length]),
            Column(title="IMAGE", cell=lambda row: text_at(row.spec, "image")),
            Column(title="POD", cell=lambda row: text_at(row.pod, "metadata", "name")),
            Column(title="NAME", cell=lambda row: text_at(row.spec, "name")),
            Column(title="STATUS", cell=partial(status, now=now)),
            Column(title="RESTARTS", cell=lambda row: text_at(row.status, "restartCount")),
            Column(title="NAMESPACE", cell=lambda row: text_at(row.pod, "metadata", "namespace"), wide=True),
            Column(title="IP", cell=lambda row: text_at(row.pod, "status", "podIP"), wide=True),
            Column(title="IMAGE ID", cell=lambda row: text_at(row.status, "imageID"), wide=True),
        ),
        document=_document,
        name=lambda row: f"{text_at(row.pod, 'metadata', 'name')}/{text_at(row.spec, 'name')}",
        labels=lambda row: row.pod,
        nothing="No containers found.",
    )


def _document(row: ContainerRow) -> Document:
    return {
        "namespace": text_at(row.pod, "metadata", "namespace"),
        "pod": text_at(row.pod, "metadata", "name"),
        "uid": text_at(row.pod, "metadata", "uid"),
        **row.status,
    }


def status(row: ContainerRow, now: float) -> str:
    """Docker's STATUS column: ``Up 5s``, ``Exited (1) 3m ago``, or why it waits."""
    if row.state == "running":
        return f"Up {age(now - from_rfc3339(text_at(row.status, 'state', 'running', 'startedAt')))}"
    if row.state == "terminated":
        code = text_at(row.status, "state", "terminated", "exitCode")
        finished = text_at(row.status, "state", "terminated", "finishedAt")
        return f"Exited ({code}) {age(now - from_rfc3339(finished))} ago"
    return text_at(row.status, "state", "waiting", "reason") or "Waiting"


def _state(row: ContainerRow, value: str) -> bool:
    return row.state == _STATES[value]


# As docker's: a part of a name, of an image or the beginning of an id is enough.
_FILTERS: Mapping[str, Callable[[ContainerRow, str], bool]] = {
    "id": lambda row, value: row.id.startswith(value),
    "image": lambda row, value: value in text_at(row.spec, "image"),
    "name": lambda row, value: value in text_at(row.spec, "name"),
    "namespace": lambda row, value: value == text_at(row.pod, "metadata", "namespace"),
    "pod": lambda row, value: value in text_at(row.pod, "metadata", "name"),
    "status": _state,
}


def parse_filters(texts: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """``["name=web", "name=db"]`` → ``{"name": ["web", "db"]}``. Raises SettingsError."""
    found: dict[str, list[str]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise SettingsError(f'cannot use --filter "{text}": it must be KEY=VALUE', hint="such as status=exited")
        if key not in _FILTERS:
            raise SettingsError(
                f'cannot use --filter "{text}": there is no "{key}" to filter by{nearest(key, _FILTERS)}',
                hint=f"one of {', '.join(_FILTERS)}",
            )
        if key == "status" and value not in _STATES:
            raise SettingsError(
                f'cannot use --filter "{text}": no container is "{value}"{nearest(value, _STATES)}',
                hint=f"one of {', '.join(_STATES)}",
            )
        found.setdefault(key, []).append(value)
    return found


def filtered(rows: Sequence[ContainerRow], wanted: Mapping[str, Sequence[str]]) -> list[ContainerRow]:
    """Those that every key lets through; one of its values is enough."""
    return [
        row for row in rows if all(any(_FILTERS[key](row, value) for value in values) for key, values in wanted.items())
    ]
