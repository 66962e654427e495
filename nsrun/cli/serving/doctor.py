"""``nsrun doctor``."""

from __future__ import annotations

import click

__all__ = ["command"]

SIGNS = {"ok": "ok  ", "warning": "warn", "error": "FAIL"}


@click.command("doctor")
@click.pass_context
def command(ctx: click.Context) -> None:
    """Say what this machine can do for nsrun, and the remedy for what it cannot. Exits with 1 when pods cannot run."""
    from nsrun.host.doctor import examine
    from nsrun.host.facts import probe

    worst = "ok"
    for finding in examine(probe()):
        level = str(finding.level)
        worst = "error" if "error" in (level, worst) else worst
        click.echo(f"{SIGNS[level]}  {finding.subject}: {finding.text}")
        if finding.hint:
            click.echo(f"      ({finding.hint})")
    ctx.exit(1 if worst == "error" else 0)
