"""``nsrun top``: what pods and containers use, as it changes; once, as ``kubectl top pod``."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

import click

from nsrun.cli.documents import Document, at, rows_at
from nsrun.cli.looking.usage_rows import SORTS, UsageRow, columns, container_rows, ordered, pod_rows
from nsrun.cli.options import Context, flag, pass_context
from nsrun.cli.output import Kind, Output, parse_output, write_listing
from nsrun.cli.selectors import Selection, selection_options
from nsrun.errors import ApiError

__all__ = ["command"]

_WHAT = {"pods": False, "pod": False, "po": False, "containers": True, "container": True}
_FORMATS = ("json", "yaml", "wide", "name")


@click.command("top")
@click.argument("what", default="pods", type=click.Choice(list(_WHAT)), metavar="[pods|containers]")
@flag("--once", group="Output", is_flag=True, help="Print once, as it does when it is not on a terminal.")
@flag("--containers", group="Output", is_flag=True, help="The containers of each pod.")
@flag("--sort-by", group="Output", type=click.Choice(list(SORTS)), default="cpu", show_default=True, help="Order.")
@flag(
    "--interval",
    "-i",
    group="Output",
    type=click.FloatRange(0.5, 3600),
    default=2.0,
    show_default=True,
    help="Seconds between two looks.",
)
@flag("--output", "-o", group="Output", metavar="FORMAT", help="Once, as json, yaml, wide or name.")
@flag("--no-headers", group="Output", is_flag=True, help="A table without its first line.")
@selection_options
@pass_context
def command(
    context: Context,
    what: str,
    once: bool,
    containers: bool,
    sort_by: str,
    interval: float,
    output: str | None,
    no_headers: bool,
    selection: Selection,
) -> None:
    """Show what pods, or containers, use: processor, memory, network, devices.

    On a terminal it goes on until q or Ctrl-C. Pods of the host's network have no figures of a network of their own;
    where nothing counts the use of devices there is a dash.
    """
    containers = containers or _WHAT[what]
    format = parse_output(output, allowed=_FORMATS)[0] if output else ""
    if once or output or not (sys.stdin.isatty() and sys.stdout.isatty()):
        rows = _rows(context.api.usage(), selection, containers)
        write_listing(ordered(rows, sort_by), Output(format=format, headers=not no_headers), _kind(containers))
    else:
        _watch(context, selection, containers, sort_by, interval)


def _rows(usage: Document, selection: Selection, containers: bool) -> list[UsageRow]:
    pods: Sequence[Document] = selection.of(rows_at(usage, "pods"))
    return container_rows(pods) if containers else pod_rows(pods)


def _kind(containers: bool) -> Kind[UsageRow]:
    def document(row: UsageRow) -> Document:
        if not row.container:
            return row.document
        network = {name: row.number(name) for name in ("receivedBytes", "sentBytes")}
        return {"namespace": row.namespace, "pod": row.pod, **row.document, **network}

    return Kind(
        columns=columns(containers=containers),
        document=document,
        name=lambda row: row.name if containers else f"pod/{row.name}",
        nothing="Nothing runs.",
    )


def _watch(context: Context, selection: Selection, containers: bool, sort_by: str, interval: float) -> None:
    from nsrun.cli.looking.screen import Screen
    from nsrun.cli.looking.top_frame import KEYS, MACHINE, History, View, cpu_of, frame

    view = View(
        sort_by=sort_by,
        containers=containers,
        plain="utf" not in (sys.stdout.encoding or "").lower(),
        colour="NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb",
    )
    history, usage = History(), context.api.usage()
    with Screen() as screen:
        while True:
            due, node = time.monotonic() + interval, _document(at(usage, "node"))
            everything = [row for kind in (False, True) for row in _rows(usage, selection, kind)]
            history.add({row.key: row.number("cpuNanoCores") for row in everything} | {MACHINE: cpu_of(node)})
            while (left := due - time.monotonic()) > 0:
                rows = [row for row in everything if bool(row.container) is view.containers]
                screen.draw(frame(node, rows, history, view, width=screen.size[0]))
                key = screen.key(left)
                if key in ("q", "Q", "\x03", "\x04"):
                    return
                if key == "p":
                    view = replace(view, containers=not view.containers)
                elif key in KEYS:
                    view = replace(view, sort_by=KEYS[key])
            try:
                usage, view = context.api.usage(), replace(view, notice="")
            except ApiError as error:
                view = replace(view, notice=error.message)


def _document(node: object) -> Document:
    return node if isinstance(node, dict) else {}
