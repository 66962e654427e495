"""A pod's status, folded from the facts as the kubelet does (kubelet_pods.go, status/generate.go). Pure."""

from __future__ import annotations

from collections.abc import Sequence

from nsrun.model.pod import Pod, RestartPolicy
from nsrun.model.running import ExitReason
from nsrun.model.status import (
    Condition,
    ContainerState,
    ContainerStatus,
    Phase,
    PodStatus,
    Running,
    Terminated,
    Waiting,
)
from nsrun.supervisor import lifecycle
from nsrun.supervisor.backoff import BackoffSettings, go_duration
from nsrun.supervisor.facts import ContainerFacts, PodFacts, Run
from nsrun.supervisor.lifecycle import PodState

__all__ = ["full_name", "image_id", "is_ready", "pod_status", "rejected_status"]


_LEAVING = (PodState.STOPPING, PodState.REMOVING, PodState.REMOVED)


def full_name(pod: Pod) -> str:
    """How the kubelet's messages call a pod: ``<name>_<namespace>(<uid>)``."""
    return f"{pod.metadata.name}_{pod.metadata.namespace}({pod.uid})"


def image_id(reference: str, digest: str) -> str:
    """``docker.io/library/nginx:latest`` and a digest → ``docker.io/library/nginx@sha256:…``."""
    if not digest:
        return ""
    repository = reference.split("@", 1)[0]
    directory, slash, last = repository.rpartition("/")
    return f"{directory}{slash}{last.split(':', 1)[0]}@{digest}"


def is_ready(status: PodStatus) -> bool:
    """Whether the pod's ``Ready`` condition is true."""
    return any(condition.type == "Ready" and condition.status == "True" for condition in status.conditions)


