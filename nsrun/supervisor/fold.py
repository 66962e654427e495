"""How what happens changes what is known: facts and an event in, new facts out. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from nsrun.model.image import Image
from nsrun.model.pod import Pod, RestartPolicy
from nsrun.model.running import (
    Attachment,
    ContainerId,
    Exit,
    ExitReason,
    PreparedVolume,
    RunningContainer,
    SandboxInfo,
)
from nsrun.model.status import Waiting
from nsrun.supervisor.backoff import BackoffSettings, Retry, Schedule
from nsrun.supervisor.facts import ContainerFacts, PodFacts, Run
from nsrun.supervisor.lifecycle import ContainerEvent, ContainerState, PodEvent, PodState, container_after, pod_after
from nsrun.supervisor.restart import runs_again
from nsrun.supervisor.steps import KILL_PATIENCE, DetachNetwork, RemoveSandbox, RemoveVolumes
from nsrun.support.layout import PodName

__all__ = [
    "accepted",
    "advanced",
    "asked",
    "attached",
    "exited",
    "killed",
    "never_ran",
    "orphan",
    "prepared",
    "pull_failed",
    "pulled",
    "pulls_due",
    "refused",
    "run_removed",
    "sandbox_lost",
    "sandbox_removed",
    "sandbox_started",
    "started",
    "starting",
    "step_done",
    "step_failed",
    "terminating",
    "unmade",
]

_LIVING = (PodState.STARTING, PodState.RUNNING, PodState.RESETTING)


# --- birth and end


def accepted(pod: Pod, now: float) -> PodFacts:
    """A pod of which nothing stands yet."""
    containers = tuple(ContainerFacts(name=container.name) for container in pod.spec.containers)
    return PodFacts(uid=pod.uid, name=pod.name, pod=pod, accepted_at=now, containers=containers)


def orphan(uid: str, name: PodName | None, now: float) -> PodFacts:
    """The remains of a pod that nobody asked for; they are to be removed."""
    facts = PodFacts(uid=uid, name=name, pod=None, accepted_at=now)
    return terminating(facts, now)


def terminating(facts: PodFacts, now: float, grace: float | None = None) -> PodFacts:
    """The pod's end begins; a second time only another ``grace`` changes anything: None keeps the one there is."""
    grace = facts.grace if grace is None else grace
    if facts.state in (PodState.STOPPING, PodState.REMOVING, PodState.REMOVED):
        return replace(facts, grace=grace)
    return replace(facts, state=pod_after(facts.state, PodEvent.TERMINATE), stopping_since=now, grace=grace, retries={})


def advanced(facts: PodFacts, busy: Collection[str], now: float, settings: BackoffSettings) -> PodFacts:
    """What follows by itself: backoffs that are over, and the pod's state from those of its parts."""
    if facts.state in _LIVING:
        facts = replace(facts, containers=tuple(_retried(c, now, settings) for c in facts.containers))
    match facts.state:
        case PodState.RUNNING if _all_finished(facts):
            return replace(facts, state=pod_after(facts.state, PodEvent.ALL_FINISHED))
        case PodState.STOPPING if not busy and (not _any_live(facts) or now >= facts.kill_at + KILL_PATIENCE):
            return replace(facts, state=pod_after(facts.state, PodEvent.CONTAINERS_GONE), retries={})
        case PodState.REMOVING if _is_unmade(facts):
            return replace(facts, state=pod_after(facts.state, PodEvent.UNMADE))
    return facts


def _retried(container: ContainerFacts, now: float, settings: BackoffSettings) -> ContainerFacts:
    backoffs = (ContainerState.PULL_BACKOFF, ContainerState.START_BACKOFF, ContainerState.CRASH_BACKOFF)
    if container.state not in backoffs or container.until > now:
        return container
    crashes = container.crashes
    if container.state is ContainerState.CRASH_BACKOFF and container.run is not None and container.run.exit is not None:
        crashes = crashes.restarted(container.run.exit.finished_at, now, settings)
    return replace(container, state=container_after(container.state, ContainerEvent.RETRY), crashes=crashes)


def _all_finished(facts: PodFacts) -> bool:
    return all(c.state is ContainerState.FINISHED for c in facts.containers)


def _any_live(facts: PodFacts) -> bool:
    return any(c.live is not None for c in facts.containers)


def _is_unmade(facts: PodFacts) -> bool:
    needed = {RemoveSandbox().key, RemoveVolumes().key}
    if facts.name is not None:
        needed.add(DetachNetwork().key)
    return needed <= facts.unmade


# --- steps in general


def step_failed(facts: PodFacts, key: str, now: float, schedule: Schedule, message: str = "") -> PodFacts:
    """The step did not succeed and is tried again later."""
    retry = facts.retries.get(key, Retry()).failed(now, schedule, message)
    return replace(facts, retries={**facts.retries, key: retry})


