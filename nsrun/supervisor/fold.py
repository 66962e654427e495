"""How what happens changes what is known of a pod: facts and an event in, new facts out. Pure.

What happens to single runs is in ``runs``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from nsrun.model.image import Image
from nsrun.model.objects import Objects
from nsrun.model.pod import Pod, RestartPolicy
from nsrun.model.running import Attachment, PreparedVolume, SandboxInfo
from nsrun.supervisor import runs, stopping
from nsrun.supervisor.backoff import BackoffSettings, Retry, Schedule
from nsrun.supervisor.facts import ContainerFacts, Failure, Marks, PodFacts, Role, Run, Stop, StopCause, new_containers
from nsrun.supervisor.lifecycle import ContainerEvent, ContainerState, PodEvent, PodState, container_after, pod_after
from nsrun.supervisor.order import is_up
from nsrun.supervisor.references import environment_view, pull_view, shows_itself, volume_view
from nsrun.supervisor.steps import (
    KILL_PATIENCE,
    DetachNetwork,
    EnsureImage,
    PrepareVolumes,
    Record,
    RefreshVolumes,
    RemoveSandbox,
    RemoveVolumes,
    StartContainer,
)
from nsrun.support.layout import PodName

__all__ = [
    "DEADLINE",
    "accepted",
    "advanced",
    "attached",
    "failed",
    "image_there",
    "marks",
    "orphan",
    "prepared",
    "recorded",
    "refreshed",
    "sandbox_died",
    "sandbox_lost",
    "sandbox_removed",
    "sandbox_started",
    "sandbox_told",
    "settled",
    "step_done",
    "step_failed",
    "terminating",
    "told_objects",
    "unmade",
    "volumes_refreshed",
]

_LIVING = (PodState.STARTING, PodState.RUNNING, PodState.RESETTING)
_FAILING = (*_LIVING, PodState.RESTARTING)
_LEAVING = (PodState.STOPPING, PodState.REMOVING, PodState.REMOVED)
_BACKOFFS = (ContainerState.PULL_BACKOFF, ContainerState.START_BACKOFF, ContainerState.CRASH_BACKOFF)
_RESTING = (*_BACKOFFS, ContainerState.WAITING, ContainerState.READY)

DEADLINE = Failure(reason="DeadlineExceeded", message="Pod was active on the node longer than the specified deadline")
"""The kubelet's words (active_deadline.go)."""


# --- birth and end


def accepted(pod: Pod, now: float) -> PodFacts:
    """A pod of which nothing stands yet."""
    return PodFacts(uid=pod.uid, name=pod.name, pod=pod, accepted_at=now, containers=new_containers(pod))


def orphan(uid: str, name: PodName | None, now: float) -> PodFacts:
    """The remains of a pod that nobody asked for; they are to be removed."""
    facts = PodFacts(uid=uid, name=name, pod=None, accepted_at=now)
    return terminating(facts, now)


def terminating(facts: PodFacts, now: float, grace: float | None = None) -> PodFacts:
    """The pod's end begins; a second time only another ``grace`` changes anything: None keeps the one there is. A pod
    whose containers are being stopped already gives them no more time than they had."""
    if facts.state in _LEAVING:
        return replace(facts, grace=facts.grace if grace is None else grace)
    after = replace(
        facts, state=pod_after(facts.state, PodEvent.TERMINATE), stopping_since=now, grace=grace, retries={}
    )
    if facts.state is PodState.FINISHING and facts.grace_seconds > 0 and after.grace_seconds > 0:
        return replace(after, grace=min(max(facts.kill_at - now, 1.0), after.grace_seconds))
    return after


def failed(facts: PodFacts, failure: Failure, now: float, grace: float | None = None) -> PodFacts:
    """The pod ends here, whatever its containers would do. One that ended already stays as it is."""
    if facts.state not in _FAILING:
        return facts
    return _finishing(replace(facts, failure=failure), now, grace)


def _finishing(facts: PodFacts, now: float, grace: float | None = None) -> PodFacts:
    state = pod_after(facts.state, PodEvent.END)
    return replace(facts, state=state, stopping_since=now, grace=grace, restarting="", retries={})


# --- what follows by itself


def settled(facts: PodFacts, busy: Collection[str], now: float, settings: BackoffSettings) -> PodFacts:
    """The facts come to rest: one thing that follows by itself may let another follow. ``busy``: keys of the steps
    under way."""
    while True:
        after = advanced(facts, busy, now, settings)
        if after == facts:
            return facts
        facts = after


