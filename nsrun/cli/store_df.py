"""``nsrun store df``: what the images take, as ``docker system df`` tells it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import click

from nsrun.cli.options import Context, flag, pass_context
from nsrun.cli.size import size
from nsrun.cli.table import table

if TYPE_CHECKING:
    from nsrun.images.collect import Removed
    from nsrun.images.tree import StoredLayers

__all__ = ["command"]

_SHORT = 12

Row = dict[str, int | str]


@click.command("df")
@flag("--verbose", "-v", is_flag=True, help="Every image, with what it shares and what it alone takes.")
@flag("--output", "-o", group="Output", type=click.Choice(["json"]), help="How it is written.")
@pass_context
def command(context: Context, verbose: bool, output: str | None) -> None:
    """Show what images take: their blobs, as they were fetched, and their files, unpacked.

    What is shared counts once. Reclaimable is what nsrun prune --all would give back.
    """
    images, unneeded = asyncio.run(_look(context))
    totals, single = _totals(images, unneeded), _single(images)
    if output == "json":
        click.echo(json.dumps({"totals": totals, "images": single}, indent=4))
        return
    click.echo(table(("TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"), [_total_cells(row) for row in totals]))
    if verbose:
        titles = ("IMAGE", "IMAGE ID", "SIZE", "SHARED SIZE", "UNIQUE SIZE", "ACTIVE")
        click.echo("\n" + table(titles, [_single_cells(row) for row in single]))


async def _look(context: Context) -> tuple[tuple[StoredLayers, ...], Removed]:
    from nsrun.assembly import image_service

    async with image_service(context.layout) as images:
        return await images.keeper.stored(), await images.keeper.unneeded()


def _totals(images: tuple[StoredLayers, ...], unneeded: Removed) -> list[Row]:
    """Blobs and layers that all images need, those that the used ones need, and what nothing does."""
    rows: list[Row] = []
    for kind in ("blobs", "layers"):
        everything, active = {}, {}
        for image in images:
            found = _parts(image, kind)
            everything.update(found)
            if image.used:
                active.update(found)
        whole, used = sum(everything.values()), sum(active.values())
        rows.append(
            {"type": kind, "total": len(everything), "active": len(active), "size": whole, "reclaimable": whole - used}
        )
    count = len(unneeded.blobs) + len(unneeded.layers)
    rows.append(
        {"type": "unneeded", "total": count, "active": 0, "size": unneeded.freed, "reclaimable": unneeded.freed}
    )
    return [
        {"type": "images", "total": len(images), "active": sum(image.used for image in images), **_sum(rows)},
        *rows,
    ]


def _sum(rows: list[Row]) -> Row:
    images = rows[:2]
    return {key: sum(int(row[key]) for row in images) for key in ("size", "reclaimable")}


def _parts(image: StoredLayers, kind: str) -> dict[str, int]:
    if kind == "layers":
        return {layer.diff_id: layer.unpacked for layer in image.layers if layer.unpacked}
    return {image.id: image.documents, **{layer.blob: layer.compressed for layer in image.layers}}


def _total_cells(row: Row) -> tuple[str, ...]:
    whole, free = int(row["size"]), int(row["reclaimable"])
    percent = f" ({free * 100 // whole}%)" if whole else ""
    name = {"images": "Images", "blobs": "  Blobs", "layers": "  Layers", "unneeded": "Unneeded"}[str(row["type"])]
    return name, str(row["total"]), str(row["active"]), size(whole), size(free) + percent


def _single(images: tuple[StoredLayers, ...]) -> list[Row]:
    from nsrun.images.tree import shared_and_own

    return [
        {
            "image": ", ".join(use.image.names),
            "id": use.image.id,
            "size": use.shared + use.own,
            "shared": use.shared,
            "unique": use.own,
            "active": int(use.image.used),
        }
        for use in shared_and_own(images)
    ]


def _single_cells(row: Row) -> tuple[str, ...]:
    sizes = [size(int(row[key])) for key in ("size", "shared", "unique")]
    short = str(row["id"]).partition(":")[2][:_SHORT]
    return str(row["image"]), short, *sizes, "yes" if row["active"] else "no"
