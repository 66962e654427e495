"""``nsrun store``: what the disk holds of images, and whether it is whole."""

from __future__ import annotations

import click

from nsrun.cli.verbs import Verbs

__all__ = ["VERBS", "command"]

VERBS = {
    "check": "nsrun.cli.store_check",
    "df": "nsrun.cli.store_df",
}


@click.group("store", cls=Verbs, modules=VERBS)
def command() -> None:
    """Look after the store of images: what takes how much, and whether all is whole."""
