"""``nsrun image inspect``: ``docker image inspect``."""

from __future__ import annotations

import click

from nsrun.cli.looking.inspect import FORMATS, write_found
from nsrun.cli.options import Context, flag, pass_context
from nsrun.errors import SettingsError

__all__ = ["command"]


@click.command("inspect")
@click.argument("references", nargs=-1, required=True, metavar="IMAGE...")
@flag("--format", "-f", "template", metavar="JSONPATH", help="Of each only what is there: {.Config.Cmd}.")
@flag("--output", "-o", metavar="FORMAT", help=f"{FORMATS}.  [default: json]")
@pass_context
def command(context: Context, references: tuple[str, ...], template: str | None, output: str | None) -> None:
    """Show all that is known of images, as docker has it: configuration, digests, layers and where they are.

    Size is that of the compressed layers, as nsrun images shows it. A list, even of one.
    """
    if template is not None and output is not None:
        raise SettingsError("cannot use --format and --output together")
    from nsrun.assembly import image_store, short_names
    from nsrun.images.details import details, document
    from nsrun.images.layers import Layers
    from nsrun.images.lookup import find_image
    from nsrun.images.wording import sentences

    store, layers, names = image_store(context.layout), Layers(context.layout.layers), short_names()
    found = []
    for reference in references:
        with sentences(f'inspect image "{reference}"'):
            found.append(document(details(store, find_image(store, reference, "inspect", names)), layers))
    write_found(found, template, output)
