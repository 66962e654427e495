"""``nsrun doctor``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from nsrun.host.doctor import Finding
    from nsrun.support.layout import Layout

__all__ = ["command"]

SIGNS = {"ok": "ok  ", "warning": "warn", "error": "FAIL"}


@click.command("doctor")
@click.pass_context
def command(ctx: click.Context) -> None:
    """Say what this machine can do for nsrun, and the remedy for what it cannot. Exits with 1 when pods cannot run."""
    from nsrun.cli.options import Context

    context = ctx.find_object(Context)
    assert context is not None
    worst = "ok"
    for finding in _as_root(context.layout) if os.geteuid() == 0 else _as_user(context.layout):
        level = str(finding.level)
        worst = "error" if "error" in (level, worst) else worst
        click.echo(f"{SIGNS[level]}  {finding.subject}: {finding.text}")
        if finding.hint:
            click.echo(f"      ({finding.hint})")
    ctx.exit(1 if worst == "error" else 0)


def _as_root(layout: Layout) -> list[Finding]:
    from nsrun.host.doctor import examine
    from nsrun.host.facts import probe

    return examine(probe(layout.layers))


def _as_user(layout: Layout) -> list[Finding]:
    """What there is to say of the way into namespaces of one's own, and then of the machine as it looks in there."""
    from nsrun.errors import HostError
    from nsrun.host.rootless.delegation import enter_scope
    from nsrun.host.rootless.doctor import examine_user, user_facts
    from nsrun.host.rootless.entering import enter
    from nsrun.host.rootless.holding import find
    from nsrun.host.rootless.world import world

    run_dir = str(layout.run_dir)
    facts, known = user_facts(run_dir), find(run_dir)
    enter_scope(os.environ)
    try:
        enter(run_dir, start=True)
    except HostError as refusal:
        machine = [finding for finding in _as_root(layout) if finding.subject != "capabilities"]
        return [*examine_user(facts, refusal), *machine]
    findings = [*examine_user(facts, None), *_as_root(layout)]
    made = world(run_dir) if known is None else None
    if made is not None:
        made.end()
    return findings
