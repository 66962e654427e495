"""``nsrun start``."""

from __future__ import annotations

import click

from nsrun.cli.changing.control import control
from nsrun.cli.options import Context, flag, pass_context

__all__ = ["command"]


@click.command("start")
@click.argument("pod")
@click.argument("containers", nargs=-1, metavar="[CONTAINER]...")
@flag("--namespace", "-n", help="The pod's namespace.")
@pass_context
def command(context: Context, pod: str, containers: tuple[str, ...], namespace: str | None) -> None:
    """Start CONTAINERs of POD that were stopped or ended, without one all of them.

    One that waits in CrashLoopBackOff, or for another try to have its image, is tried now.
    """
    control(context, "start", pod, containers, namespace)
