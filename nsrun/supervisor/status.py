"""A pod's status, folded from the facts as the kubelet does (kubelet_pods.go, getPhase). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nsrun.model.node import Node
from nsrun.model.pod import Pod
from nsrun.model.running import ExitReason
from nsrun.model.status import ContainerStatus, Phase, PodStatus, Running, Terminated, Waiting
from nsrun.supervisor.backoff import BackoffSettings
from nsrun.supervisor.conditions import any_app_started, pod_conditions
from nsrun.supervisor.container_status import container_status, full_name, image_id
from nsrun.supervisor.facts import PodFacts, Role
from nsrun.supervisor.lifecycle import ContainerState, PodState

__all__ = ["full_name", "image_id", "is_reachable", "pod_status", "rejected_status"]

_LEAVING = (PodState.STOPPING, PodState.REMOVING, PodState.REMOVED)
_ENDED = (PodState.FINISHING, PodState.FINISHED)


def is_reachable(status: PodStatus) -> bool:
    """Ready, and it is known where: a pod that was adopted is ready before its address is looked up again."""
    ready = any(condition.type == "Ready" and condition.status == "True" for condition in status.conditions)
    return ready and status.pod_ip != ""


def pod_status(
    facts: PodFacts, *, before: PodStatus | None, now: float, settings: BackoffSettings, node: Node | None = None
) -> PodStatus:
    """The status now. ``before``: the last one; a condition that did not change keeps its time. ``node``: whose address
    the host's is as long as the pod has none of its own.

    The pod must be known (``facts.pod`` not None).
    """
    pod = facts.pod
    assert pod is not None
    statuses = {c.name: container_status(facts, c, settings) for c in facts.containers}
    phase = _phase(facts, pod, statuses)
    attachment = facts.attachment
    leaving = facts.state in _LEAVING
    node_ip = node.addresses[0] if node is not None and node.addresses else ""
    return PodStatus(
        phase=phase,
        qos_class=pod.qos_class,
        start_time=facts.accepted_at,
        host_ip=attachment.host_ip if attachment is not None else node_ip,
        pod_ip=attachment.address if attachment is not None else "",
        conditions=pod_conditions(facts, phase, statuses, before.conditions if before is not None else (), now),
        init_container_statuses=tuple(statuses[c.name] for c in facts.containers if c.role is not Role.APP),
        container_statuses=tuple(statuses[name] for name in sorted(c.name for c in pod.spec.containers)),
        reason=facts.failure.reason if facts.failure is not None else "",
        message=facts.failure.message if facts.failure is not None else "",
        deletion_time=facts.kill_at if leaving else None,
        deletion_grace=facts.grace_seconds if leaving else None,
    )


def rejected_status(pod: Pod, *, reason: str, message: str, now: float) -> PodStatus:
    """A pod that this machine does not take."""
    return PodStatus(
        phase=Phase.FAILED,
        qos_class=pod.qos_class,
        start_time=now,
        reason=reason,
        message=f"Pod was rejected: {message}",
    )


# --- phase


@dataclass(slots=True)
class _Count:
    """How many containers are how; ``pending``: parts of the initialization that are still to come."""

    pending: int = 0
    waiting: int = 0
    running: int = 0
    stopped: int = 0
    succeeded: int = 0


def _phase(facts: PodFacts, pod: Pod, statuses: Mapping[str, ContainerStatus]) -> Phase:
    if facts.failure is not None or _init_failed(facts):
        return Phase.FAILED
    count = _counted(facts, statuses)
    if count.waiting or (count.pending and not any_app_started(pod, statuses)):
        return Phase.PENDING
    if count.running:
        return Phase.RUNNING
    if not count.stopped:
        return Phase.PENDING
    over = all(c.state is ContainerState.FINISHED for c in facts.containers if c.role is Role.APP)
    if not over and facts.state not in _LEAVING:
        return Phase.RUNNING
    return Phase.SUCCEEDED if count.stopped == count.succeeded else Phase.FAILED


def _init_failed(facts: PodFacts) -> bool:
    """Whether the pod ended because an init container did not end well."""
    finished = [c for c in facts.containers if c.state is ContainerState.FINISHED]
    return facts.state in _ENDED and any(c.role is Role.INIT and not c.initialized for c in finished)


def _counted(facts: PodFacts, statuses: Mapping[str, ContainerStatus]) -> _Count:
    count = _Count()
    for container in facts.containers:
        match container.role:
            case Role.INIT:
                _count_init(count, statuses[container.name])
            case Role.SIDECAR:
                _count_sidecar(count, statuses[container.name])
            case Role.APP:
                _count_app(count, statuses[container.name])
    return count


def _count_init(count: _Count, status: ContainerStatus) -> None:
    waits = isinstance(status.state, Waiting) and status.last_state is None
    count.pending += isinstance(status.state, Running) or waits


def _count_sidecar(count: _Count, status: ContainerStatus) -> None:
    if isinstance(status.state, Running):
        count.running += 1
        count.pending += not status.started
    elif isinstance(status.state, Waiting) and status.last_state is None:
        count.pending += 1
        count.waiting += 1


def _count_app(count: _Count, status: ContainerStatus) -> None:
    match status.state:
        case Running():
            count.running += 1
        case Terminated():
            count.stopped += 1
            count.succeeded += status.state.exit_code == 0 and status.state.reason != ExitReason.OOM_KILLED
        case Waiting():
            count.stopped += status.last_state is not None
            count.waiting += status.last_state is None
