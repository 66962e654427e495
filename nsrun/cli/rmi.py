"""``nsrun rmi``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from nsrun.cli.options import Context, flag, pass_context
from nsrun.cli.size import size
from nsrun.errors import NotFoundError, NsrunError

if TYPE_CHECKING:
    from nsrun.images.service import ImageService

__all__ = ["command"]


@click.command("rmi")
@click.argument("references", nargs=-1, metavar="IMAGE...")
@flag("--all", "-a", "everything", is_flag=True, help="All images.")
@flag("--force", "-f", is_flag=True, help="Also of an image that is in use, and all names of an ID; see below.")
@flag("--ignore", "-i", is_flag=True, help="An image that is not there is no error.")
@pass_context
def command(context: Context, references: tuple[str, ...], everything: bool, force: bool, ignore: bool) -> None:
    """Remove images, and what only they need.

    IMAGE is a name, or the beginning of an ID. With --force the name goes also while a container runs from the image;
    what the container needs of it stays until the container has gone. --force means --ignore.
    """
    if everything == bool(references):
        raise click.UsageError("Give either images or --all.")
    asyncio.run(_remove(context, references, everything=everything, force=force, ignore=ignore or force))


async def _remove(
    context: Context, references: tuple[str, ...], *, everything: bool, force: bool, ignore: bool
) -> None:
    """Removes as many as it can, and tells what it cannot at the end."""
    from nsrun.assembly import image_service

    failures: list[NsrunError] = []
    freed = 0
    async with image_service(context.layout) as images:
        for reference in [image.reference for image in await images.list()] if everything else references:
            try:
                freed += await _remove_one(images, reference, force=force)
            except NotFoundError as error:
                failures += [] if ignore else [error]
            except NsrunError as error:
                failures.append(error)
    if freed:
        click.echo(f"Total reclaimed space: {size(freed)}")
    if failures:
        raise failures[0] if len(failures) == 1 else ExceptionGroup("images that stay", failures)


async def _remove_one(images: ImageService, reference: str, *, force: bool) -> int:
    done = await images.remove(reference, force=force)
    for name in done.names:
        click.echo(f"Untagged: {name}")
    for digest in (*sorted(done.removed.blobs), *sorted(done.removed.layers)):
        click.echo(f"Deleted: {digest}")
    return done.removed.freed
