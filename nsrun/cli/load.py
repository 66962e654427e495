"""``nsrun load``."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from nsrun.cli.options import Context, pass_context

__all__ = ["command"]


@click.command("load")
@click.argument("archives", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="PATH...")
@pass_context
def command(context: Context, archives: tuple[Path, ...]) -> None:
    """Put images into the store: from an OCI layout (directory or tar) or a docker-archive."""
    for reference in asyncio.run(_load(context, archives)):
        click.echo(f"Loaded image: {reference}")


async def _load(context: Context, archives: tuple[Path, ...]) -> list[str]:
    from nsrun.assembly import image_service

    async with image_service(context.layout) as images:
        return [reference for archive in archives for reference in await images.load(archive)]
