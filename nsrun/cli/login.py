"""``nsrun login``: ``podman login``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nsrun.cli.options import flag
from nsrun.cli.registry_flags import CERT_DIR, REGISTRIES_CONF, TLS_VERIFY
from nsrun.errors import ImageError, NotFoundError, SettingsError

if TYPE_CHECKING:
    from nsrun.images.login import Account, Logins
    from nsrun.model.credentials import Credential

__all__ = ["command"]


@click.command("login")
@click.argument("registry", required=False, metavar="[REGISTRY]")
@flag("--username", "-u", metavar="USER", help="Who you are; asked for when it is missing.")
@flag("--password", "-p", metavar="PASSWORD", help="Others can see it in the list of processes: not a good way.")
@flag("--password-stdin", is_flag=True, help="Read the password from standard input.")
@flag("--authfile", type=click.Path(path_type=Path), help="The containers-auth.json(5) to write.")
@flag("--get-login", is_flag=True, help="Only say who is logged in.")
@TLS_VERIFY
@CERT_DIR
@REGISTRIES_CONF
@flag("--verbose", "-v", is_flag=True, help="Say where the credential is kept.")
def command(
    registry: str | None,
    username: str | None,
    password: str | None,
    password_stdin: bool,
    authfile: Path | None,
    get_login: bool,
    tls_verify: bool | None,
    cert_dir: Path | None,
    registries_conf: Path | None,
    verbose: bool,
) -> None:
    """Log in to a registry: host[:port], or host[:port]/path for what is below it. Without one, the first of
    unqualified-search-registries, or Docker Hub.

    The registry is asked whether it takes the password before that is kept.
    """
    from nsrun.assembly import logins

    known = logins(registries_conf, auth_file=authfile, certificates=cert_dir, verify=tls_verify)
    account = known.account(registry)
    if get_login:
        _tell(known, account)
        return
    if password is None and not password_stdin and username is None and _is_logged_in(known, account):
        return
    credential = _asked(account, username, password, stdin=password_stdin)
    known.verify(account, credential)
    place = known.keep(account, credential)
    click.echo("Login Succeeded!")
    if verbose:
        click.echo(f"Used: {place}")


def _tell(known: Logins, account: Account) -> None:
    current = known.current(account)
    if current is None:
        raise NotFoundError(f'cannot tell who is logged in to "{account}": nobody is')
    click.echo(current.username or "<token>")


def _is_logged_in(known: Logins, account: Account) -> bool:
    """Tries what is kept already."""
    current = known.current(account)
    if current is None:
        return False
    click.echo(f"Authenticating with existing credentials for {account}")
    try:
        known.verify(account, current)
    except ImageError as error:
        click.echo(f"Existing credentials are not valid: {error.message}", err=True)
        return False
    click.echo(f"Existing credentials are valid. Already logged in to {account}")
    return True


def _asked(account: Account, username: str | None, password: str | None, *, stdin: bool) -> Credential:
    """From flags, from standard input, or from whoever sits at the terminal."""
    from nsrun.model.credentials import Credential

    if stdin:
        if username is None or password is not None:
            raise SettingsError("cannot read the password from standard input: --password-stdin goes with --username")
        return Credential(username=username, password=sys.stdin.read().removesuffix("\n").removesuffix("\r"))
    if password is not None:
        click.echo("Warning: others can see --password in the list of processes; use --password-stdin", err=True)
    if (username is None or password is None) and not sys.stdin.isatty():
        raise SettingsError(
            f'cannot log in to "{account}": there is no terminal to ask on',
            hint="give --username and --password-stdin",
        )
    if username is None:
        username = click.prompt("Username", type=str)
    if password is None:
        password = click.prompt("Password", hide_input=True, type=str)
    return Credential(username=username, password=password)
