"""``nsrun images``."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from nsrun.cli.options import Context, flag, pass_context
from nsrun.cli.output import Column, Kind, Output, output_options, write_listing
from nsrun.cli.size import size

if TYPE_CHECKING:
    from nsrun.images.service import ImageSummary
    from nsrun.images.tree import LayerNode, StoredLayers

__all__ = ["command", "tree_lines"]


@click.command("images")
@flag("--tree", is_flag=True, help="The layers as they lie on each other, with what they take.")
@output_options
@pass_context
def command(context: Context, tree: bool, output: Output) -> None:
    """List the images of the store.

    SIZE is that of the blobs, compressed, as the registry has them; nsrun store df tells what the disk holds.
    """
    if tree:
        _show_tree(asyncio.run(_stored(context)))
        return
    kind: Kind[ImageSummary] = Kind(
        columns=(
            Column(title="REPOSITORY", cell=lambda image: split_reference(image.reference)[0]),
            Column(title="TAG", cell=lambda image: split_reference(image.reference)[1]),
            Column(title="IMAGE ID", cell=lambda image: image.config_digest.partition(":")[2][:12]),
            Column(title="SIZE", cell=lambda image: size(image.size)),
            Column(title="DIGEST", cell=lambda image: image.digest, wide=True),
            Column(title="PLATFORM", cell=lambda image: image.platform, wide=True),
        ),
        document=dataclasses.asdict,
        name=lambda image: image.reference,
        nothing="No images found.",
    )
    write_listing(asyncio.run(_list(context)), output, kind)


async def _list(context: Context) -> tuple[ImageSummary, ...]:
    from nsrun.assembly import image_service

    async with image_service(context.layout) as images:
        return await images.list()


async def _stored(context: Context) -> tuple[StoredLayers, ...]:
    from nsrun.assembly import image_service

    async with image_service(context.layout) as images:
        return await images.keeper.stored()


def _show_tree(images: Sequence[StoredLayers]) -> None:
    from nsrun.images.tree import forest

    lines = [line for root in forest(images) for line in tree_lines(root)]
    click.echo("\n".join(lines) if lines else "No images found.", err=not lines)


def tree_lines(node: LayerNode, first: str = "", rest: str = "") -> Iterator[str]:
    """A layer and all that lies on it: what lies on it alone right below it, where there are several, and names of
    images, branches. ``first``, ``rest``: what its own line and those below it begin with."""
    yield f"{first}{_layer_line(node)}"
    while len(node.above) == 1 and not node.images:
        node = node.above[0]
        yield f"{rest}{_layer_line(node)}"
    branches: Sequence[str | LayerNode] = [*node.images, *node.above]
    for place, branch in enumerate(branches, 1):
        corner, trunk = ("└── ", "    ") if place == len(branches) else ("├── ", "│   ")
        if isinstance(branch, str):
            yield f"{rest}{corner}{branch}"
        else:
            yield from tree_lines(branch, f"{rest}{corner}", f"{rest}{trunk}")


def _layer_line(node: LayerNode) -> str:
    layer = node.layer
    unpacked = f"{size(layer.unpacked)} unpacked" if layer.unpacked else "not unpacked"
    shared = f", shared by {node.count} images" if node.count > 1 else ""
    return f"{layer.diff_id.partition(':')[2][:12]}  {size(layer.compressed)}, {unpacked}{shared}"


def split_reference(reference: str) -> tuple[str, str]:
    """``a:5000/b:c@sha256:…`` → (``a:5000/b``, ``c``); ``<none>`` without a tag."""
    name = reference.partition("@")[0]
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        return name, "<none>"
    return repository, tag