def advanced(facts: PodFacts, busy: Collection[str], now: float, settings: BackoffSettings) -> PodFacts:
    """What follows next: backoffs that are over, stops that begin, and the pod's state from those of its parts."""
    if facts.state is PodState.RUNNING and _is_over(facts):
        return _finishing(facts, now)
    if facts.state in _FAILING and facts.deadline is not None and now >= facts.deadline:
        return failed(facts, DEADLINE, now)
    if facts.state in _LIVING:
        facts = replace(facts, containers=tuple(_retried(c, now, settings) for c in facts.containers))
    if facts.state in _FAILING:
        facts = replace(facts, containers=tuple(_held(facts, c, busy) for c in facts.containers))
    facts = replace(facts, containers=tuple(_progressed(facts, c, now) for c in facts.containers))
    match facts.state:
        case PodState.RESTARTING if _is_cleared(facts, busy, now):
            return _cleared(facts, now, settings)
        case PodState.FINISHING if not _any_live(facts) and not _is_starting(facts, busy):
            return replace(facts, state=pod_after(facts.state, PodEvent.CONTAINERS_GONE))
        case PodState.STOPPING if not busy and (
            not _any_live(facts) or now >= stopping.last_kill(facts) + KILL_PATIENCE
        ):
            return replace(facts, state=pod_after(facts.state, PodEvent.CONTAINERS_GONE), retries={})
        case PodState.REMOVING if _is_unmade(facts):
            return replace(facts, state=pod_after(facts.state, PodEvent.UNMADE))
    return facts


def _retried(container: ContainerFacts, now: float, settings: BackoffSettings) -> ContainerFacts:
    if container.state not in _BACKOFFS or container.until > now or container.hold is not None:
        return container
    crashes = container.crashes
    if container.state is ContainerState.CRASH_BACKOFF and not _is_no_crash(container):
        finished_at = container.run.exit.finished_at if container.run and container.run.exit else now
        crashes = crashes.restarted(finished_at, now, settings)
    return replace(container, state=container_after(container.state, ContainerEvent.RETRY), crashes=crashes)


def _is_no_crash(container: ContainerFacts) -> bool:
    """Somebody had it stopped; or a probe had the first run killed: nothing has crashed yet."""
    cause = container.stop.cause if container.stop is not None else None
    return cause is StopCause.USER or (cause is StopCause.PROBE and container.previous is None)


def _held(facts: PodFacts, container: ContainerFacts, busy: Collection[str]) -> ContainerFacts:
    """What is to stay stopped, and does not run, waits for nothing else any more."""
    under_way = {EnsureImage(container=container.name).key, StartContainer(container=container.name).key} & set(busy)
    if container.state not in _RESTING or under_way or not _is_to_stop(facts, container):
        return container
    return replace(container, state=container_after(container.state, ContainerEvent.HELD))


def _is_to_stop(facts: PodFacts, container: ContainerFacts) -> bool:
    """Whether it is written down that it is to stay stopped, or that was tried: a supervisor that finds it stopped
    would run it again."""
    if container.hold is None:
        return False
    return facts.sandbox is None or container.name in facts.recorded.held or Record().key in facts.retries


def _progressed(facts: PodFacts, container: ContainerFacts, now: float) -> ContainerFacts:
    if container.state is ContainerState.PRE_STOP and now >= stopping.hook_deadline(facts, container):
        return replace(container, state=container_after(container.state, ContainerEvent.PRE_STOPPED))
    stop = _stop_of(facts, container, now)
    if stop is not None:
        return runs.begin_stop(facts, container, stop)
    if container.role is Role.SIDECAR and container.state is ContainerState.RUNNING and is_up(facts, container):
        return replace(container, initialized=True)
    return container


def _stop_of(facts: PodFacts, container: ContainerFacts, now: float) -> Stop | None:
    """How a container that runs is stopped because of what happens to its pod, or because somebody wants it."""
    message = f"Stopping container {container.name}"
    if facts.state is PodState.RESTARTING:
        # Without hooks and without grace, as KEP-5532 has it.
        return Stop(cause=StopCause.RESTART, until=now, message=message)
    if stopping.ends(facts):
        return Stop(cause=StopCause.POD, until=facts.kill_at, message=message, at_once=facts.grace_seconds <= 0)
    if container.hold is not None and _is_to_stop(facts, container):
        return runs.stop_by_hand(facts, container.name, now, container.hold.grace)
    return None


def _is_over(facts: PodFacts) -> bool:
    """Whether an init container failed for good, or every app container ended."""
    apps = [c.state for c in facts.containers if c.role is Role.APP]
    return _init_failed(facts) or all(state is ContainerState.FINISHED for state in apps)


