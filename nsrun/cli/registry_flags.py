"""The flags of those who ask registries, as podman and skopeo have them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nsrun.cli.options import flag
from nsrun.errors import SettingsError

if TYPE_CHECKING:
    from nsrun.images.keychain import Keychain
    from nsrun.model.credentials import Credential

__all__ = ["CERT_DIR", "REGISTRIES_CONF", "TLS_VERIFY", "RegistryFlags", "asked_credential", "registry_flags"]

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryFlags:
    """What was given; None: as this machine is configured. ``creds``: USER[:PASSWORD]."""

    registries_conf: Path | None
    tls_verify: bool | None
    creds: str | None
    authfile: Path | None
    cert_dir: Path | None

    @property
    def keychain(self) -> Keychain | None:
        """Who we are to every registry that is asked, whatever its name. May ask for the password."""
        return None if self.creds is None else _OneCredential(asked_credential(self.creds))


def registry_flags(command: F) -> F:
    """Gives the command a parameter ``flags``: RegistryFlags."""

    @wraps(command)
    def decorated(*arguments: Any, **given: Any) -> Any:
        names = RegistryFlags.__slots__
        return command(*arguments, flags=RegistryFlags(**{name: given.pop(name) for name in names}), **given)

    for decorate in reversed(_FLAGS):
        decorated = decorate(decorated)
    return decorated  # type: ignore[return-value]


def asked_credential(text: str) -> Credential:
    """``USER:PASSWORD``, or ``USER`` whose password is asked for. Raises SettingsError."""
    from nsrun.model.credentials import Credential

    user, colon, password = text.partition(":")
    if not user:
        raise SettingsError("cannot use --creds: it must be USER:PASSWORD, or USER")
    if not colon:
        password = click.prompt(f"Password of {user}", hide_input=True, err=True)
    return Credential(username=user, password=password)


class _OneCredential:
    """A keychain with one key, which fits every registry."""

    def __init__(self, credential: Credential) -> None:
        self._credential = credential

    def find(self, host: str, repository: str) -> tuple[Credential, ...]:
        return (self._credential,)


_file = click.Path(exists=True, dir_okay=False, path_type=Path)
_directory = click.Path(exists=True, file_okay=False, path_type=Path)
REGISTRIES_CONF = flag(
    "--registries-conf", type=click.Path(path_type=Path), metavar="FILE", help="A registries.conf(5) to use."
)
TLS_VERIFY = flag("--tls-verify", type=bool, metavar="BOOL", help="Whether to, instead of what registries.conf says.")
CERT_DIR = click.option(
    "--cert-dir",
    envvar="NSRUN_REGISTRY_CERT_DIR",  # where the daemon keeps its own certificate is another matter
    show_envvar=True,
    type=_directory,
    metavar="DIR",
    help="Its CA (*.crt) and your certificate (*.cert, *.key).",
)
_FLAGS = (
    REGISTRIES_CONF,
    TLS_VERIFY,
    flag("--creds", metavar="USER[:PASSWORD]", help="Who you are to the registry."),
    flag("--authfile", type=_file, metavar="FILE", help="The only auth.json(5) to use."),
    CERT_DIR,
)
