"""``nsrun down``."""

from __future__ import annotations

import asyncio

import click

from nsrun.cli.options import Context, flag
from nsrun.errors import NsrunError

__all__ = ["command"]

_WAIT = 120.0


@click.command("down")
@flag("--bridge", help="Name of the pods' bridge.  [default: as for nsrun itself]")
@flag("--cgroup-root", help="Cgroup below which pods live.  [default: as for nsrun itself]")
@click.pass_context
def command(ctx: click.Context, bridge: str | None, cgroup_root: str | None) -> None:
    """Remove every pod, and everything else that nsrun made on this machine. Images stay, and so do logs.

    A running nsrun is asked to do it, and ends; without one this command does it itself.
    """
    context: Context = ctx.obj
    given = ctx.parent.params if ctx.parent is not None else {}
    if context.api.running():
        context.api.down()
        _wait_until_gone(context)
    else:
        from nsrun.daemon import take_down

        asyncio.run(
            take_down(context.layout, bridge=bridge or given["bridge"], cgroup_root=cgroup_root or given["cgroup_root"])
        )
    click.echo("Every pod is removed.", err=True)


def _wait_until_gone(context: Context) -> None:
    """The daemon holds the lock of its run directory until its very end."""
    from nsrun.daemon import wait_for_end

    if not wait_for_end(context.layout, _WAIT):
        raise NsrunError(
            f"cannot take nsrun down: it has not ended within {_WAIT:g} s", hint="nsrun pods shows what is left"
        )
