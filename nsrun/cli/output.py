"""``-o`` and its kin: how every listing is written, as kubectl has it."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import click

from nsrun.cli.documents import Document, at, render
from nsrun.cli.options import flag
from nsrun.cli.table import table
from nsrun.errors import SettingsError

__all__ = ["Column", "Kind", "Output", "output_options", "parse_output", "write_documents", "write_listing"]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

_PLAIN = ("json", "yaml", "wide", "name")
_WITH_ARGUMENT = ("jsonpath", "jsonpath-as-json", "custom-columns")
_GO = ("go-template", "go-template-file", "template", "templatefile")
_COLUMN = r"([^:,]+):((?:\[[^\]]*\]|[^,\[])*)(?:,|\Z)"
_NONE = "<none>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """How a listing is written. ``format``: "" is a table; ``argument``: what comes after ``=``. ``headers``: whether a
    table has them. ``sort_by``: a path, "" for the order as it is. ``labels``: whether a table shows them."""

    format: str = ""
    argument: str = ""
    headers: bool = True
    sort_by: str = ""
    labels: bool = False

    @property
    def table(self) -> bool:
        """Whether it is one, of our columns or of the reader's own."""
        return self.format in ("", "wide", "custom-columns")

    @property
    def wide(self) -> bool:
        """Whether a table has all columns."""
        return self.format == "wide"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column(Generic[T]):
    """One column of a table. ``wide``: only with ``-o wide``."""

    title: str
    cell: Callable[[T], str]
    wide: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[T]):
    """What is listed. ``document``: an entry as JSON has it; ``name``: what ``-o name`` says of it; ``labels``: of what
    ``--show-labels`` shows them, if not of that. ``nothing``: what is said when there is none."""

    columns: Sequence[Column[T]]
    document: Callable[[T], Document]
    name: Callable[[T], str]
    nothing: str
    labels: Callable[[T], Document] | None = None


def parse_output(text: str, *, allowed: Sequence[str] = (*_PLAIN, *_WITH_ARGUMENT)) -> tuple[str, str]:
    """``jsonpath={.kind}`` → (``jsonpath``, ``{.kind}``). Raises SettingsError."""
    format, equals, argument = text.partition("=")
    if format in _GO:
        raise SettingsError(f"cannot use -o {format}: nsrun has no Go templates", hint="jsonpath=… has what most need")
    if format not in allowed:
        from nsrun.model.wording import suggestion

        known = ", ".join(f"{one}=…" if one in _WITH_ARGUMENT else one for one in allowed)
        raise SettingsError(f'cannot use -o "{format}"{suggestion(format, allowed)}', hint=f"one of {known}")
    if format in _WITH_ARGUMENT and not argument:
        raise SettingsError(f"cannot use -o {format}: what to show is missing", hint=_example(format))
    if format in _PLAIN and equals:
        raise SettingsError(f"cannot use -o {text}: {format} takes nothing after it")
    return format, argument


def _example(format: str) -> str:
    template = "NAME:.metadata.name,IP:.status.podIP" if format == "custom-columns" else "{.items[*].metadata.name}"
    return f"such as -o '{format}={template}'"


def write_listing(found: Sequence[T], output: Output, kind: Kind[T], *, single: bool = False) -> None:
    """Writes what was found. ``single``: one thing was asked for by its name, so its document stands alone.

    Raises SettingsError, NsrunError."""
    if output.sort_by:
        found = _sorted(found, output.sort_by, kind)
    if output.format == "name":
        _lines(kind.name(one) for one in found)
    elif output.format in ("json", "yaml", "jsonpath", "jsonpath-as-json"):
        documents = [kind.document(one) for one in found]
        write_documents(documents[0] if single and len(documents) == 1 else _list(documents), output)
    elif not found:
        click.echo(kind.nothing, err=True)
    elif output.format == "custom-columns":
        _write_table(_custom(output.argument), [kind.document(one) for one in found], output)
    else:
        columns = [column for column in kind.columns if output.wide or not column.wide]
        if output.labels:
            columns.append(Column(title="LABELS", cell=lambda one: _labels((kind.labels or kind.document)(one))))
        _write_table(columns, found, output)


