"""How what happens to a container changes what is known of it: the part of ``fold`` that is about single runs. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from nsrun.model.container import RestartPolicy
from nsrun.model.image import Image
from nsrun.model.probe import Probe, ProbeKind
from nsrun.model.running import ContainerId, Exit, ExitReason, RunningContainer
from nsrun.model.status import Waiting
from nsrun.supervisor import restart
from nsrun.supervisor.backoff import BackoffSettings, Retry, Schedule
from nsrun.supervisor.facts import ContainerFacts, PodFacts, Role, Run, Stop, StopCause
from nsrun.supervisor.lifecycle import ContainerEvent, ContainerState, PodEvent, PodState, container_after, pod_after
from nsrun.supervisor.restart import Outcome

__all__ = [
    "again",
    "asked",
    "begin_stop",
    "changed",
    "ended",
    "exited",
    "hook_failed",
    "judged",
    "killed",
    "lost",
    "never_ran",
    "post_started",
    "pre_stopped",
    "pull_failed",
    "pulled",
    "pulls_due",
    "refused",
    "run_removed",
    "started",
    "starting",
    "stop_by_hand",
]

_LIVING = (PodState.STARTING, PodState.RUNNING, PodState.RESETTING)
_RUNS = (ContainerState.POST_START, ContainerState.RUNNING)


def changed(facts: PodFacts, name: str, change: Callable[[ContainerFacts], ContainerFacts]) -> PodFacts:
    """The facts with another container of that name."""
    return replace(facts, containers=tuple(change(c) if c.name == name else c for c in facts.containers))


# --- images


def pulled(facts: PodFacts, name: str, image: Image) -> PodFacts:
    """The container's image is there."""

    def change(container: ContainerFacts) -> ContainerFacts:
        state = container_after(container.state, ContainerEvent.PULLED)
        return replace(container, state=state, image=image, pulls=Retry(), problem=None)

    return changed(facts, name, change)


def pull_failed(facts: PodFacts, name: str, problem: Waiting, now: float, schedule: Schedule) -> PodFacts:
    """The container's image cannot be had now."""

    def change(container: ContainerFacts) -> ContainerFacts:
        pulls = container.pulls.failed(now, schedule)
        state = container_after(container.state, ContainerEvent.PULL_FAILED)
        return replace(container, state=state, pulls=pulls, until=pulls.until, problem=problem)

    return changed(facts, name, change)


def pulls_due(facts: PodFacts, now: float) -> PodFacts:
    """Images are tried again at once: the store has new ones."""

    def change(container: ContainerFacts) -> ContainerFacts:
        waits = container.state is ContainerState.PULL_BACKOFF
        return replace(container, until=min(container.until, now)) if waits else container

    retries = {key: retry for key, retry in facts.retries.items() if not key.startswith("image ")}
    return replace(facts, containers=tuple(change(c) for c in facts.containers), retries=retries)


# --- starts


def starting(facts: PodFacts, name: str, attempt: int) -> PodFacts:
    """The runtime is about to be asked for run number ``attempt``."""

    def change(container: ContainerFacts) -> ContainerFacts:
        return replace(
            container, state=container_after(container.state, ContainerEvent.START), attempt=attempt, early_exits={}
        )

    return changed(facts, name, change)


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
    name = running.id.name
    known = facts.container(name)
    early = known.early_exits.get(running.id.attempt) if known is not None else None

    def change(container: ContainerFacts) -> ContainerFacts:
        spec = facts.spec(container)
        hooked = spec is not None and spec.lifecycle.post_start is not None
        event = ContainerEvent.HOOKED if hooked else ContainerEvent.STARTED
        state = container_after(container.state, event)
        return replace(_with_run(container, run), state=state, starts=Retry(), problem=None, image=None, early_exits={})

    facts = changed(facts, name, change)
    if early is not None:
        return exited(facts, running.id, early, settings)
    if facts.state is PodState.RESETTING:
        return lost(facts, run, "the sandbox died while the container was being started", now, settings)
    return facts


def _with_run(container: ContainerFacts, run: Run) -> ContainerFacts:
    """The newest run becomes the previous one."""
    previous = container.run if container.run is not None else container.previous
    return replace(
        container,
        run=run,
        attempt=run.id.attempt,
        previous=previous,
        up=False,
        ready=False,
        stop=None,
        refused=None,
        released=False,
    )


