"""``nsrun down``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import click

from nsrun.cli.documents import text_at
from nsrun.cli.options import Context, flag
from nsrun.errors import NsrunError

__all__ = ["command"]

_PATIENCE = 60.0
"""Seconds for the removal itself, when every container has ended."""


@click.command("down")
@flag("--time", "-t", "grace", type=click.FloatRange(0), help="Seconds for each pod to stop.  [default: as it says]")
@click.pass_context
def command(ctx: click.Context, grace: float | None) -> None:
    """Remove every pod, and everything else that nsrun made on this machine. Images stay.

    A running nsrun is asked to do it, and ends; without one this command does it itself, and must be told what that
    nsrun was told: nsrun --bridge NAME --cgroup-root NAME down.
    """
    context: Context = ctx.obj
    if context.api.running():
        seconds = _longest(context.api.pods()) if grace is None else grace
        context.api.down(grace)
        _wait_until_gone(context, seconds + _PATIENCE)
    else:
        from nsrun.daemon import take_down

        given: Mapping[str, Any] = ctx.parent.params if ctx.parent is not None else {}
        asyncio.run(
            take_down(context.layout, bridge=given["bridge"], cgroup_root=given["cgroup_root"].strip("/"), grace=grace)
        )
    click.echo("Every pod is removed.", err=True)


def _longest(pods: Sequence[Mapping[str, object]]) -> float:
    """The most patient pod's grace, in seconds."""
    return max((float(text_at(pod, "spec", "terminationGracePeriodSeconds") or 30) for pod in pods), default=0.0)


def _wait_until_gone(context: Context, seconds: float) -> None:
    """The daemon holds the lock of its run directory until its very end."""
    from nsrun.daemon import wait_for_end

    if not wait_for_end(context.layout, seconds):
        raise NsrunError(
            f"cannot take nsrun down: it has not ended within {seconds:g} s", hint="nsrun pods shows what is left"
        )
    if context.layout.lock.exists():
        raise NsrunError(
            "cannot take nsrun down: it was stopped before everything was removed", hint="nsrun down goes on with it"
        )
