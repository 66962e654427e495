"""``nsrun image mount``: ``podman image mount``, at a place of one's own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from nsrun.cli.options import Context, pass_context
from nsrun.cli.table import table
from nsrun.errors import ImageError

__all__ = ["command"]


@click.command("mount")
@click.argument("image", required=False, metavar="[IMAGE")
@click.argument("directory", required=False, type=click.Path(path_type=Path), metavar="DIRECTORY]")
@pass_context
def command(context: Context, image: str | None, directory: Path | None) -> None:
    """Mount an image on a directory, to look into it: read-only, and without devices, set-user-ID or programs.

    Without arguments it lists what is mounted. What is mounted is in use: rmi and prune leave it alone. A mount goes
    with nsrun image umount, or umount(8), and with the mount namespace that this command runs in.
    """
    if image is None:
        _list(context)
    elif directory is None:
        raise click.UsageError("Missing argument 'DIRECTORY'.")
    else:
        asyncio.run(_mount(context, image, directory))
        click.echo(directory)


def _list(context: Context) -> None:
    from nsrun.assembly import image_store
    from nsrun.images.mounts import mounted_images

    names: dict[str, str] = {}
    for image in image_store(context.layout).images():
        names.setdefault(image.digest, str(image.reference))
    rows = [(names.get(mounted.digest, mounted.digest), mounted.path) for mounted in mounted_images()]
    if rows:
        click.echo(table(("IMAGE", "MOUNTED ON"), rows))
    else:
        click.echo("No images are mounted.", err=True)


async def _mount(context: Context, image: str, directory: Path) -> None:
    from nsrun.assembly import image_service, image_store, short_names
    from nsrun.images.lookup import find_image
    from nsrun.images.mounts import mount_image
    from nsrun.images.wording import sentences

    store = image_store(context.layout)
    with sentences(f'mount image "{image}"'), store.intake():  # nothing is collected until the mount is there
        reference = str(find_image(store, image, "mount", short_names()).reference)
        async with image_service(context.layout) as images:  # what others wrote into the store is not unpacked yet
            found = await images.resolve(reference)
        if found is None:
            raise ImageError("something of it is gone", hint=f"nsrun pull {reference}")
        mount_image(found.digest, [Path(layer) for layer in found.layers], directory, empty=context.layout.stage)
