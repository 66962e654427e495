"""``nsrun store check``."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from nsrun.cli.options import Context, flag, pass_context

if TYPE_CHECKING:
    from nsrun.images.check import Finding

__all__ = ["command"]

EXIT_FINDINGS = 1
_WIDTH = 40


@click.command("check")
@flag("--repair", is_flag=True, help="Remove what is damaged or left over. Nothing is fetched.")
@flag("--quick", is_flag=True, help="Only whether all is there and has its size, not what is in it.")
@flag("--output", "-o", group="Output", type=click.Choice(["json"]), help="How it is written.")
@pass_context
@click.pass_context
def command(ctx: click.Context, context: Context, repair: bool, quick: bool, output: str | None) -> None:
    """Look whether the store of images is whole: every blob, every document, every file of every unpacked layer.

    Each finding is a line, with what helps below it. Exit code 0: nothing is wrong, or all was repaired; 1: something
    is.
    """
    findings = asyncio.run(_check(context, repair=repair, quick=quick))
    if output == "json":
        click.echo(json.dumps({"findings": [dataclasses.asdict(finding) for finding in findings]}, indent=4))
    else:
        _tell(findings)
    ctx.exit(EXIT_FINDINGS if any(not finding.repaired for finding in findings) else 0)


async def _check(context: Context, *, repair: bool, quick: bool) -> Sequence[Finding]:
    from nsrun.assembly import image_service

    progress = _Progress()
    async with image_service(context.layout) as images:
        try:
            findings = await images.keeper.check(quick=quick, watch=progress.tell)
        finally:
            progress.clear()
        if repair and findings:
            findings = await images.keeper.repair(findings, _waiting)
        return findings


def _waiting() -> None:
    click.echo("Waiting for pulls to end …", err=True)


def _tell(findings: Sequence[Finding]) -> None:
    for finding in findings:
        click.echo(f"{finding}{': repaired' if finding.repaired else ''}")
        if not finding.repaired:
            click.echo(f"       ({finding.left or finding.remedy})")
    left = sum(not finding.repaired for finding in findings)
    repaired = len(findings) - left
    if not findings:
        click.echo("The store is whole.", err=True)
    else:
        parts = [f"{left} to see to"] if left else []
        parts += [f"{repaired} repaired"] if repaired else []
        click.echo(f"{len(findings)} finding{'s' * (len(findings) > 1)}: {', '.join(parts)}.", err=True)


class _Progress:
    """A line on a terminal that tells how far it is."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()

    def tell(self, what: str, done: int, total: int) -> None:
        if self._shown:
            click.echo(f"\r{f'Looked at {done} of {total} {what}':<{_WIDTH}}", nl=False, err=True)

    def clear(self) -> None:
        if self._shown:
            click.echo(f"\r{'':<{_WIDTH}}\r", nl=False, err=True)
