"""The plan of a command without the command: what all commands of a run have in common, encoded once and kept beside
the run's configuration. To complete it takes a few microseconds, and hardly an import; compiling takes both.

The last operation executes; it has the environment already, and gets what to execute. A terminal's operation gets its
size."""

from __future__ import annotations

import os

from nsrun.runtime.environment import executable_candidates
from nsrun.support.native import complete_plan, plan_environment

TYPE_CHECKING = False  # `typing` is dear, and `nsrun exec` in a hurry
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["complete", "read_template", "template_path"]

_MAX_TEMPLATE = 1 << 20


def template_path(run: str, *, terminal: bool) -> str:
    """Where it is kept: ``run`` is the run's directory."""
    return f"{run}/{'exec-terminal.plan' if terminal else 'exec.plan'}"


def read_template(run: str, *, terminal: bool) -> bytes | None:
    """None when nobody has compiled it yet. Raises OSError."""
    try:
        with open(template_path(run, terminal=terminal), "rb") as file:
            return file.read(_MAX_TEMPLATE)
    except FileNotFoundError:
        return None


def complete(template: bytes, arguments: Sequence[str], size: os.terminal_size | None = None) -> bytes:
    """The plan of a command, of at least one word. Raises RuntimeFailure when there is no place to look for it."""
    environment = plan_environment(template)
    candidates = executable_candidates(arguments[0], environment)
    return complete_plan(template, candidates=candidates, arguments=arguments, size=size)
