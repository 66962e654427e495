"""``nsrun pull``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nsrun.cli.options import Context, flag, pass_context
from nsrun.cli.registry_flags import RegistryFlags, registry_flags
from nsrun.errors import ImageError, NsrunError

if TYPE_CHECKING:
    from nsrun.images.progress import Report
    from nsrun.images.reference import Reference
    from nsrun.images.service import ImageService

__all__ = ["command"]


@click.command("pull")
@click.argument("references", nargs=-1, required=True, metavar="IMAGE...")
@registry_flags
@flag("--policy", type=click.Path(path_type=Path), metavar="FILE", help="A policy.json(5) to use.")
@flag("--quiet", "-q", is_flag=True, help="Say nothing but the digest.")
@pass_context
def command(
    context: Context, references: tuple[str, ...], flags: RegistryFlags, policy: Path | None, quiet: bool
) -> None:
    """Fetch images from their registries, whatever is here already; say each with its digest.

    What can be had of several is had, though another one cannot.
    """
    from nsrun.assembly import image_service

    service = image_service(
        context.layout,
        flags.registries_conf,
        policy,
        auth_file=flags.authfile,
        keychain=flags.keychain,
        certificates=flags.cert_dir,
        verify=flags.tls_verify,
    )
    # Before the event loop is there, which takes the first Ctrl-C for itself.
    wanted = [(text, _chosen(service, text)) for text in references]
    failures = asyncio.run(_pull_all(service, wanted, quiet=quiet))
    if len(failures) > 1:
        raise ExceptionGroup("some images cannot be pulled", failures)
    if failures:
        raise failures[0]


async def _pull_all(
    service: ImageService, wanted: Sequence[tuple[str, Reference | None]], *, quiet: bool
) -> list[NsrunError]:
    from nsrun.cli.pull_progress import shown

    failures: list[NsrunError] = []
    async with service as images:
        for text, chosen in wanted:
            try:
                with shown(quiet=quiet) as report:
                    pulled = await _pull(images, text, chosen, report)
                click.echo(pulled)
            except NsrunError as error:
                failures.append(error)
    return failures


async def _pull(images: ImageService, text: str, chosen: Reference | None, report: Report) -> str:
    image = await images.pull(text if chosen is None else str(chosen), report)
    if chosen is not None:
        await images.remember(text, chosen)
    return f"{image.reference}@{image.digest}"


def _chosen(images: ImageService, text: str) -> Reference | None:
    """What a person at a terminal means by a name that may be in several registries; None when nothing is to be
    asked."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return None
    try:
        choices = images.names.to_choose(text)
    except ImageError:
        return None  # it is no name, which the pull says
    if not choices:
        return None
    for number, choice in enumerate(choices, 1):
        click.echo(f"{number:3} {choice}", err=True)
    answer = click.prompt(f'Which one is "{text}"', type=click.IntRange(1, len(choices)), err=True)
    return choices[answer - 1]