def refused(facts: PodFacts, name: str, problem: Waiting, now: float, settings: BackoffSettings) -> PodFacts:
    """The container cannot be created now; nothing ran, so its number can be used again.

    Unless its end was told: then a start that was cut off had started it, and asking again came too late.
    """
    known = facts.container(name)
    early = known.early_exits.get(known.attempt) if known is not None else None
    if early is not None:

        def unseen(container: ContainerFacts) -> ContainerFacts:
            run = _unseen_run(facts, container, started_at=early.started_at)
            return replace(_with_run(container, run), image=None, early_exits={})

        return ended(changed(facts, name, unseen), name, early, settings)

    def change(container: ContainerFacts) -> ContainerFacts:
        starts = container.starts.failed(now, settings.step)
        asked = container.state is ContainerState.STARTING
        trace = ContainerId(uid=facts.uid, name=name, attempt=container.attempt) if asked else None
        return replace(
            container,
            state=container_after(container.state, ContainerEvent.REFUSED),
            attempt=_last_attempt(container),
            refused=trace,
            starts=starts,
            until=starts.until,
            problem=problem,
            image=None,
            early_exits={},
        )

    return changed(facts, name, change)


def _last_attempt(container: ContainerFacts) -> int:
    return max((run.id.attempt for run in (container.previous, container.run) if run is not None), default=-1)


def never_ran(facts: PodFacts, name: str, message: str, now: float, settings: BackoffSettings) -> PodFacts:
    """The process could not become the container's program: a run that ended at once, with 128 and ``StartError``, as
    containerd has it."""
    exit = Exit(code=128, reason=ExitReason.START_ERROR, started_at=0.0, finished_at=now, message=message)

    def change(container: ContainerFacts) -> ContainerFacts:
        run = _unseen_run(facts, container, started_at=0.0)
        return replace(_with_run(container, run), image=None, early_exits={})

    return ended(changed(facts, name, change), name, exit, settings)


def _unseen_run(facts: PodFacts, container: ContainerFacts, *, started_at: float) -> Run:
    """A run of which only the end is known."""
    return Run(
        id=ContainerId(uid=facts.uid, name=container.name, attempt=container.attempt),
        hash="",
        image_reference=container.image.reference if container.image is not None else "",
        image_digest=container.image.digest if container.image is not None else "",
        started_at=started_at,
    )


def post_started(facts: PodFacts, id: ContainerId) -> PodFacts:
    """The run's postStart hook is done."""

    def change(container: ContainerFacts) -> ContainerFacts:
        if container.state is not ContainerState.POST_START or container.live is None or container.live.id != id:
            return container
        return replace(container, state=container_after(container.state, ContainerEvent.POST_STARTED))

    return changed(facts, id.name, change)


def hook_failed(facts: PodFacts, id: ContainerId, message: str, now: float) -> PodFacts:
    """The run's postStart hook failed: it is stopped, with all the time it may have (kuberuntime_container.go)."""

    def change(container: ContainerFacts) -> ContainerFacts:
        if container.state is not ContainerState.POST_START or container.live is None or container.live.id != id:
            return container
        problem = Waiting(reason="PostStartHookError", message=message)
        stop = Stop(
            cause=StopCause.HOOK,
            until=now + facts.grace_seconds,
            message="FailedPostStartHook",
            at_once=facts.grace_seconds <= 0,
        )
        return begin_stop(facts, replace(container, problem=problem), stop)

    return changed(facts, id.name, change)


# --- probes


def judged(facts: PodFacts, id: ContainerId, kind: ProbeKind, *, success: bool, now: float) -> PodFacts:
    """A probe of the run came to another result, or failed for good."""

    def change(container: ContainerFacts) -> ContainerFacts:
        if container.live is None or container.live.id != id:
            return container
        if kind is ProbeKind.READINESS:
            return replace(container, ready=success)
        if success:
            return replace(container, up=container.up or kind is ProbeKind.STARTUP)
        if container.state is not ContainerState.RUNNING or facts.state is not PodState.RUNNING:
            return container
        return begin_stop(facts, container, _stop_for_probe(facts, container, kind, now))

    return changed(facts, id.name, change)


