"""Plans of commands for who compiles one and goes: without a daemon, from what lies in the run directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nsrun.errors import NsrunError, describe_errno
from nsrun.model.running import ContainerId
from nsrun.model.session import TerminalSize
from nsrun.runtime import operations as do
from nsrun.runtime.execplan import exec_plan
from nsrun.runtime.exectemplate import template_path
from nsrun.runtime.execution import explain
from nsrun.runtime.launchplan import LaunchPlan
from nsrun.runtime.ociconfig import OciConfig
from nsrun.runtime.rundir import RunDirectory
from nsrun.runtime.seccomp import Seccomp, load_flags
from nsrun.support.atomic import write_atomic
from nsrun.support.boot import boot_id
from nsrun.support.layout import Layout
from nsrun.support.native import Failure

__all__ = ["compile_template", "explained"]

# Any word: a template has none yet, and is never executed as it is.
_NOTHING = ("/",)


def compile_template(layout: Layout, id: ContainerId, *, terminal: bool) -> bytes:
    """Compiles the template of a run's commands, and keeps it beside the run's configuration. Raises OSError,
    RuntimeFailure; ValueError or KeyError when the configuration cannot be read."""
    template = _plan(layout, id, _NOTHING, terminal).encode()
    path = template_path(layout.run_paths.run(id.uid, id.name, id.attempt), terminal=terminal)
    write_atomic(Path(path), template, durable=False)
    return template


def explained(
    layout: Layout, id: ContainerId, arguments: Sequence[str], failure: Failure | None, *, terminal: bool
) -> NsrunError:
    """Why a command was not started."""
    try:
        return explain(id, tuple(arguments), _plan(layout, id, arguments, terminal), failure)
    except (OSError, ValueError, KeyError) as error:
        cause = describe_errno(failure.errno) if failure is not None else str(error)
        return NsrunError(f'cannot run a command in container "{id.name}": {cause}')


def _plan(layout: Layout, id: ContainerId, arguments: Sequence[str], terminal: bool) -> LaunchPlan:
    run = RunDirectory(layout, boot=boot_id())
    config = run.config(id)
    return exec_plan(
        config,
        arguments,
        seccomp=_filter(layout, config),
        session=run.session(id),
        terminal=terminal,
        size=TerminalSize(columns=0, rows=0),
    )


def _filter(layout: Layout, config: OciConfig) -> do.Seccomp | None:
    profile = config["linux"].get("seccomp")
    if profile is None:
        return None
    return do.Seccomp(program=Seccomp(layout.cache).program(profile), flags=load_flags(profile))
