"""``nsrun images``."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING

import click

from nsrun.cli.documents import render
from nsrun.cli.options import Context, output_option, pass_context
from nsrun.cli.size import size
from nsrun.cli.table import table

if TYPE_CHECKING:
    from nsrun.images.service import ImageSummary

__all__ = ["command"]

HEADER = ("REPOSITORY", "TAG", "IMAGE ID", "SIZE")
WIDE = ("DIGEST", "PLATFORM")


@click.command("images")
@output_option("json", "yaml", "wide", "name")
@pass_context
def command(context: Context, output: str | None) -> None:
    """List the images of the store."""
    found = asyncio.run(_list(context))
    if output in ("json", "yaml"):
        click.echo(render([dataclasses.asdict(image) for image in found], output))
    elif output == "name":
        for image in found:
            click.echo(image.reference)
    else:
        header = (*HEADER, *WIDE) if output == "wide" else HEADER
        click.echo(table(header, [_row(image, wide=output == "wide") for image in found]))


async def _list(context: Context) -> tuple[ImageSummary, ...]:
    from nsrun.assembly import image_service

    async with image_service(context.layout) as images:
        return await images.list()


def _row(image: ImageSummary, *, wide: bool) -> tuple[str, ...]:
    repository, tag = split_reference(image.reference)
    row = (repository, tag, image.config_digest.partition(":")[2][:12], size(image.size))
    return (*row, image.digest, image.platform) if wide else row


def split_reference(reference: str) -> tuple[str, str]:
    """``a:5000/b:c@sha256:…`` → (``a:5000/b``, ``c``); ``<none>`` without a tag."""
    name = reference.partition("@")[0]
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        return name, "<none>"
    return repository, tag
