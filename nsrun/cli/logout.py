"""``nsrun logout``: ``podman logout``."""

from __future__ import annotations

from pathlib import Path

import click

from nsrun.cli.options import flag
from nsrun.cli.registry_flags import REGISTRIES_CONF
from nsrun.errors import SettingsError

__all__ = ["command"]


@click.command("logout")
@click.argument("registry", required=False, metavar="[REGISTRY]")
@flag("--all", "-a", is_flag=True, help="Of every registry.")
@flag("--authfile", type=click.Path(path_type=Path), help="The containers-auth.json(5) to write.")
@REGISTRIES_CONF
def command(registry: str | None, all: bool, authfile: Path | None, registries_conf: Path | None) -> None:
    """Forget who you are to a registry. Without one, the first of unqualified-search-registries, or Docker Hub."""
    from nsrun.assembly import logins

    known = logins(registries_conf, auth_file=authfile)
    if all:
        if registry is not None:
            raise SettingsError(f'cannot log out of "{registry}" and of all: give REGISTRY or --all')
        known.forget_all()
        click.echo("Removed login credentials for all registries")
        return
    account = known.account(registry)
    known.forget(account)
    click.echo(f"Removed login credentials for {account}")
