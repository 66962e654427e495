"""``nsrun events``: ``kubectl events``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn

import click

from nsrun.cli.age import age
from nsrun.cli.documents import Document, at, text_at
from nsrun.cli.options import Context, flag, pass_context
from nsrun.cli.output import Column, Kind, Output, parse_output, write_listing
from nsrun.cli.table import table
from nsrun.errors import ApiError, SettingsError
from nsrun.support.clock import from_rfc3339

__all__ = ["command", "is_meant", "parse_types", "rows"]

_TYPES = {"normal": "Normal", "warning": "Warning"}
_PODS = ("pod", "pods", "po")

Filter = Callable[[Document], bool]


@click.command("events")
@click.argument("pod", required=False)
@flag("--for", "wanted", group="Which", metavar="POD", help="Only what happened to this pod: pod/NAME.")
@flag("--namespace", "-n", group="Which", metavar="NAME", help="Only of this namespace.  [default: of all]")
@flag("--all-namespaces", "-A", group="Which", is_flag=True, help="Of all namespaces, with a column for them.")
@flag("--types", group="Which", metavar="TYPES", help="Only of these types: Normal, Warning.")
@flag("--watch", "-w", "-f", "follow", group="Output", is_flag=True, help="Go on with what happens from now on.")
@flag("--output", "-o", group="Output", metavar="FORMAT", help="wide, json, yaml or name.")
@flag("--no-headers", group="Output", is_flag=True, help="A table without its first line.")
@pass_context
def command(
    context: Context,
    pod: str | None,
    wanted: str | None,
    namespace: str | None,
    all_namespaces: bool,
    types: str | None,
    follow: bool,
    output: str | None,
    no_headers: bool,
) -> None:
    """Show what happened since nsrun was started, of POD or of all.

    What happened several times is one line. Nothing is kept over a restart of nsrun: its log tells of before.
    """
    if namespace is not None and all_namespaces:
        raise SettingsError("cannot use --namespace and --all-namespaces together")
    if pod is not None and wanted is not None:
        raise SettingsError("cannot use --for beside a pod's name")
    format = parse_output(output, allowed=("wide", "json", "yaml", "name"))[0] if output else ""
    meant = is_meant(pod or wanted, namespace, parse_types(types))
    shape = Output(format=format, headers=not no_headers)
    if follow:
        _follow(context, meant, shape, spaces=all_namespaces)
    found = [event for event in context.api.events() if meant(event)]
    write_listing(found, shape, _kind(time.time(), spaces=all_namespaces))


def parse_types(text: str | None) -> frozenset[str]:
    """``Warning,Normal``, in whatever case; all of them without any. Raises SettingsError."""
    if not text:
        return frozenset(_TYPES.values())
    words = [word.strip().lower() for word in text.split(",")]
    unknown = [word for word in words if word not in _TYPES]
    if unknown:
        raise SettingsError(f'cannot use --types "{text}": "{unknown[0]}" is no type', hint="one of Normal, Warning")
    return frozenset(_TYPES[word] for word in words)


def is_meant(pod: str | None, namespace: str | None, types: frozenset[str]) -> Filter:
    """``pod``: ``name``, ``namespace/name`` or ``pod/name``; it may be gone."""
    where, _, name = (pod or "").rpartition("/")
    where = namespace or (where if where not in _PODS else "")

    def meant(event: Document) -> bool:
        return (
            text_at(event, "type") in types
            and name in ("", text_at(event, "involvedObject", "name"))
            and where in ("", text_at(event, "metadata", "namespace"))
        )

    return meant


def _kind(now: float, *, spaces: bool) -> Kind[Document]:
    return Kind(
        columns=_columns(now, spaces=spaces),
        document=lambda event: event,
        name=lambda event: f"event/{text_at(event, 'metadata', 'name')}",
        nothing="No events found.",
    )


def _columns(now: float, *, spaces: bool) -> tuple[Column[Document], ...]:
    """kubectl's, in its order."""
    namespace: Column[Document] = Column(title="NAMESPACE", cell=lambda event: text_at(event, "metadata", "namespace"))
    return (
        *((namespace,) if spaces else ()),
        Column(title="LAST SEEN", cell=lambda event: _seen(event, now)),
        Column(title="TYPE", cell=lambda event: text_at(event, "type")),
        Column(title="REASON", cell=lambda event: text_at(event, "reason")),
        Column(title="OBJECT", cell=_object),
        Column(title="SUBOBJECT", cell=lambda event: text_at(event, "involvedObject", "fieldPath"), wide=True),
        Column(title="SOURCE", cell=_source, wide=True),
        Column(title="MESSAGE", cell=lambda event: text_at(event, "message").strip()),
        Column(title="FIRST SEEN", cell=lambda event: _ago(event, "firstTimestamp", now), wide=True),
        Column(title="COUNT", cell=lambda event: text_at(event, "count"), wide=True),
        Column(title="NAME", cell=lambda event: text_at(event, "metadata", "name"), wide=True),
    )


