"""Whether a container that ended is run again (kubernetes.io: Pod Lifecycle, Container restarts)."""

from __future__ import annotations

from enum import StrEnum

from nsrun.model.container import Container, RestartAction, RestartPolicy
from nsrun.model.pod import Pod
from nsrun.model.running import Exit, ExitReason
from nsrun.supervisor.facts import Role

__all__ = ["Outcome", "can_restart_all", "outcome", "policy_of", "runs_again", "succeeded"]


class Outcome(StrEnum):
    """What follows from an end."""

    AGAIN = "again"
    OVER = "over"
    ALL_AGAIN = "all again"


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


def policy_of(pod: Pod, container: Container) -> RestartPolicy:
    """The container's own policy, or the pod's."""
    return container.restart_policy if container.restart_policy is not None else pod.spec.restart_policy


def outcome(pod: Pod, container: Container, role: Role, exit: Exit, *, by_probe: bool = False) -> Outcome:
    """The container's first rule that matches decides (api/v1/pod/util.go, ContainerShouldRestart); then its policy.

    An init container that succeeded is never run again, and one that did not is, unless the policy is ``Never``.
    ``by_probe``: a probe had it killed; then its code says nothing, and only ``Never`` keeps it from being run again.
    """
    for rule in container.restart_policy_rules:
        if (exit.code in rule.exit_codes) is rule.within:
            return Outcome.ALL_AGAIN if rule.action is RestartAction.RESTART_ALL_CONTAINERS else Outcome.AGAIN
    policy = policy_of(pod, container)
    if role is Role.INIT:
        again = not succeeded(exit) and policy is not RestartPolicy.NEVER
    elif by_probe:
        again = policy is not RestartPolicy.NEVER
    else:
        again = runs_again(policy, exit)
    return Outcome.AGAIN if again else Outcome.OVER


def can_restart_all(pod: Pod) -> bool:
    """Whether the end of any container can ask for all to be run again."""
    rules = (rule for container in pod.all_containers for rule in container.restart_policy_rules)
    return any(rule.action is RestartAction.RESTART_ALL_CONTAINERS for rule in rules)
