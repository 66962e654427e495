"""The plan of a command in a container that runs: from the configuration that its container was started with, so that
nothing of it is asked of the container.

    hide · limits · namespaces · terminal · working directory · session keyring · ids · seccomp · capabilities · execute

and somewhere in between it is born into the container's process namespace, where others can look at it. They cannot
trace it, for it is hidden until it executes, unless they hold CAP_SYS_PTRACE, or may be of a container that does: then
it is born last, when there is nothing to be gained from it. That asks the system call filter to let it be born, so it
is not done for everybody.
"""

from __future__ import annotations

from collections.abc import Sequence

from nsrun.model.session import TerminalSize
from nsrun.runtime import operations as do
from nsrun.runtime.environment import executable_candidates
from nsrun.runtime.launchplan import LaunchPlan
from nsrun.runtime.ociconfig import OciConfig, Process
from nsrun.runtime.plan import NAMESPACES, identity, labels, limits
from nsrun.runtime.scope import scope

__all__ = ["exec_plan"]


def exec_plan(
    config: OciConfig,
    arguments: Sequence[str],
    *,
    seccomp: do.Seccomp | None,
    session: str,
    terminal: bool = False,
    size: TerminalSize | None = None,
) -> LaunchPlan:
    """``seccomp``: the configuration's filter; ``session``: name of the container's keyring; ``terminal``: one of its
    own in the container, of ``size``. Raises RuntimeFailure when nothing can be executed."""
    process = config["process"]
    environment = _environment(process, terminal)
    ops: list[do.Operation] = [
        do.Hide(),
        do.OomScore(score=process["oomScoreAdj"]),
        *limits(process),
        *labels(process),
        do.Enter(flags=_namespaces(config)),
        *(_terminal(config, size) if terminal else []),
        do.WorkingDirectory(path=process["cwd"], make=False),
        do.Keyring(name=session),
    ]
    who = [*scope(config), *identity(process, seccomp)]
    born: list[do.Operation] = [do.Birth(), do.NewSession(terminal=terminal)]
    ops += [*who, *born] if _may_be_traced(config) else [*born, *who]
    ops.append(
        do.Execute(
            candidates=tuple(executable_candidates(arguments[0], environment)),
            arguments=tuple(arguments),
            environment=tuple(environment),
        )
    )
    return LaunchPlan(operations=tuple(ops), new_namespaces=0)


def _terminal(config: OciConfig, size: TerminalSize | None) -> list[do.Operation]:
    """Who joins a user namespace is nobody there, and a terminal of nobody's cannot be given away."""
    ops: list[do.Operation] = []
    if _namespaces(config) & NAMESPACES["user"]:
        ops.append(do.Maker(uid=0, gid=0))
    return [*ops, do.Terminal(uid=config["process"]["user"]["uid"], size=size, console=False)]


def _environment(process: Process, terminal: bool) -> Sequence[str]:
    """The container's; who has a terminal is told its kind."""
    environment = process["env"]
    if not terminal or any(entry.startswith("TERM=") for entry in environment):
        return environment
    return [*environment, "TERM=xterm"]


def _namespaces(config: OciConfig) -> int:
    """All that are not the host's."""
    flags = 0
    for entry in config["linux"]["namespaces"]:
        flags |= NAMESPACES[entry["type"]]
    return flags


def _may_be_traced(config: OciConfig) -> bool:
    own = any(entry["type"] == "pid" and "path" not in entry for entry in config["linux"]["namespaces"])
    return not own or "CAP_SYS_PTRACE" in config["process"]["capabilities"]["bounding"]