def _init_failed(facts: PodFacts) -> bool:
    return any(
        c.role is Role.INIT and c.state is ContainerState.FINISHED and not c.initialized for c in facts.containers
    )


def _any_live(facts: PodFacts) -> bool:
    return any(c.live is not None for c in facts.containers)


def _is_starting(facts: PodFacts, busy: Collection[str]) -> bool:
    return any(key.split()[0] == "start" for key in busy) or any(
        c.state is ContainerState.STARTING for c in facts.containers
    )


def _is_unmade(facts: PodFacts) -> bool:
    needed = {RemoveSandbox().key, RemoveVolumes().key}
    if facts.name is not None:
        needed.add(DetachNetwork().key)
    return needed <= facts.unmade


# --- all over again


def _is_cleared(facts: PodFacts, busy: Collection[str], now: float) -> bool:
    if _any_live(facts) or _is_starting(facts, busy) or any(key.split()[0] == "remove" for key in busy):
        return False
    source = facts.container(facts.restarting)
    kept = (run for c in facts.containers for run in (c.run, c.previous))
    records = any(run is not None and run.hash and not run.removed for run in kept)
    traces = any(c.expired or c.refused for c in facts.containers)
    return not records and not traces and (source is None or source.until <= now)


def _cleared(facts: PodFacts, now: float, settings: BackoffSettings) -> PodFacts:
    """Every container begins anew, init containers first. Only the one that asked for it counts it as a crash."""

    def begun(container: ContainerFacts) -> ContainerFacts:
        crashes, run = container.crashes, container.run
        if container.name == facts.restarting and run is not None and run.exit is not None:
            crashes = crashes.restarted(run.exit.finished_at, now, settings)
        return replace(runs.again(container), crashes=crashes)

    return replace(
        facts,
        state=pod_after(facts.state, PodEvent.CLEARED),
        restarting="",
        containers=tuple(begun(c) for c in facts.containers),
    )


# --- steps in general


def step_failed(
    facts: PodFacts, key: str, now: float, schedule: Schedule, message: str = "", reason: str = ""
) -> PodFacts:
    """The step did not succeed and is tried again later."""
    retry = facts.retries.get(key, Retry()).failed(now, schedule, message, reason)
    return replace(facts, retries={**facts.retries, key: retry})


def step_done(facts: PodFacts, key: str) -> PodFacts:
    """The step succeeded; its failures are forgotten."""
    return _without_retries(facts, (key,))


def _without_retries(facts: PodFacts, keys: Collection[str]) -> PodFacts:
    return replace(facts, retries={k: retry for k, retry in facts.retries.items() if k not in keys})


def unmade(facts: PodFacts, key: str) -> PodFacts:
    """A step of the removal is done."""
    return replace(facts, unmade=facts.unmade | {key})


# --- what pods refer to


def told_objects(facts: PodFacts, objects: Objects, now: float) -> PodFacts:
    """This is what pods can refer to now. What waited for any of it is tried at once; what shows it is stale."""
    before, pod = facts.objects, facts.pod
    facts = replace(facts, objects=objects)
    if pod is None:
        return facts
    if before is None or volume_view(pod, before) != volume_view(pod, objects):
        facts = _without_retries(facts, (PrepareVolumes().key, RefreshVolumes().key))
        facts = replace(facts, stale=facts.stale + (before is not None))
    if before is None or environment_view(pod, before) != environment_view(pod, objects):
        facts = replace(facts, containers=tuple(_config_due(c, now) for c in facts.containers))
    if pull_view(pod, before or Objects()) != pull_view(pod, objects):
        facts = runs.pulls_due(facts, now)
    return facts


def _config_due(container: ContainerFacts, now: float) -> ContainerFacts:
    problem = container.problem
    waits = container.state is ContainerState.START_BACKOFF and problem is not None
    if not waits or problem is None or problem.reason != "CreateContainerConfigError":
        return container
    return replace(container, until=min(container.until, now))


def refreshed(facts: PodFacts, pod: Pod) -> PodFacts:
    """The same pod with other labels or annotations."""
    return replace(facts, pod=pod, stale=facts.stale + shows_itself(pod))


def volumes_refreshed(facts: PodFacts, stale: int) -> PodFacts:
    """The pod's volumes show everything that had changed when it was counted ``stale``."""
    return replace(facts, fresh=max(facts.fresh, stale))


# --- the pod's parts


def attached(facts: PodFacts, attachment: Attachment) -> PodFacts:
    """The pod has its address."""
    return replace(facts, attachment=attachment)


