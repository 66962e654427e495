"""``nsrun load``: ``docker load``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from nsrun.cli.options import Context, flag, pass_context
from nsrun.errors import SettingsError

__all__ = ["command"]

_STDIN = Path("/dev/stdin")


@click.command("load")
@click.argument("archives", nargs=-1, type=click.Path(path_type=Path), metavar="[PATH...]")
@flag("--input", "-i", type=click.Path(path_type=Path), help="The archive, as a flag. - is standard input.")
@flag("--policy", type=click.Path(path_type=Path), metavar="FILE", help="A policy.json(5) to use.")
@flag("--quiet", "-q", is_flag=True, help="Do not tell what was loaded.")
@pass_context
def command(context: Context, archives: tuple[Path, ...], input: Path | None, policy: Path | None, quiet: bool) -> None:
    """Put images into the store: from an OCI layout (directory or tar), or what docker save writes and wrote.

    Without a PATH the archive comes from standard input. It may be compressed: gzip, zstd, xz or bzip2.
    """
    paths = (*archives, *([input] if input is not None else [])) or (_STDIN,)
    if paths == (_STDIN,) and input is None and sys.stdin.isatty():
        raise SettingsError("cannot load images: standard input is a terminal", hint="a PATH, -i FILE, or a pipe")
    found = asyncio.run(_load(context, [_STDIN if str(path) == "-" else path for path in paths], policy))
    if not quiet:
        for reference in found:
            click.echo(f"Loaded image: {reference}")


async def _load(context: Context, archives: list[Path], policy: Path | None) -> list[str]:
    from nsrun.assembly import image_service

    async with image_service(context.layout, policy=policy) as images:
        return [reference for archive in archives for reference in await images.load(archive)]