def _stop_for_probe(facts: PodFacts, container: ContainerFacts, kind: ProbeKind, now: float) -> Stop:
    assert facts.pod is not None
    spec = facts.pod.container(container.name)
    probe: Probe | None = spec.startup_probe if kind is ProbeKind.STARTUP else spec.liveness_probe
    own = probe.termination_grace_period_seconds if probe is not None else None
    grace = facts.grace_seconds if own is None else float(own)
    again = container.role is Role.SIDECAR or restart.policy_of(facts.pod, spec) is not RestartPolicy.NEVER
    message = f"Container {container.name} failed {kind.lower()} probe{', will be restarted' if again else ''}"
    return Stop(cause=StopCause.PROBE, until=now + grace, message=message, at_once=grace <= 0)


# --- stops


def begin_stop(facts: PodFacts, container: ContainerFacts, stop: Stop) -> ContainerFacts:
    """The container as it is when its stop begins. Its preStop hook is run unless there is no time for it."""
    if container.state not in _RUNS:
        return container
    spec = facts.spec(container)
    hooked = spec is not None and spec.lifecycle.pre_stop is not None
    hooked = hooked and not stop.at_once and stop.cause is not StopCause.RESTART
    event = ContainerEvent.STOP_HOOKED if hooked else ContainerEvent.STOP
    return replace(container, state=container_after(container.state, event), stop=stop)


def stop_by_hand(facts: PodFacts, name: str, now: float, grace: float | None) -> Stop:
    """How somebody has a container stopped. ``grace``: seconds, None for what the manifest says."""
    seconds = facts.grace_seconds if grace is None else grace
    message = f"Stopping container {name}"
    return Stop(cause=StopCause.USER, until=now + seconds, message=message, at_once=seconds <= 0)


def pre_stopped(facts: PodFacts, id: ContainerId) -> PodFacts:
    """The run's preStop hook is over, done or not."""

    def change(container: ContainerFacts) -> ContainerFacts:
        if container.state is not ContainerState.PRE_STOP or container.live is None or container.live.id != id:
            return container
        return replace(container, state=container_after(container.state, ContainerEvent.PRE_STOPPED))

    return changed(facts, id.name, change)


def asked(facts: PodFacts, name: str, now: float) -> PodFacts:
    """The container got its stop signal."""

    def change(container: ContainerFacts) -> ContainerFacts:
        if container.state is not ContainerState.STOPPING or container.stop is None:
            return container
        state = container_after(container.state, ContainerEvent.ASKED)
        return replace(container, state=state, stop=replace(container.stop, asked_at=now))

    return changed(facts, name, change)


def killed(facts: PodFacts, name: str, settings: BackoffSettings, now: float) -> PodFacts:
    """The container was killed; its end is still to be told. One whose start nobody knows the end of never was."""
    known = facts.container(name)
    if known is not None and known.state is ContainerState.STARTING:
        return refused(facts, name, Waiting(reason="CreateContainerError"), now, settings)

    def change(container: ContainerFacts) -> ContainerFacts:
        if container.state not in (ContainerState.STOPPING, ContainerState.ASKED):
            return container
        return replace(container, state=container_after(container.state, ContainerEvent.KILLED))

    return changed(facts, name, change)


# --- ends


def exited(facts: PodFacts, id: ContainerId, exit: Exit, settings: BackoffSettings) -> PodFacts:
    """A run ended. What was known already, or is not of our runs, changes nothing."""
    known = facts.container(id.name)
    if known is not None and known.live is not None and known.live.id == id:
        return ended(facts, id.name, exit, settings)
    if known is not None and known.state is ContainerState.STARTING and known.attempt == id.attempt:
        early = {**known.early_exits, id.attempt: exit}
        return changed(facts, id.name, lambda container: replace(container, early_exits=early))
    return facts


def lost(facts: PodFacts, run: Run, message: str, now: float, settings: BackoffSettings) -> PodFacts:
    """A run whose end nobody saw."""
    exit = Exit(code=137, reason=ExitReason.UNKNOWN, started_at=run.started_at, finished_at=now, message=message)
    return exited(facts, run.id, exit, settings)


