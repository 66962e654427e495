"""``nsrun save``: ``docker save``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nsrun.cli.options import Context, flag, pass_context
from nsrun.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nsrun.images.store import Store, StoredImage

__all__ = ["command"]

_FORMS = ("oci-archive", "docker-archive", "oci-dir")


@click.command("save")
@click.argument("references", nargs=-1, required=True, metavar="IMAGE...")
@flag("--output", "-o", type=click.Path(path_type=Path), help="The file, or the directory of oci-dir. - is stdout.")
@flag("--format", type=click.Choice(_FORMS), default=_FORMS[0], show_default=True, help="What is written.")
@pass_context
def command(context: Context, references: tuple[str, ...], output: Path | None, format: str) -> None:
    """Write images into one archive, to standard output or a file: nsrun load, podman, docker and skopeo read it.

    The same images make the same bytes. docker-archive is for tools that know no OCI archives: it has no manifests, so
    digests are not kept.
    """
    from nsrun.assembly import image_store, short_names
    from nsrun.images.lookup import find_image
    from nsrun.images.wording import sentences

    target = None if output is None or str(output) == "-" else output
    if target is None and format == "oci-dir":
        raise SettingsError("cannot save images as oci-dir: a directory is missing", hint="-o DIRECTORY")
    if target is None and sys.stdout.isatty():
        raise SettingsError("cannot save images: standard output is a terminal", hint="-o FILE, or a pipe")
    store = image_store(context.layout)
    with sentences(f"save {', '.join(references)}"):
        names = short_names()
        images = [find_image(store, reference, "save", names) for reference in references]
        _save(store, images, format, target)


def _save(store: Store, images: Sequence[StoredImage], format: str, target: Path | None) -> None:
    from nsrun.images.save import Form, save_archive, save_directory, save_file

    form = Form(format)
    if target is None:
        save_archive(store, images, form, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    elif form is Form.OCI_DIR:
        save_directory(store, images, target)
    else:
        save_file(store, images, form, target)
