"""``nsrun image umount``: ``podman image unmount``."""

from __future__ import annotations

import os

import click

from nsrun.cli.options import Context, flag, pass_context
from nsrun.errors import NotFoundError, SettingsError

__all__ = ["command"]


@click.command("umount")
@click.argument("references", nargs=-1, metavar="IMAGE|DIRECTORY...")
@flag("--all", "-a", "everything", is_flag=True, help="Every image that is mounted.")
@pass_context
def command(context: Context, references: tuple[str, ...], everything: bool) -> None:
    """Unmount images that nsrun image mount has mounted, each wherever it is mounted."""
    if bool(references) == everything:
        raise SettingsError("cannot unmount images: name them, or use --all")
    from nsrun.images.mounts import mounted_images, unmount

    mounted = mounted_images()
    found = [one.path for one in mounted] if everything else []
    for wanted in references:
        path = os.path.abspath(wanted)
        places = [one.path for one in mounted if one.path == path] or [
            one.path for one in mounted if one.digest == _digest(context, wanted)
        ]
        if not places:
            raise NotFoundError(f'cannot unmount "{wanted}": it is not mounted', hint="nsrun image mount lists what is")
        found += places
    for place in reversed(list(dict.fromkeys(found))):
        unmount(place)
        click.echo(place)


def _digest(context: Context, image: str) -> str:
    """Of the image's manifest, empty when there is no such image."""
    from nsrun.assembly import image_store, short_names
    from nsrun.errors import ImageError
    from nsrun.images.lookup import find_image

    try:
        return find_image(image_store(context.layout), image, "unmount", short_names()).digest
    except (NotFoundError, ImageError):
        return ""
