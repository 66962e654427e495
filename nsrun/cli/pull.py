"""``nsrun pull``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nsrun.cli.options import Context, flag, pass_context
from nsrun.cli.size import size

if TYPE_CHECKING:
    from nsrun.images.progress import Progress

__all__ = ["command"]


@click.command("pull")
@click.argument("references", nargs=-1, required=True, metavar="IMAGE...")
@flag("--registries-conf", type=click.Path(path_type=Path), help="A registries.conf(5) to use.")
@flag("--quiet", "-q", is_flag=True, help="Say nothing but the digest.")
@pass_context
def command(context: Context, references: tuple[str, ...], registries_conf: Path | None, quiet: bool) -> None:
    """Fetch images from their registries."""
    for reference in references:
        click.echo(asyncio.run(_pull(context, reference, registries_conf, quiet=quiet)))


async def _pull(context: Context, reference: str, registries_conf: Path | None, *, quiet: bool) -> str:
    from nsrun.assembly import image_service

    async with image_service(context.layout, registries_conf) as images:
        image = await images.pull(reference, _Narrator(quiet=quiet).tell)
    return f"{image.reference}@{image.digest}"


class _Narrator:
    """One line for each step of each layer, on standard error."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._told: set[tuple[str, str]] = set()

    def tell(self, progress: Progress) -> None:
        step = (progress.layer, str(progress.stage))
        if self._quiet or step in self._told:
            return
        self._told.add(step)
        what = progress.layer.partition(":")[2][:12] or progress.reference
        much = f" {size(progress.total)}" if progress.total else ""
        click.echo(f"{what}: {progress.stage}{much}", err=True)