def ended(facts: PodFacts, name: str, exit: Exit, settings: BackoffSettings) -> PodFacts:
    """The newest run of a container ended, whatever its state."""
    known = facts.container(name)
    assert known is not None
    after = _outcome(facts, known, exit)
    facts = changed(facts, name, lambda container: _after_end(facts, container, exit, after, settings))
    if after is Outcome.ALL_AGAIN and facts.state is PodState.RUNNING:
        return replace(facts, state=pod_after(facts.state, PodEvent.RESTART), restarting=name)
    return facts


def _outcome(facts: PodFacts, container: ContainerFacts, exit: Exit) -> Outcome:
    spec = facts.spec(container)
    if facts.pod is None or spec is None or facts.state not in _LIVING:
        return Outcome.OVER
    if _by_hand(container):
        return Outcome.AGAIN
    return restart.outcome(facts.pod, spec, container.role, exit, by_probe=_by(container, StopCause.PROBE))


def _by_hand(container: ContainerFacts) -> bool:
    """Whether its end is what somebody wants; to stay stopped, or to be run again at once."""
    return container.hold is not None or _by(container, StopCause.USER)


def _by(container: ContainerFacts, cause: StopCause) -> bool:
    return container.stop is not None and container.stop.cause is cause


def _after_end(
    facts: PodFacts, container: ContainerFacts, exit: Exit, after: Outcome, settings: BackoffSettings
) -> ContainerFacts:
    assert container.run is not None
    over = after is Outcome.OVER
    if _by(container, StopCause.RESTART):
        exit = replace(exit, code=137, reason=ExitReason.RESTARTING)
    # One ended run is kept on the machine besides a live one, and no more.
    older, expired = container.previous, container.expired
    if older is not None and older.hash and not older.removed and older.id not in expired:
        expired = (*expired, older.id)
    done = container.role is Role.INIT and over and facts.state in _LIVING and restart.succeeded(exit)
    return replace(
        container,
        state=container_after(container.state, ContainerEvent.FINISHED if over else ContainerEvent.ENDED),
        initialized=container.initialized or done,
        run=replace(container.run, exit=exit),
        until=0.0 if over else _restart_at(container, exit, settings),
        expired=expired,
        up=False,
        ready=False,
    )


def _restart_at(container: ContainerFacts, exit: Exit, settings: BackoffSettings) -> float:
    """When the container may run again. What somebody stopped may at once. What a probe had killed runs again at once,
    unless it had been run again so lately that it is backing off from the end before this one (kuberuntime_manager.go
    doBackOff)."""
    crashes, before = container.crashes, container.previous
    if _by_hand(container):
        return exit.finished_at
    if _by(container, StopCause.PROBE):
        waited = before is None or before.exit is None
        if waited or crashes.restart_at(_finished_at(before), settings) <= exit.finished_at:
            return exit.finished_at
    return crashes.restart_at(exit.finished_at, settings)


def _finished_at(run: Run | None) -> float:
    return run.exit.finished_at if run is not None and run.exit is not None else 0.0


def again(container: ContainerFacts) -> ContainerFacts:
    """The container as if this were its first time: after a new sandbox was made, or everything is to run again."""
    if container.state not in (ContainerState.FINISHED, ContainerState.CRASH_BACKOFF, ContainerState.STOPPED):
        return replace(container, initialized=False)
    return replace(
        container,
        state=container_after(container.state, ContainerEvent.AGAIN),
        initialized=False,
        run=None,
        previous=container.run if container.run is not None else container.previous,
        problem=None,
    )


def run_removed(facts: PodFacts, id: ContainerId) -> PodFacts:
    """The records of an ended run, or the trace of a refused one, are deleted."""

    def change(container: ContainerFacts) -> ContainerFacts:
        return replace(
            container,
            expired=tuple(i for i in container.expired if i != id),
            refused=None if container.refused == id else container.refused,
            run=_removed(container.run, id),
            previous=_removed(container.previous, id),
        )

    return changed(facts, id.name, change)


def _removed(run: Run | None, id: ContainerId) -> Run | None:
    return replace(run, removed=True) if run is not None and run.id == id else run
