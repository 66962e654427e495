"""``nsrun rmi``."""

from __future__ import annotations

import asyncio

import click

from nsrun.cli.options import Context, pass_context

__all__ = ["command"]


@click.command("rmi")
@click.argument("references", nargs=-1, required=True, metavar="IMAGE...")
@pass_context
def command(context: Context, references: tuple[str, ...]) -> None:
    """Remove images, and what only they need."""
    asyncio.run(_remove(context, references))


async def _remove(context: Context, references: tuple[str, ...]) -> None:
    from nsrun.assembly import image_service

    async with image_service(context.layout) as images:
        for reference in references:
            await images.remove(reference)
            click.echo(f"Untagged: {reference}")
