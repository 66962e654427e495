"""``nsrun history``: ``docker history``."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from nsrun.cli.age import ago
from nsrun.cli.options import Context, flag, pass_context
from nsrun.cli.size import size
from nsrun.cli.table import table

if TYPE_CHECKING:
    from nsrun.images.details import Step

__all__ = ["command"]

_MISSING = "<missing>"
_COMMAND_WIDTH = 45


@click.command("history")
@click.argument("image", metavar="IMAGE")
@flag("--no-trunc", is_flag=True, help="Whole ids and commands.")
@flag("--quiet", "-q", is_flag=True, help="Only ids.")
@flag("--human/--no-human", "-H", default=True, show_default=True, help="Sizes and times as people say them.")
@flag("--format", type=click.Choice(("table", "json")), default="table", show_default=True, help="How it is written.")
@pass_context
def command(context: Context, image: str, no_trunc: bool, quiet: bool, human: bool, format: str) -> None:
    """Show how an image was made: its layers, the last one first, and what made them."""
    from nsrun.assembly import image_store, short_names
    from nsrun.images.details import details, history
    from nsrun.images.lookup import find_image
    from nsrun.images.wording import sentences

    store = image_store(context.layout)
    with sentences(f'show the history of "{image}"'):
        found = details(store, find_image(store, image, "show", short_names()))
    steps = history(found)
    ids = [found.id if number == 0 else _MISSING for number in range(len(steps))]
    if not no_trunc:
        ids = [id.partition(":")[2][:12] if id != _MISSING else id for id in ids]
    if quiet:
        click.echo("\n".join(ids))
        return
    sizes = _sizes(context, [step.diff_id for step in steps])
    if format == "json":
        rows = zip(ids, steps, strict=True)
        click.echo(json.dumps([_document(id, step, sizes[step.diff_id]) for id, step in rows], indent=4))
        return
    cells = [
        (
            id,
            _created(step.created, human=human),
            step.created_by if no_trunc else _short(step.created_by),
            size(sizes[step.diff_id]) if human else str(sizes[step.diff_id]),
            step.comment,
        )
        for id, step in zip(ids, steps, strict=True)
    ]
    click.echo(table(("IMAGE", "CREATED" if human else "CREATED AT", "CREATED BY", "SIZE", "COMMENT"), cells))


def _sizes(context: Context, diff_ids: list[str]) -> Mapping[str, int]:
    """Bytes in the files of each layer; no layer has none."""
    import asyncio

    from nsrun.images.layers import Layers

    layers = Layers(context.layout.layers)

    async def measured() -> dict[str, int]:
        return {diff_id: await layers.size(diff_id) if diff_id else 0 for diff_id in diff_ids}

    return asyncio.run(measured())


def _document(id: str, step: Step, octets: int) -> dict[str, object]:
    return {
        "id": id,
        "created": step.created,
        "createdBy": step.created_by,
        "size": octets,
        "comment": step.comment,
    }


def _created(text: str, *, human: bool) -> str:
    if not human:
        return text
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return "N/A"
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=datetime.UTC)
    return ago((datetime.datetime.now(datetime.UTC) - moment).total_seconds())


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _COMMAND_WIDTH else f"{line[: _COMMAND_WIDTH - 1]}…"