def step_done(facts: PodFacts, key: str) -> PodFacts:
    """The step succeeded; its failures are forgotten."""
    return replace(facts, retries={k: retry for k, retry in facts.retries.items() if k != key})


def unmade(facts: PodFacts, key: str) -> PodFacts:
    """A step of the removal is done."""
    return replace(facts, unmade=facts.unmade | {key})


# --- the pod's parts


def attached(facts: PodFacts, attachment: Attachment) -> PodFacts:
    """The pod has its address."""
    return replace(facts, attachment=attachment)


def prepared(facts: PodFacts, volumes: Mapping[str, PreparedVolume]) -> PodFacts:
    """The pod's volumes are there."""
    return replace(facts, volumes=volumes)


def sandbox_started(facts: PodFacts, sandbox: SandboxInfo) -> PodFacts:
    """The sandbox stands; a pod that is being stopped meanwhile is not brought back by it."""
    if facts.state is not PodState.STARTING:
        return facts
    return replace(facts, sandbox=sandbox, state=pod_after(facts.state, PodEvent.SANDBOX_STARTED))


def sandbox_lost(facts: PodFacts, message: str, now: float, settings: BackoffSettings) -> PodFacts:
    """The sandbox died, and every container with it. Runs whose end was not told end here, with a code nobody knows."""
    if facts.state not in (PodState.RUNNING, PodState.FINISHED, PodState.STOPPING):
        return facts
    facts = replace(facts, sandbox=None)
    for container in facts.containers:
        if container.live is not None:
            facts = _run_lost(facts, container.live, message, now, settings)
    if facts.state is PodState.RUNNING and not _all_finished(facts):
        # The address may have gone with the sandbox: it is asked for again, and kept if it is still there.
        return replace(facts, state=pod_after(facts.state, PodEvent.SANDBOX_LOST), attachment=None)
    return facts


def _run_lost(facts: PodFacts, run: Run, message: str, now: float, settings: BackoffSettings) -> PodFacts:
    exit = Exit(
        code=137,
        reason=ExitReason.UNKNOWN,
        started_at=run.started_at,
        finished_at=now,
        message=message,
    )
    return exited(facts, run.id, exit, settings)


def sandbox_removed(facts: PodFacts) -> PodFacts:
    """Nothing is left of the dead sandbox, nor of the records of the runs in it; a new one can be made."""
    containers = tuple(
        replace(c, expired=(), run=_removed(c.run), previous=_removed(c.previous)) for c in facts.containers
    )
    return replace(facts, state=pod_after(facts.state, PodEvent.SANDBOX_REMOVED), containers=containers)


def _removed(run: Run | None) -> Run | None:
    return None if run is None else replace(run, removed=True)


# --- containers


def _changed(facts: PodFacts, name: str, change: Callable[[ContainerFacts], ContainerFacts]) -> PodFacts:
    return replace(facts, containers=tuple(change(c) if c.name == name else c for c in facts.containers))


def pulled(facts: PodFacts, name: str, image: Image) -> PodFacts:
    """The container's image is there."""

    def change(container: ContainerFacts) -> ContainerFacts:
        state = container_after(container.state, ContainerEvent.PULLED)
        return replace(container, state=state, image=image, pulls=Retry(), problem=None)

    return _changed(facts, name, change)


def pull_failed(facts: PodFacts, name: str, problem: Waiting, now: float, schedule: Schedule) -> PodFacts:
    """The container's image cannot be had now."""

    def change(container: ContainerFacts) -> ContainerFacts:
        pulls = container.pulls.failed(now, schedule)
        state = container_after(container.state, ContainerEvent.PULL_FAILED)
        return replace(container, state=state, pulls=pulls, until=pulls.until, problem=problem)

    return _changed(facts, name, change)


def pulls_due(facts: PodFacts, now: float) -> PodFacts:
    """Images are tried again at once: the store has new ones."""

    def change(container: ContainerFacts) -> ContainerFacts:
        waits = container.state is ContainerState.PULL_BACKOFF
        return replace(container, until=min(container.until, now)) if waits else container

    return replace(facts, containers=tuple(change(c) for c in facts.containers))


def starting(facts: PodFacts, name: str, attempt: int) -> PodFacts:
    """The runtime is about to be asked for run number ``attempt``."""

    def change(container: ContainerFacts) -> ContainerFacts:
        return replace(
            container, state=container_after(container.state, ContainerEvent.START), attempt=attempt, early_exits={}
        )

    return _changed(facts, name, change)


