"""``nsrun restart``."""

from __future__ import annotations

import click

from nsrun.cli.changing.control import control
from nsrun.cli.options import Context, flag, pass_context

__all__ = ["command"]


@click.command("restart")
@click.argument("pod")
@click.argument("containers", nargs=-1, metavar="[CONTAINER]...")
@flag("--namespace", "-n", help="The pod's namespace.")
@flag("--time", "-t", "grace", type=click.FloatRange(0), help="Seconds to stop in.  [default: as the pod says]")
@pass_context
def command(
    context: Context, pod: str, containers: tuple[str, ...], namespace: str | None, grace: float | None
) -> None:
    """Stop CONTAINERs of POD and run them again, without one all of them.

    Whatever their restart policy. What does not run is started.
    """
    control(context, "restart", pod, containers, namespace, grace=grace)
