"""``nsrun stop``."""

from __future__ import annotations

import click

from nsrun.cli.changing.control import control
from nsrun.cli.options import Context, flag, pass_context

__all__ = ["command"]


@click.command("stop")
@click.argument("pod")
@click.argument("containers", nargs=-1, metavar="[CONTAINER]...")
@flag("--namespace", "-n", help="The pod's namespace.")
@flag("--time", "-t", "grace", type=click.FloatRange(0), help="Seconds to stop in.  [default: as the pod says]")
@pass_context
def command(
    context: Context, pod: str, containers: tuple[str, ...], namespace: str | None, grace: float | None
) -> None:
    """Stop CONTAINERs of POD, without one all of them.

    Each has its preStop hook, its stop signal and its time, and is killed then. It stays stopped, also when nsrun is
    started again, until nsrun start, another spec in its manifest, or a boot. The pod and its other containers go on.
    """
    control(context, "stop", pod, containers, namespace, grace=grace)
