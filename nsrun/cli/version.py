"""``nsrun version``."""

from __future__ import annotations

import platform

import click

from nsrun import __version__
from nsrun.cli.options import Context, pass_context
from nsrun.errors import ApiError

__all__ = ["command"]


@click.command("version")
@pass_context
def command(context: Context) -> None:
    """Show the versions of this program, the running daemon, and what they stand on."""
    click.echo(f"nsrun   {__version__}")
    click.echo(f"daemon  {_daemon(context)}")
    click.echo(f"kernel  {platform.release()}")
    click.echo(f"python  {platform.python_version()}")


def _daemon(context: Context) -> str:
    try:
        return str(context.api.info()["version"])
    except ApiError:
        return "not running"