def image_there(facts: PodFacts, volume: str, image: Image) -> PodFacts:
    """The image of an image volume is there."""
    return replace(facts, images={**facts.images, volume: image})


def prepared(facts: PodFacts, volumes: Mapping[str, PreparedVolume]) -> PodFacts:
    """The pod's volumes are there."""
    return replace(facts, volumes=volumes)


def sandbox_started(facts: PodFacts, sandbox: SandboxInfo) -> PodFacts:
    """The sandbox stands; a pod that is being stopped meanwhile is not brought back by it."""
    if facts.state is not PodState.STARTING:
        return facts
    return replace(facts, sandbox=sandbox, state=pod_after(facts.state, PodEvent.SANDBOX_STARTED), recorded=Marks())


def sandbox_died(facts: PodFacts, *, under_way: bool) -> PodFacts:
    """A sandbox died that is not known to have been started; it may be the one whose start is ``under_way``."""
    return replace(facts, sandbox_died=under_way)


def sandbox_told(facts: PodFacts) -> PodFacts:
    """Its start was told, however it went."""
    return replace(facts, sandbox_died=False)


def sandbox_lost(facts: PodFacts, message: str, now: float, settings: BackoffSettings) -> PodFacts:
    """The sandbox died, and every container with it. Runs whose end was not told end here, with a code nobody knows.

    A pod that is never restarted, and of which anything ran, ends here too (kuberuntime_manager.go computePodActions).
    """
    ends = (PodState.RUNNING, PodState.RESTARTING, PodState.FINISHING, PodState.FINISHED, PodState.STOPPING)
    if facts.state not in ends:
        return facts
    facts = replace(facts, sandbox=None)
    for container in facts.containers:
        if container.live is not None:
            facts = runs.lost(facts, container.live, message, now, settings)
    if facts.state is PodState.RUNNING and _is_over(facts):
        return facts
    if facts.state not in (PodState.RUNNING, PodState.RESTARTING):
        return facts
    never = facts.pod is not None and facts.pod.spec.restart_policy is RestartPolicy.NEVER
    if facts.state is PodState.RUNNING and never and _any_ran(facts):
        return failed(facts, Failure(reason="SandboxChanged", message=f"Pod sandbox died: {message}"), now)
    # The address may have gone with the sandbox: it is asked for again, and kept if it is still there.
    return replace(facts, state=pod_after(facts.state, PodEvent.SANDBOX_LOST), attachment=None)


def _any_ran(facts: PodFacts) -> bool:
    return any(c.run is not None or c.previous is not None for c in facts.containers)


def sandbox_removed(facts: PodFacts) -> PodFacts:
    """Nothing is left of the dead sandbox, nor of the records of the runs in it; a new one can be made, in which the
    init containers are run again."""

    def begun(container: ContainerFacts) -> ContainerFacts:
        kept = replace(
            container, expired=(), refused=None, run=_gone(container.run), previous=_gone(container.previous)
        )
        anew = container.role is not Role.APP and container.state is ContainerState.FINISHED
        return runs.again(kept) if anew or facts.restarting else replace(kept, initialized=False)

    return replace(
        facts,
        state=pod_after(facts.state, PodEvent.SANDBOX_REMOVED),
        restarting="",
        recorded=Marks(),
        containers=tuple(begun(c) for c in facts.containers),
    )


def _gone(run: Run | None) -> Run | None:
    return None if run is None else replace(run, removed=True)


# --- what the next supervisor has to know


def marks(facts: PodFacts) -> Marks:
    """What is to be recorded. Of runs, only those that have a hook or a startup probe: of others it is known anyway."""
    hooked, up = set[str](), set[str]()
    for container in facts.containers:
        spec, run = facts.spec(container), container.live
        if spec is None or run is None or container.state is ContainerState.POST_START:
            continue
        if container.stop is not None and container.stop.cause is StopCause.HOOK:
            continue
        if spec.lifecycle.post_start is not None:
            hooked.add(run.hash)
        if spec.startup_probe is not None and container.up:
            up.add(run.hash)
    held = frozenset(c.name for c in facts.containers if c.hold is not None or c.released)
    return Marks(failure=facts.failure, hooked=frozenset(hooked), up=frozenset(up), held=held, withheld=facts.withheld)


def withheld(facts: PodFacts, texts: Iterable[str]) -> PodFacts:
    """The host does not give this; it will not have changed at the next start of a container."""
    return replace(facts, withheld=tuple(dict.fromkeys((*facts.withheld, *texts))))


def recorded(facts: PodFacts, written: Marks) -> PodFacts:
    """pod.json has these marks."""
    return replace(facts, recorded=written)
