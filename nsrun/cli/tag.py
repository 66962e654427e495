"""``nsrun tag``: ``podman tag``."""

from __future__ import annotations

from dataclasses import replace

import click

from nsrun.cli.options import Context, pass_context

__all__ = ["command"]


@click.command("tag")
@click.argument("image", metavar="IMAGE")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@pass_context
def command(context: Context, image: str, names: tuple[str, ...]) -> None:
    """Give an image more names. A name that another image has goes over to this one; nsrun rmi takes a name away."""
    from nsrun.assembly import image_store, short_names
    from nsrun.images.lookup import find_image, new_name
    from nsrun.images.wording import sentences

    store = image_store(context.layout)
    with sentences(f'tag image "{image}"'):
        wanted = [new_name(name) for name in names]
        with store.intake():  # nothing is collected meanwhile
            found = find_image(store, image, "tag", short_names())
            for reference in wanted:
                store.tag(replace(found, reference=reference, secrets=frozenset()))