def _list(documents: Sequence[Document]) -> Document:
    return {"apiVersion": "v1", "items": list(documents), "kind": "List", "metadata": {"resourceVersion": ""}}


def write_documents(document: object, output: Output) -> None:
    """Writes one document, or several as one, as ``json``, ``yaml``, ``jsonpath`` or ``jsonpath-as-json`` say. Raises
    NsrunError."""
    if output.format in ("json", "yaml"):
        click.echo(render(document, output.format))
        return
    from nsrun.cli.jsonpath import parse_template
    from nsrun.cli.jsonpath_results import results, write

    template = parse_template(output.argument)
    if output.format == "jsonpath":
        click.echo(write(template, document), nl=False)
    else:
        click.echo(json.dumps(results(template, document), indent=4))


def _lines(lines: Iterable[str]) -> None:
    text = "\n".join(lines)
    if text:
        click.echo(text)


def _write_table(columns: Sequence[Column[T]], found: Sequence[T], output: Output) -> None:
    rows = [tuple(column.cell(one) for column in columns) for one in found]
    click.echo(table([column.title for column in columns] if output.headers else None, rows))


def _custom(text: str) -> list[Column[Document]]:
    """``NAME:.metadata.name,IP:.status.podIP``. Raises SettingsError."""
    columns, at_ = [], 0
    while at_ < len(text):
        match = re.compile(_COLUMN).match(text, at_)
        if match is None:
            raise SettingsError(
                f'cannot use -o custom-columns: "{text[at_:]}" is no column', hint=_example("custom-columns")
            )
        columns.append(Column(title=match[1], cell=_cell(match[2])))
        at_ = match.end()
    return columns


def _cell(text: str) -> Callable[[Document], str]:
    from nsrun.cli.jsonpath import parse_path
    from nsrun.cli.jsonpath_results import find, text_of

    path = parse_path(text)
    return lambda document: ",".join(map(text_of, find(path, document))) or _NONE


def _labels(document: Document) -> str:
    labels = at(document, "metadata", "labels")
    return ",".join(f"{key}={value}" for key, value in labels.items()) if isinstance(labels, dict) else _NONE


def _sorted(found: Sequence[T], text: str, kind: Kind[T]) -> Sequence[T]:
    """By what is at a path: nothing before numbers before texts, in which numbers count as such (``web-2`` before
    ``web-10``). Raises JsonPathError."""
    from nsrun.cli.jsonpath import parse_path
    from nsrun.cli.jsonpath_results import find, text_of

    path = parse_path(text)

    def rank(one: T) -> tuple[int, float, list[tuple[bool, int, str]]]:
        values = find(path, kind.document(one))
        if not values or values[0] is None:
            return 0, 0.0, []
        if isinstance(values[0], int | float):
            return 1, float(values[0]), []
        return 2, 0.0, _natural(text_of(values[0]))

    return sorted(found, key=rank)


def _natural(text: str) -> list[tuple[bool, int, str]]:
    parts = re.findall(r"[0-9]{1,18}|[^0-9]+", text)
    return [(not part[0].isdigit(), int(part) if part[0].isdigit() else 0, part) for part in parts]


_OPTIONS = (
    flag(
        "--output",
        "-o",
        group="Output",
        metavar="FORMAT",
        help="wide, json, yaml, name, jsonpath=…, jsonpath-as-json=… or custom-columns=….",
    ),
    flag("--no-headers", group="Output", is_flag=True, help="A table without its first line."),
    flag("--sort-by", group="Output", metavar="JSONPATH", help='In the order of what is there: "{.metadata.name}".'),
    flag("--show-labels", group="Output", is_flag=True, help="A table with the labels."),
)


def output_options(command: F) -> F:
    """Gives a command the flags of a listing, and their meaning as ``output``."""

    @functools.wraps(command)
    def chosen(
        *arguments: Any, output: str | None, no_headers: bool, sort_by: str | None, show_labels: bool, **rest: Any
    ) -> Any:
        format, argument = parse_output(output) if output else ("", "")
        meant = Output(
            format=format, argument=argument, headers=not no_headers, sort_by=sort_by or "", labels=show_labels
        )
        return command(*arguments, output=meant, **rest)

    for option in reversed(_OPTIONS):
        chosen = option(chosen)
    return chosen  # type: ignore[return-value]
