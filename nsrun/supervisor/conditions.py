"""A pod's conditions, as the kubelet generates them (status/generate.go). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nsrun.model.pod import Pod
from nsrun.model.status import Condition, ContainerStatus, Phase, Running, Terminated
from nsrun.supervisor.facts import PodFacts, Role, roles
from nsrun.supervisor.lifecycle import PodState
from nsrun.supervisor.restart import can_restart_all

__all__ = ["any_app_started", "pod_conditions"]

EVICTED = "Evicted"


@dataclass(frozen=True, slots=True)
class _Finding:
    """What a condition says, but for its times."""

    type: str
    holds: bool
    reason: str = ""
    message: str = ""


def pod_conditions(
    facts: PodFacts, phase: Phase, statuses: Mapping[str, ContainerStatus], before: Sequence[Condition], now: float
) -> tuple[Condition, ...]:
    """In the kubelet's order. ``statuses`` by name, of every container. ``before``: the last ones; a condition that did
    not change keeps its time."""
    pod = facts.pod
    assert pod is not None
    up = facts.sandbox is not None and facts.attachment is not None
    containers = _containers_ready(pod, phase, statuses)
    findings = [
        _Finding("PodReadyToStartContainers", up and facts.state is not PodState.FINISHED),
        _initialized(pod, phase, statuses, before),
        _ready(pod, containers),
        containers,
        _Finding("PodScheduled", True),
        *_restarting(facts, pod, phase),
        *_disrupted(facts),
        *_limited(facts),
    ]
    times = {(c.type, c.status): c.last_transition_time for c in before}
    return tuple(
        Condition(
            type=found.type,
            status=str(found.holds),
            last_transition_time=times.get((found.type, str(found.holds)), now),
            reason=found.reason,
            message=found.message,
        )
        for found in findings
    )


def any_app_started(pod: Pod, statuses: Mapping[str, ContainerStatus]) -> bool:
    """Whether the pod was initialized once: an app container runs, or ran."""
    apps = [statuses[container.name] for container in pod.spec.containers]
    return any(isinstance(s.state, Running | Terminated) or s.last_state is not None for s in apps)


def _initialized(
    pod: Pod, phase: Phase, statuses: Mapping[str, ContainerStatus], before: Sequence[Condition]
) -> _Finding:
    if phase is Phase.SUCCEEDED:
        return _Finding("Initialized", True, "PodCompleted")
    incomplete = [
        name
        for name, role in roles(pod).items()
        if (role is Role.INIT and not statuses[name].ready) or (role is Role.SIDECAR and not statuses[name].started)
    ]
    if not incomplete or any_app_started(pod, statuses):
        return _Finding("Initialized", True)
    # Once initialized, always so, though all containers begin again.
    once = any(c.type == "Initialized" and c.status == "True" for c in before)
    if once and can_restart_all(pod):
        return _Finding("Initialized", True)
    message = f"containers with incomplete status: [{' '.join(incomplete)}]"
    return _Finding("Initialized", False, "ContainersNotInitialized", message)


def _containers_ready(pod: Pod, phase: Phase, statuses: Mapping[str, ContainerStatus]) -> _Finding:
    type = "ContainersReady"
    if phase is Phase.SUCCEEDED:
        return _Finding(type, False, "PodCompleted")
    if phase is Phase.FAILED:
        return _Finding(type, False, "PodFailed")
    unready = [name for name, role in roles(pod).items() if role is not Role.INIT and not statuses[name].ready]
    if unready:
        message = f"containers with unready status: [{' '.join(unready)}]"
        return _Finding(type, False, "ContainersNotReady", message)
    return _Finding(type, True)


def _ready(pod: Pod, containers: _Finding) -> _Finding:
    if not containers.holds:
        return _Finding("Ready", False, containers.reason, containers.message)
    missing = [f'corresponding condition of pod readiness gate "{g}" does not exist.' for g in pod.spec.readiness_gates]
    if missing:
        return _Finding("Ready", False, "ReadinessGatesNotReady", ", ".join(missing))
    return _Finding("Ready", True)


def _restarting(facts: PodFacts, pod: Pod, phase: Phase) -> list[_Finding]:
    type = "AllContainersRestarting"
    if not can_restart_all(pod):
        return []
    if phase in (Phase.SUCCEEDED, Phase.FAILED):
        return [_Finding(type, False, "PodCompleted" if phase is Phase.SUCCEEDED else "PodFailed")]
    if facts.state is PodState.RESTARTING:
        return [_Finding(type, True, "RestartAllContainersStarted", "container exited with restart policy rule")]
    return [_Finding(type, False)]


def _limited(facts: PodFacts) -> list[_Finding]:
    """nsrun's own: the pod runs, but not with all that was asked for."""
    if not facts.withheld:
        return []
    return [_Finding("HostLimitation", True, "HostWithholds", "; ".join(facts.withheld))]


def _disrupted(facts: PodFacts) -> list[_Finding]:
    """An evicted pod says so (eviction_manager.go)."""
    if facts.failure is None or facts.failure.reason != EVICTED:
        return []
    return [_Finding("DisruptionTarget", True, "TerminationByKubelet", facts.failure.message)]
