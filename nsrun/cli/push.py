"""``nsrun push``: ``podman push``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nsrun.cli.options import Context, flag, pass_context
from nsrun.cli.registry_flags import RegistryFlags, registry_flags

if TYPE_CHECKING:
    from nsrun.images.keychain import Keychain

__all__ = ["command"]

_TRANSPORT = "docker://"


@click.command("push")
@click.argument("image", metavar="IMAGE")
@click.argument("destination", required=False, metavar="[DESTINATION]")
@registry_flags
@flag("--digestfile", type=click.Path(path_type=Path), metavar="FILE", help="Write the manifest's digest there.")
@flag("--quiet", "-q", is_flag=True, help="Say nothing but the digest.")
@pass_context
def command(
    context: Context,
    image: str,
    destination: str | None,
    flags: RegistryFlags,
    digestfile: Path | None,
    quiet: bool,
) -> None:
    """Send an image to a registry, by its own name or by the one that DESTINATION gives it there.

    It arrives with the digest that it has here. Layers that the registry has already are not sent.
    """
    keychain = flags.keychain  # which may ask, before the event loop takes the first Ctrl-C for itself
    pushed, digest = asyncio.run(_push(context, image, destination, flags, keychain, quiet=quiet))
    if digestfile is not None:
        digestfile.write_text(digest)
    click.echo(f"{pushed}@{digest}")


async def _push(
    context: Context,
    image: str,
    destination: str | None,
    flags: RegistryFlags,
    keychain: Keychain | None,
    *,
    quiet: bool,
) -> tuple[str, str]:
    """The name without its tag, and the digest there."""
    from nsrun.assembly import image_pusher, short_names
    from nsrun.cli.pull_progress import shown
    from nsrun.images.lookup import find_image
    from nsrun.images.reference import parse_reference

    pushing = image_pusher(
        context.layout,
        flags.registries_conf,
        auth_file=flags.authfile,
        keychain=keychain,
        certificates=flags.cert_dir,
        verify=flags.tls_verify,
    )
    async with pushing as pusher:
        found = find_image(pusher.store, image, "push", short_names())
        target = parse_reference(destination.removeprefix(_TRANSPORT)) if destination else found.reference
        with shown(quiet=quiet) as report:
            return target.name, await pusher.push(found, target, report)
