"""Which of the kubelet's counters a step of a pod is counted by. Pure."""

from __future__ import annotations

from nsrun.errors import NsrunError, RuntimeFailure
from nsrun.supervisor import steps
from nsrun.supervisor.counts import Counts
from nsrun.supervisor.facts import PodFacts, Role
from nsrun.supervisor.steps import Step

__all__ = ["count_step"]


def count_step(counts: Counts, step: Step, facts: PodFacts, seconds: float, error: NsrunError | None) -> None:
    """``facts``: what was known of the pod when the step began. ``error`` None: it was done. Steps that are no affair
    of a container runtime are not counted; pulls are counted where it is known how large the image is."""
    failed = error is not None
    match step:
        case steps.StartSandbox():
            counts.sandbox(seconds, failed=failed)
        case steps.StartContainer():
            counts.container(_kind(facts, step.container), seconds, error=_reason(error))
        case steps.Ask() | steps.Kill():
            counts.operation("stop_container", seconds, failed=failed)
        case steps.RemoveContainer():
            counts.operation("remove_container", seconds, failed=failed)
        case steps.RemoveSandbox():
            counts.operation("remove_podsandbox", seconds, failed=failed)
        case _:
            pass


def _kind(facts: PodFacts, name: str) -> str:
    known = facts.container(name)
    return "container" if known is None or known.role is Role.APP else "init_container"


def _reason(error: NsrunError | None) -> str:
    if error is None:
        return ""
    return error.reason if isinstance(error, RuntimeFailure) else "InternalError"