def started(
    facts: PodFacts, running: RunningContainer, image: Image, now: float, settings: BackoffSettings
) -> PodFacts:
    """The run was started; it may have ended, or lost its sandbox, before we were told."""
    run = Run(
        id=running.id,
        hash=running.hash,
        image_reference=image.reference,
        image_digest=image.digest,
        started_at=running.started_at,
    )
    container = facts.container(running.id.name)
    early = container.early_exits.get(running.id.attempt) if container is not None else None

    def change(container: ContainerFacts) -> ContainerFacts:
        state = container_after(container.state, ContainerEvent.STARTED)
        return replace(_with_run(container, run), state=state, starts=Retry(), problem=None, image=None, early_exits={})

    facts = _changed(facts, running.id.name, change)
    if early is not None:
        return exited(facts, running.id, early, settings)
    if facts.state is PodState.RESETTING:
        return _run_lost(facts, run, "the sandbox died while the container was being started", now, settings)
    return facts


def _with_run(container: ContainerFacts, run: Run) -> ContainerFacts:
    """The newest run becomes the previous one."""
    return replace(container, run=run, attempt=run.id.attempt, previous=container.run)


def refused(facts: PodFacts, name: str, problem: Waiting, now: float, settings: BackoffSettings) -> PodFacts:
    """The container cannot be created now; nothing ran.

    Unless its end was told: then a start that was cut off had started it, and asking again came too late.
    """

    def change(container: ContainerFacts) -> ContainerFacts:
        early = container.early_exits.get(container.attempt)
        if early is not None:
            unseen = _with_run(container, _unseen_run(facts, container, started_at=early.started_at))
            return _ended(facts, replace(unseen, image=None, early_exits={}), early, settings)
        schedule = settings.step
        starts = container.starts.failed(now, schedule)
        state = container_after(container.state, ContainerEvent.REFUSED)
        return replace(
            container, state=state, starts=starts, until=starts.until, problem=problem, image=None, early_exits={}
        )

    return _changed(facts, name, change)


def never_ran(facts: PodFacts, name: str, message: str, now: float, settings: BackoffSettings) -> PodFacts:
    """The process could not become the container's program: a run that ended at once, with 128 and ``StartError``, as
    containerd has it."""
    exit = Exit(code=128, reason=ExitReason.START_ERROR, started_at=0.0, finished_at=now, message=message)

    def change(container: ContainerFacts) -> ContainerFacts:
        unseen = _with_run(container, _unseen_run(facts, container, started_at=0.0))
        return _ended(facts, replace(unseen, image=None, early_exits={}), exit, settings)

    return _changed(facts, name, change)


def _unseen_run(facts: PodFacts, container: ContainerFacts, *, started_at: float) -> Run:
    """A run of which only the end is known."""
    return Run(
        id=ContainerId(uid=facts.uid, name=container.name, attempt=container.attempt),
        hash="",
        image_reference=container.image.reference if container.image is not None else "",
        image_digest=container.image.digest if container.image is not None else "",
        started_at=started_at,
    )


def exited(facts: PodFacts, id: ContainerId, exit: Exit, settings: BackoffSettings) -> PodFacts:
    """A run ended. What was known already, or is not of our runs, changes nothing."""

    def change(container: ContainerFacts) -> ContainerFacts:
        if container.live is not None and container.live.id == id:
            return _ended(facts, container, exit, settings)
        if container.state is ContainerState.STARTING and container.attempt == id.attempt:
            return replace(container, early_exits={**container.early_exits, id.attempt: exit})
        return container

    return _changed(facts, id.name, change)


def _ended(facts: PodFacts, container: ContainerFacts, exit: Exit, settings: BackoffSettings) -> ContainerFacts:
    assert container.run is not None
    policy = facts.pod.spec.restart_policy if facts.pod is not None else RestartPolicy.NEVER
    again = facts.state in _LIVING and runs_again(policy, exit)
    event = ContainerEvent.ENDED if again else ContainerEvent.FINISHED
    # One ended run is kept on the machine besides a live one, and no more.
    older, expired = container.previous, container.expired
    if older is not None and older.hash and not older.removed and older.id not in expired:
        expired = (*expired, older.id)
    return replace(
        container,
        state=container_after(container.state, event),
        run=replace(container.run, exit=exit),
        until=container.crashes.restart_at(exit.finished_at, settings) if again else 0.0,
        expired=expired,
    )


def run_removed(facts: PodFacts, id: ContainerId) -> PodFacts:
    """The records of an ended run are deleted."""

    def change(container: ContainerFacts) -> ContainerFacts:
        return replace(
            container,
            expired=tuple(i for i in container.expired if i != id),
            run=_removed(container.run) if container.run is not None and container.run.id == id else container.run,
            previous=_removed(container.previous)
            if container.previous is not None and container.previous.id == id
            else container.previous,
        )

    return _changed(facts, id.name, change)


def asked(facts: PodFacts, name: str) -> PodFacts:
    """The container got its stop signal."""
    return _changed(facts, name, lambda c: replace(c, asked=True))


def killed(facts: PodFacts, name: str) -> PodFacts:
    """The container was killed; its end is still to be told."""
    return _changed(facts, name, lambda c: replace(c, killed=True))