def _object(event: Document) -> str:
    return f"{text_at(event, 'involvedObject', 'kind').lower()}/{text_at(event, 'involvedObject', 'name')}"


def _source(event: Document) -> str:
    return f"{text_at(event, 'source', 'component')}, {text_at(event, 'source', 'host')}"


def _seen(event: Document, now: float) -> str:
    """``3s (x5 over 2m)``, as kubectl has it."""
    last, count = _ago(event, "lastTimestamp", now), at(event, "count")
    return last if count == 1 else f"{last} (x{count} over {_ago(event, 'firstTimestamp', now)})"


def _ago(event: Document, field: str, now: float) -> str:
    return age(now - from_rfc3339(text_at(event, field)))


# --- following


def _follow(context: Context, meant: Filter, output: Output, *, spaces: bool) -> NoReturn:
    """Never returns by itself. Raises ApiError when nsrun ends."""
    told = context.api.watch("events")
    first = _initial(told, meant)
    if output.format in ("", "wide"):
        for line in rows(first, _after(told, meant), output, spaces=spaces):
            click.echo(line)
    else:
        for event in first:
            click.echo(_written(event, output.format))
        for event in _after(told, meant):
            click.echo(_written(event, output.format))
    raise ApiError("cannot follow what happens any more: nsrun has ended")


def _initial(told: Iterable[Document], meant: Filter) -> list[Document]:
    found = []
    for said in told:
        if said["type"] == "BOOKMARK":
            break
        found.append(_of(said))
    return [event for event in found if meant(event)]


def _after(told: Iterable[Document], meant: Filter) -> Iterator[Document]:
    return (event for event in map(_of, told) if meant(event))


def _of(said: Document) -> Document:
    event = said["object"]
    assert isinstance(event, dict)
    return event


def _written(event: Document, format: str) -> str:
    """One line, but for YAML, whose documents are set apart."""
    if format == "name":
        return f"event/{text_at(event, 'metadata', 'name')}"
    if format == "json":
        return json.dumps(event)
    from nsrun.cli.documents import render

    return f"---\n{render(event, 'yaml')}"


def rows(first: list[Document], later: Iterable[Document], output: Output, *, spaces: bool) -> Iterator[str]:
    """The lines of a table that goes on: what comes later stands in the columns as they were."""
    columns = [column for column in _columns(0.0, spaces=spaces) if output.wide or not column.wide]
    widths = [max(len(column.title), _USUAL.get(column.title, 0)) for column in columns]

    def line(event: Document) -> str:
        cells = [c.cell(event) for c in _columns(time.time(), spaces=spaces) if output.wide or not c.wide]
        return table(None, [[cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]])

    if output.headers:
        yield table(None, [[column.title.ljust(width) for column, width in zip(columns, widths, strict=True)]])
    for event in first:
        yield line(event)
    for event in later:
        yield line(event)


_USUAL = {"LAST SEEN": 9, "TYPE": 7, "REASON": 16, "OBJECT": 20, "SUBOBJECT": 24, "SOURCE": 20}
"""How wide a column is that cannot wait for its widest cell."""
