"""One container's status, as the kubelet shows it (kubelet_pods.go, convertToAPIContainerStatuses). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nsrun.model.pod import Pod
from nsrun.model.running import ExitReason
from nsrun.model.status import ContainerState, ContainerStatus, Running, Terminated, Waiting
from nsrun.supervisor import lifecycle
from nsrun.supervisor.backoff import BackoffSettings, Retry, go_duration
from nsrun.supervisor.facts import LIVE_STATES, ContainerFacts, PodFacts, Role, Run
from nsrun.supervisor.lifecycle import PodState
from nsrun.supervisor.order import is_initialized, is_ready, is_up

__all__ = ["container_status", "full_name", "image_id"]

_ENDED = (PodState.FINISHING, PodState.FINISHED, PodState.STOPPING, PodState.REMOVING, PodState.REMOVED)


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


def container_status(facts: PodFacts, container: ContainerFacts, settings: BackoffSettings) -> ContainerStatus:
    """The status now. The pod must be known (``facts.pod`` not None)."""
    assert facts.pod is not None
    state = _state(facts, facts.pod, container, settings)
    running = isinstance(state, Running)
    shown = container.run if container.run is not None else container.previous
    last = shown if isinstance(state, Waiting) else container.previous
    return ContainerStatus(
        name=container.name,
        image=_image_name(facts.pod, container, shown),
        state=state,
        last_state=_terminated(last) if last is not None and last.exit is not None else None,
        ready=is_ready(facts, container) if running or container.role is Role.INIT else False,
        started=running and is_up(facts, container),
        # While the next run is being started, the last one is still what is shown.
        restart_count=container.run.id.attempt if container.run is not None else max(container.attempt, 0),
        image_id=image_id(shown.image_reference, shown.image_digest) if shown is not None else "",
        container_id=_container_id(shown) if shown is not None else "",
    )


def _image_name(pod: Pod, container: ContainerFacts, shown: Run | None) -> str:
    if shown is not None and shown.image_reference:
        return shown.image_reference
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


def _state(facts: PodFacts, pod: Pod, container: ContainerFacts, settings: BackoffSettings) -> ContainerState:
    run = container.run
    match container.state:
        case lifecycle.ContainerState.POST_START:
            return _waiting(facts, container)
        case state if state in LIVE_STATES:
            # A run whose hook failed was never said to run.
            assert run is not None
            return container.problem if container.problem is not None else Running(started_at=run.started_at)
        case lifecycle.ContainerState.FINISHED:
            return _terminated(run) if run is not None and run.exit is not None else _completed()
        case lifecycle.ContainerState.CRASH_BACKOFF | lifecycle.ContainerState.STOPPED if _is_past(facts, run):
            assert run is not None
            return _terminated(run)
        case lifecycle.ContainerState.STOPPED if facts.state not in _ENDED:
            return Waiting(reason="Stopped", message="stopped by hand, until it is started")
        case lifecycle.ContainerState.CRASH_BACKOFF:
            delay = go_duration(settings.crash.delay(max(container.crashes.count, 1)))
            who = f"container={container.name} pod={full_name(pod)}"
            return Waiting(reason="CrashLoopBackOff", message=f"back-off {delay} restarting failed {who}")
        case lifecycle.ContainerState.PULL_BACKOFF if not _comes_later(facts, container):
            return _pull_backoff(pod, container)
        case _:
            return _between_runs(facts, container)


def _is_past(facts: PodFacts, run: Run | None) -> bool:
    """Whether nothing comes after the run, because its pod has ended."""
    return facts.state in _ENDED and run is not None and run.exit is not None


def _comes_later(facts: PodFacts, container: ContainerFacts) -> bool:
    """Whether an init container before it has not done its part. What is wrong with its image, which we fetch early, is
    not yet its state: the kubelet has not looked at it either (only the events tell)."""
    for other in facts.containers:
        if other.name == container.name:
            return False
        if other.role is not Role.APP and not other.initialized:
            return True
    return False


def _completed() -> Terminated:
    """An init container whose records are gone: it must have ended well, for others came after it."""
    return Terminated(exit_code=0, reason=ExitReason.COMPLETED, started_at=0.0, finished_at=0.0, container_id="")


def _pull_backoff(pod: Pod, container: ContainerFacts) -> Waiting:
    """Only a pull that was tried is backed off from; the other reasons say what is wrong with the manifest."""
    assert container.problem is not None
    image = pod.container(container.name).image
    return _backing_off(image, container.problem.reason, container.problem.message)


def _backing_off(image: str, reason: str, message: str) -> Waiting:
    if reason != "ErrImagePull":
        return Waiting(reason=reason, message=message)
    return Waiting(reason="ImagePullBackOff", message=f'Back-off pulling image "{image}": {reason}: {message}')


def _between_runs(facts: PodFacts, container: ContainerFacts) -> ContainerState:
    """Waiting to be started: the trouble there was, or how the last run ended, or just that it is being created."""
    if container.problem is not None and not _comes_later(facts, container):
        return container.problem
    run = container.run
    if run is not None and run.exit is not None:
        if run.exit.reason is ExitReason.START_ERROR:
            return Waiting(reason="RunContainerError", message=run.exit.message)
        return _terminated(run)
    if container.role is Role.APP and _was_given_up(facts, container):
        message = "The container was not found when the pod was terminated"
        return Terminated(
            exit_code=137,
            reason=ExitReason.UNKNOWN,
            started_at=0.0,
            finished_at=0.0,
            container_id="",
            message=message,
        )
    return _waiting(facts, container)


def _was_given_up(facts: PodFacts, container: ContainerFacts) -> bool:
    """Whether its pod failed when everybody else may have run (status_manager.go, TerminatePod)."""
    failed = facts.state is PodState.FINISHED and facts.failure is not None
    return failed and container.previous is None and is_initialized(facts)


def _waiting(facts: PodFacts, container: ContainerFacts) -> Waiting:
    assert facts.pod is not None
    for mount in facts.pod.container(container.name).volume_mounts:
        retry = facts.retries.get(f"image volume {mount.name}")
        if retry is not None and retry.reason:
            return _backing_off(_volume_image(facts.pod, mount.name), retry.reason, retry.message)
    reason = "PodInitializing" if facts.pod.spec.init_containers else "ContainerCreating"
    return Waiting(reason=reason, message="; ".join(_trouble(facts.retries.values())))


def _volume_image(pod: Pod, volume: str) -> str:
    return next((str(getattr(v.source, "reference", "")) for v in pod.spec.volumes if v.name == volume), "")


def _trouble(retries: Iterable[Retry]) -> Iterator[str]:
    """Why the pod's address, volumes or sandbox are not there: what all its containers wait for."""
    return (retry.message for retry in retries if retry.message and not retry.reason)
