"""``nsrun down``."""

from __future__ import annotations

import asyncio

import click

from nsrun.cli.options import Context, flag, pass_context
from nsrun.errors import NsrunError

__all__ = ["command"]

_WAIT = 120.0


@click.command("down")
@flag("--bridge", default="nsrun0", show_default=True, help="Name of the pods' bridge.")
@flag("--cgroup-root", default="nsrun", show_default=True, help="Cgroup below which pods live.")
@pass_context
def command(context: Context, bridge: str, cgroup_root: str) -> None:
    """Remove every pod, and everything else that nsrun made on this machine. Images stay, and so do logs.

    A running nsrun is asked to do it, and ends; without one this command does it itself.
    """
    if context.api.running():
        context.api.down()
        _wait_until_gone(context)
    else:
        from nsrun.daemon import take_down

        asyncio.run(take_down(context.layout, bridge=bridge, cgroup_root=cgroup_root))
    click.echo("Every pod is removed.", err=True)


def _wait_until_gone(context: Context) -> None:
    """The daemon holds the lock of its run directory until its very end."""
    from nsrun.daemon import wait_for_end

    if not wait_for_end(context.layout, _WAIT):
        raise NsrunError(
            f"cannot take nsrun down: it has not ended within {_WAIT:g} s", hint="nsrun pods shows what is left"
        )
