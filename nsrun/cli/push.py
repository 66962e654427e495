"""``nsrun push``: ``podman push``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nsrun.cli.options import Context, flag, pass_context
from nsrun.cli.size import size

if TYPE_CHECKING:
    from nsrun.images.progress import Progress
    from nsrun.model.credentials import Credentials

__all__ = ["command"]

_TRANSPORT = "docker://"


@click.command("push")
@click.argument("image", metavar="IMAGE")
@click.argument("destination", required=False, metavar="[DESTINATION]")
@flag(
    "--creds", metavar="USER[:PASSWORD]", help="Who you are to the registry; a password that is missing is asked for."
)
@flag("--authfile", type=click.Path(path_type=Path), help="A containers-auth.json(5) in place of the usual ones.")
@flag("--tls-verify", type=bool, help="false: plain HTTP and unverified TLS will do.  [default: registries.conf]")
@flag("--cert-dir", type=click.Path(path_type=Path), help="Certificates for the registry: *.crt, *.cert, *.key.")
@flag("--digestfile", type=click.Path(path_type=Path), help="Write the manifest's digest there.")
@flag("--registries-conf", type=click.Path(path_type=Path), help="A registries.conf(5) to use.")
@flag("--quiet", "-q", is_flag=True, help="Say nothing but the digest.")
@pass_context
def command(
    context: Context,
    image: str,
    destination: str | None,
    creds: str | None,
    authfile: Path | None,
    tls_verify: bool | None,
    cert_dir: Path | None,
    digestfile: Path | None,
    registries_conf: Path | None,
    quiet: bool,
) -> None:
    """Send an image to a registry, by its own name or by the one that DESTINATION gives it there.

    It arrives with the digest that it has here. Layers that the registry has already are not sent.
    """
    from nsrun.assembly import image_pusher, short_names
    from nsrun.images.lookup import find_image
    from nsrun.images.reference import parse_reference

    async def push() -> str:
        async with image_pusher(
            context.layout, registries_conf, auth_file=authfile, certificates=cert_dir, verify=tls_verify
        ) as pusher:
            found = find_image(pusher.store, image, "push", short_names())
            target = parse_reference(destination.removeprefix(_TRANSPORT)) if destination else found.reference
            told = _silent if quiet else _Lines().tell
            digest = await pusher.push(found, target, told, credentials=_credentials(creds, target.host))
        if digestfile is not None:
            digestfile.write_text(digest)
        return f"{target.name}@{digest}"

    click.echo(asyncio.run(push()))


def _credentials(text: str | None, host: str) -> Credentials | None:
    if text is None:
        return None
    from nsrun.model.credentials import Credential, Credentials

    user, colon, password = text.partition(":")
    if not colon:
        password = click.prompt(f"Password for {user}", hide_input=True, err=True)
    return Credentials(entries=((host, Credential(username=user, password=password)),))


def _silent(progress: Progress) -> None:
    """Tells nothing."""


class _Lines:
    """One line for each step of each blob, on standard error."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()

    def tell(self, progress: Progress) -> None:
        step = (progress.layer, str(progress.stage))
        if step not in self._told:
            self._told.add(step)
            what = progress.layer.partition(":")[2][:12] or progress.reference
            click.echo(f"{what}: {progress.stage}{f' {size(progress.total)}' if progress.total else ''}", err=True)
