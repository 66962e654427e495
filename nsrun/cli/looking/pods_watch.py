"""``nsrun pods -w``: the list, and then a line for each change, as ``kubectl get -w`` has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from nsrun.cli.documents import Document, at
from nsrun.cli.output import Column, Kind, Output, write_listing
from nsrun.errors import ApiError

__all__ = ["watch_pods"]


def watch_pods(
    told: Iterator[Document], meant: Callable[[Document], bool], output: Output, kind: Callable[[], Kind[Document]]
) -> None:
    """``told``: what the watch of the API gives. ``kind``: how pods are listed now. Never returns. Raises ApiError when
    nsrun ends."""
    first = [pod for pod in _initial(told) if meant(pod)]
    shown = [column for column in kind().columns if output.wide or not column.wide]
    widths = {column.title: max(len(column.title), *map(len, map(column.cell, first)), 0) for column in shown}
    for some in [first] if output.table and first else [[pod] for pod in first]:
        write_listing(some, output, kind(), single=not output.table)
    headers = output.headers and not first
    for change in told:
        pod = _pod(change)
        if meant(pod):
            write_listing([pod], replace(output, headers=headers), _padded(kind(), widths), single=True)
            headers = False
    raise ApiError("cannot watch the pods any more: nsrun has ended")


def _initial(told: Iterator[Document]) -> Iterator[Document]:
    for change in told:
        if change["type"] == "BOOKMARK":
            return
        yield _pod(change)


def _pod(change: Document) -> Document:
    pod = at(change, "object")
    assert isinstance(pod, dict)
    return pod


def _padded(kind: Kind[Document], widths: dict[str, int]) -> Kind[Document]:
    """With columns as wide as they were."""
    return replace(
        kind,
        columns=[replace(column, cell=partial(_cell, column, widths.get(column.title, 0))) for column in kind.columns],
    )


def _cell(column: Column[Document], width: int, pod: Document) -> str:
    return column.cell(pod).ljust(width)
