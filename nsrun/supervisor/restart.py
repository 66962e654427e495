"""Whether a container that ended is run again (kubernetes.io: Pod Lifecycle, Container restart policy)."""

from __future__ import annotations

from nsrun.model.pod import RestartPolicy
from nsrun.model.running import Exit, ExitReason

__all__ = ["runs_again", "succeeded"]


def succeeded(exit: Exit) -> bool:
    """Whether the run counts as a success: code 0, and not killed for its memory, whatever code it then gave."""
    return exit.code == 0 and exit.reason is not ExitReason.OOM_KILLED


def runs_again(policy: RestartPolicy, exit: Exit) -> bool:
    """The decision: ``Always`` whatever the code, ``OnFailure`` unless it succeeded, ``Never`` never."""
    match policy:
        case RestartPolicy.ALWAYS:
            return True
        case RestartPolicy.ON_FAILURE:
            return not succeeded(exit)
        case RestartPolicy.NEVER:
            return False
