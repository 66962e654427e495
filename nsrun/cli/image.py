"""``nsrun image``: all that can be done with images, as docker and podman group it."""

from __future__ import annotations

import click

from nsrun.cli.verbs import Verbs

__all__ = ["VERBS", "command"]

VERBS = {
    "history": "nsrun.cli.history",
    "inspect": "nsrun.cli.image_inspect",
    "load": "nsrun.cli.load",
    "ls": "nsrun.cli.images",
    "mount": "nsrun.cli.image_mount",
    "prune": "nsrun.cli.prune",
    "pull": "nsrun.cli.pull",
    "push": "nsrun.cli.push",
    "rm": "nsrun.cli.rmi",
    "save": "nsrun.cli.save",
    "tag": "nsrun.cli.tag",
    "umount": "nsrun.cli.image_umount",
    "unmount": "nsrun.cli.image_umount",
}
"""Verb → module. What docker has as a short form too (``nsrun save``) is the same command."""


@click.group("image", cls=Verbs, modules=VERBS)
def command() -> None:
    """Keep images: every verb that docker and podman have for them."""
