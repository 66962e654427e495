"""``nsrun prune``, as ``docker image prune`` and ``podman image prune``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from nsrun.cli.age import seconds_of
from nsrun.cli.options import Context, flag, pass_context
from nsrun.cli.size import size
from nsrun.errors import SettingsError

if TYPE_CHECKING:
    from nsrun.images.details import Details
    from nsrun.images.keeper import Pruned

__all__ = ["command", "parse_filters"]

_UNNAMED = "content of the store that no image needs"
_ALL = "all images that nothing runs from, and " + _UNNAMED

Filter = Callable[["Details"], bool]


@click.command("prune")
@flag("--all", "-a", "everything", is_flag=True, help="Also images with a name, if nothing runs from them.")
@flag("--filter", "filters", multiple=True, metavar="KEY=VALUE", help="Of these only: until=24h, label=NAME[=VALUE].")
@flag("--force", "-f", is_flag=True, help="Do not ask.")
@flag("--dry-run", is_flag=True, help="Say what would go.")
@pass_context
def command(context: Context, everything: bool, filters: tuple[str, ...], force: bool, dry_run: bool) -> None:
    """Remove what no image needs: images without a name, their layers, downloads that were broken off.

    With --all, also the images that nothing runs from. What a container was made from stays, and so does what a
    running pull brings in.
    """
    wanted = parse_filters(filters, now=time.time())
    if not (force or dry_run):
        click.echo(f"This removes {_ALL if everything else _UNNAMED}.", err=True)
        click.confirm("Go on?", abort=True, err=True)
    _tell(asyncio.run(_prune(context, wanted if everything else None, dry_run=dry_run)), dry_run=dry_run)


async def _prune(context: Context, wanted: Filter | None, *, dry_run: bool) -> Pruned:
    from nsrun.assembly import image_service

    async with image_service(context.layout) as images:
        return await images.keeper.prune(wanted, dry_run=dry_run)


def _tell(done: Pruned, *, dry_run: bool) -> None:
    for name in done.names:
        click.echo(f"{'Would untag' if dry_run else 'Untagged'}: {name}")
    for digest in (*sorted(done.removed.blobs), *sorted(done.removed.layers)):
        click.echo(f"{'Would delete' if dry_run else 'Deleted'}: {digest}")
    click.echo(f"Total {'reclaimable' if dry_run else 'reclaimed'} space: {size(done.removed.freed)}")


def parse_filters(texts: Sequence[str], *, now: float) -> Filter:
    """Whether an image is meant: all keys must be true of it. ``until``: made before that time, or so long before
    ``now``; an image that does not say when it was made is old. Raises SettingsError."""
    filters = [_parse(text, now) for text in texts]
    return lambda image: all(one(image) for one in filters)


def _parse(text: str, now: float) -> Filter:
    key, equals, value = text.partition("=")
    key, negative = key.removesuffix("!"), key.endswith("!")
    if key == "until" and equals and not negative:
        limit = _time(value, now)
        return lambda image: _created(image) < limit
    if key == "label" and value:
        name, with_value, label = value.partition("=")
        return lambda image: _has_label(image, name, label if with_value else None) != negative
    raise SettingsError(f'cannot use --filter "{text}"', hint="until=TIME, label=NAME[=VALUE] or label!=NAME[=VALUE]")


def _time(value: str, now: float) -> float:
    try:
        if value.isdecimal():
            return float(value)
        if value[:4].isdecimal():
            return _seconds(value)
        return now - seconds_of(value)
    except ValueError:
        raise SettingsError(
            f'cannot use --filter "until={value}"', hint="a duration (24h), a time (2026-01-31T12:00:00Z) or seconds"
        ) from None


def _created(image: Details) -> float:
    try:
        return _seconds(str(image.configuration.get("created")))
    except ValueError:
        return 0.0


def _seconds(text: str) -> float:
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()


def _has_label(image: Details, name: str, value: str | None) -> bool:
    config = image.configuration.get("config")
    labels = config.get("Labels") if isinstance(config, Mapping) else None
    found = labels.get(name) if isinstance(labels, Mapping) else None
    return found is not None and value in (None, found)