def pod_status(facts: PodFacts, *, before: PodStatus | None, now: float, settings: BackoffSettings) -> PodStatus:
    """The status now. ``before``: the last one; a condition that did not change keeps its time.

    The pod must be known (``facts.pod`` not None).
    """
    pod = facts.pod
    assert pod is not None
    trouble = _trouble(facts)
    statuses = tuple(_container_status(pod, container, settings, trouble) for container in facts.containers)
    phase = _phase(facts, pod, statuses)
    attachment = facts.attachment
    leaving = facts.state in _LEAVING
    return PodStatus(
        phase=phase,
        qos_class=pod.qos_class,
        start_time=facts.accepted_at,
        host_ip=attachment.host_ip if attachment is not None else "",
        pod_ip=attachment.address if attachment is not None else "",
        conditions=_conditions(facts, phase, statuses, before.conditions if before is not None else (), now),
        container_statuses=statuses,
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


def _phase(facts: PodFacts, pod: Pod, statuses: Sequence[ContainerStatus]) -> Phase:
    """kubelet_pods.go getPhase. A pod on its way out counts as one that is never restarted."""
    if any(isinstance(s.state, Waiting) and s.last_state is None for s in statuses):
        return Phase.PENDING
    if any(isinstance(s.state, Running) for s in statuses):
        return Phase.RUNNING
    all_succeeded = all(_code(s) == 0 for s in statuses)
    leaving = facts.state in _LEAVING
    policy = pod.spec.restart_policy
    if policy is RestartPolicy.ALWAYS and not leaving:
        return Phase.RUNNING
    if all_succeeded:
        return Phase.SUCCEEDED
    return Phase.RUNNING if policy is RestartPolicy.ON_FAILURE and not leaving else Phase.FAILED


def _code(status: ContainerStatus) -> int | None:
    ended = status.state if isinstance(status.state, Terminated) else status.last_state
    return None if ended is None or ended.reason == ExitReason.OOM_KILLED else ended.exit_code


# --- conditions


def _conditions(
    facts: PodFacts, phase: Phase, statuses: Sequence[ContainerStatus], before: Sequence[Condition], now: float
) -> tuple[Condition, ...]:
    """In the kubelet's order."""
    networked = facts.sandbox is not None and facts.attachment is not None
    ready = _readiness(phase, statuses)
    completed = "PodCompleted" if phase is Phase.SUCCEEDED else ""
    wanted = (
        ("PodReadyToStartContainers", networked, "", ""),
        ("Initialized", True, completed, ""),
        ("Ready", *ready),
        ("ContainersReady", *ready),
        ("PodScheduled", True, "", ""),
    )
    times = {(c.type, c.status): c.last_transition_time for c in before}
    return tuple(
        Condition(
            type=type,
            status=str(holds),
            last_transition_time=times.get((type, str(holds)), now),
            reason=reason,
            message=message,
        )
        for type, holds, reason, message in wanted
    )


def _readiness(phase: Phase, statuses: Sequence[ContainerStatus]) -> tuple[bool, str, str]:
    if phase is Phase.SUCCEEDED:
        return False, "PodCompleted", ""
    if phase is Phase.FAILED:
        return False, "PodFailed", ""
    unready = [status.name for status in statuses if not status.ready]
    if unready:
        return False, "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]"
    return True, "", ""


# --- containers


def _trouble(facts: PodFacts) -> str:
    """Why the pod's address, volumes or sandbox are not there: what all its containers wait for."""
    return "; ".join(retry.message for retry in facts.retries.values() if retry.message)


def _container_status(pod: Pod, container: ContainerFacts, settings: BackoffSettings, trouble: str) -> ContainerStatus:
    state = _container_state(pod, container, settings, trouble)
    running = isinstance(state, Running)
    shown = container.run
    last = container.run if isinstance(state, Waiting) else container.previous
    return ContainerStatus(
        name=container.name,
        image=_image_name(pod, container),
        state=state,
        last_state=_terminated(last) if last is not None and last.exit is not None else None,
        ready=running,
        started=running,
        restart_count=max(container.attempt, 0),
        image_id=image_id(shown.image_reference, shown.image_digest) if shown is not None else "",
        container_id=_container_id(shown) if shown is not None else "",
    )


def _image_name(pod: Pod, container: ContainerFacts) -> str:
    if container.run is not None and container.run.image_reference:
        return container.run.image_reference
    return pod.container(container.name).image


def _container_id(run: Run) -> str:
    return f"nsrun://{run.hash}" if run.hash else ""


def _terminated(run: Run) -> Terminated:
    assert run.exit is not None
    return Terminated(
        exit_code=run.exit.code,
        reason=run.exit.reason,
        started_at=run.exit.started_at,
        finished_at=run.exit.finished_at,
        container_id=_container_id(run),
        signal=run.exit.signal,
        message=run.exit.message,
    )


def _container_state(pod: Pod, container: ContainerFacts, settings: BackoffSettings, trouble: str) -> ContainerState:
    match container.state:
        case lifecycle.ContainerState.RUNNING:
            assert container.run is not None
            return Running(started_at=container.run.started_at)
        case lifecycle.ContainerState.FINISHED:
            assert container.run is not None
            return _terminated(container.run)
        case lifecycle.ContainerState.CRASH_BACKOFF:
            delay = go_duration(settings.crash.delay(max(container.crashes.count, 1)))
            who = f"container={container.name} pod={full_name(pod)}"
            return Waiting(reason="CrashLoopBackOff", message=f"back-off {delay} restarting failed {who}")
        case lifecycle.ContainerState.PULL_BACKOFF:
            return _pull_backoff(pod, container)
        case _:
            return _between_runs(container, trouble)


def _pull_backoff(pod: Pod, container: ContainerFacts) -> Waiting:
    """Only a pull that was tried is backed off from; the other reasons say what is wrong with the manifest."""
    assert container.problem is not None
    if container.problem.reason != "ErrImagePull":
        return container.problem
    image = pod.container(container.name).image
    return Waiting(
        reason="ImagePullBackOff",
        message=f'Back-off pulling image "{image}": {container.problem.reason}: {container.problem.message}',
    )


def _between_runs(container: ContainerFacts, trouble: str) -> ContainerState:
    """Waiting to be started: the trouble there was, or how the last run ended, or just that it is being created."""
    if container.problem is not None:
        return container.problem
    run = container.run
    if run is None or run.exit is None:
        return Waiting(reason="ContainerCreating", message=trouble)
    if run.exit.reason is ExitReason.START_ERROR:
        return Waiting(reason="RunContainerError", message=run.exit.message)
    return _terminated(run)
