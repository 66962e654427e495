"""``nsrun images``."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING

import click

from nsrun.cli.options import Context, pass_context
from nsrun.cli.output import Column, Kind, Output, output_options, write_listing
from nsrun.cli.size import size

if TYPE_CHECKING:
    from nsrun.images.service import ImageSummary

__all__ = ["command"]


@click.command("images")
@output_options
@pass_context
def command(context: Context, output: Output) -> None:
    """List the images of the store."""
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


def split_reference(reference: str) -> tuple[str, str]:
    """``a:5000/b:c@sha256:…`` → (``a:5000/b``, ``c``); ``<none>`` without a tag."""
    name = reference.partition("@")[0]
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        return name, "<none>"
    return repository, tag
