"""What to do next for a pod: steps chosen from the facts alone. Pure.

Level-triggered: nothing here remembers what was chosen before; a step is chosen as long as the facts ask for it, it is
not under way, and it is not waiting for another try.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from nsrun.model.objects import Objects
from nsrun.model.probe import HttpGet
from nsrun.model.running import ContainerId
from nsrun.model.volume import ImageVolume
from nsrun.supervisor import fold, stopping
from nsrun.supervisor.facts import ContainerFacts, PodFacts
from nsrun.supervisor.lifecycle import ContainerState, PodState
from nsrun.supervisor.order import may_start
from nsrun.supervisor.references import environment_view, volume_view
from nsrun.supervisor.steps import (
    KILL_PATIENCE,
    Ask,
    AttachNetwork,
    ClearVolumes,
    DetachNetwork,
    EnsureImage,
    EnsureVolumeImage,
    Kill,
    PostStart,
    PrepareVolumes,
    PreStop,
    Record,
    RefreshVolumes,
    RemoveContainer,
    RemoveSandbox,
    RemoveVolumes,
    StartContainer,
    StartSandbox,
    Step,
)

__all__ = ["cut_off", "next_alarm", "next_steps"]

_BACKOFFS = (ContainerState.PULL_BACKOFF, ContainerState.START_BACKOFF, ContainerState.CRASH_BACKOFF)
_ENDING = (PodState.RESTARTING, PodState.FINISHING, PodState.STOPPING)
_MAKING = frozenset(step.key for step in (AttachNetwork(), PrepareVolumes(), RefreshVolumes(), StartSandbox()))
_WITH_DEADLINE = (PodState.STARTING, PodState.RUNNING, PodState.RESTARTING, PodState.RESETTING)


def next_steps(facts: PodFacts, busy: Collection[str], now: float) -> tuple[Step, ...]:
    """Every step that can begin now. ``busy``: keys of the steps under way."""
    return tuple(s for s in _wanted(facts, busy, now) if s.key not in busy and _due(facts, s.key) <= now)


def next_alarm(facts: PodFacts, busy: Collection[str], now: float) -> float | None:
    """When to look again if nothing happens (seconds since the epoch); None: never."""
    times = [_due(facts, s.key) for s in _wanted(facts, busy, now) if s.key not in busy]
    if facts.state in (PodState.STARTING, PodState.RUNNING, PodState.RESETTING):
        times += [c.until for c in facts.containers if c.state in _BACKOFFS]
    if facts.state is PodState.RESTARTING:
        times += [c.until for c in facts.containers if c.name == facts.restarting]
    if facts.state in _WITH_DEADLINE and facts.deadline is not None:
        times.append(facts.deadline)
    for container in facts.containers:
        if container.live is not None and container.stop is not None:
            times += [stopping.hook_deadline(facts, container), stopping.kill_at(facts, container) or 0.0]
    if facts.state is PodState.STOPPING and any(c.live for c in facts.containers):
        times.append(stopping.last_kill(facts) + KILL_PATIENCE)
    return min((t for t in times if t > now), default=None)


def cut_off(facts: PodFacts, busy: Collection[str]) -> frozenset[str]:
    """Steps under way that nobody waits for any more: pulls for a pod that ends, or for a container that is to stay
    stopped (they can take minutes, and hold nothing of it), and hooks of containers that ended or are further on."""
    ends = facts.state in (PodState.FINISHING, PodState.FINISHED, PodState.STOPPING, PodState.REMOVING)
    wanted = {ContainerState.POST_START: "post", ContainerState.PRE_STOP: "pre"}
    hooks = {f"{wanted[c.state]} {c.name}" for c in facts.containers if c.live is not None and c.state in wanted}
    held = {EnsureImage(container=c.name).key for c in facts.containers if c.hold is not None}
    pulls = {key for key in busy if key in held or (ends and key.startswith("image "))}
    return frozenset(pulls | {key for key in busy if key.split()[0] in ("post", "pre") and key not in hooks})


def _due(facts: PodFacts, key: str) -> float:
    retry = facts.retries.get(key)
    return retry.until if retry is not None else 0.0


def _wanted(facts: PodFacts, busy: Collection[str], now: float) -> Iterator[Step]:
    match facts.state:
        case PodState.STARTING | PodState.RUNNING:
            yield from _toward_running(facts, busy, now)
        case PodState.RESTARTING:
            yield from _recording(facts)
            yield from _stops(facts, busy, now)
            yield from _forgetting(facts)
        case PodState.FINISHING:
            yield from _recording(facts)
            if _is_told(facts):
                yield from _stops(facts, busy, now)
        case PodState.FINISHED:
            yield from _recording(facts)
            yield from _expired(facts)
            yield from _releasing(facts, busy)
        case PodState.RESETTING:
            # A step that is under way in the sandbox must not have the ground pulled from under it.
            if not any(key.split()[0] in ("start", "remove", "record") for key in busy):
                yield RemoveSandbox()
        case PodState.STOPPING:
            yield from _stops(facts, busy, now)
        case PodState.REMOVING:
            yield from _toward_nothing(facts)
        case PodState.REMOVED:
            pass


# --- toward running


def _toward_running(facts: PodFacts, busy: Collection[str], now: float) -> Iterator[Step]:
    if facts.attachment is None:
        yield AttachNetwork()
    yield from _volumes(facts)
    if facts.state is PodState.STARTING and facts.attachment is not None:
        yield StartSandbox()
    complete = facts.state is PodState.RUNNING and facts.attachment is not None and facts.volumes is not None
    for container in (c for c in facts.containers if c.hold is None):
        if container.state is ContainerState.WAITING and _can_pull(facts):
            yield EnsureImage(container=container.name)
        elif complete and _can_start(facts, container):
            yield StartContainer(container=container.name)
    if facts.state is PodState.RUNNING:
        if facts.attachment is not None:
            yield from _hooks(facts)
        yield from _recording(facts)
        yield from _stops(facts, busy, now)
        yield from _expired(facts)


def _volumes(facts: PodFacts) -> Iterator[Step]:
    if facts.pod is None:
        return
    of_images = [v.name for v in facts.pod.spec.volumes if isinstance(v.source, ImageVolume)]
    missing = [name for name in of_images if name not in facts.images]
    for name in missing if _can_pull(facts) else ():
        yield EnsureVolumeImage(volume=name)
    if facts.volumes is None:
        if not missing and (facts.objects is not None or not volume_view(facts.pod, Objects())):
            yield PrepareVolumes()
    elif facts.fresh < facts.stale and facts.objects is not None:
        yield RefreshVolumes()


def _can_pull(facts: PodFacts) -> bool:
    """Whether it is known what the pod's pull secrets say."""
    return facts.objects is not None or facts.pod is None or not facts.pod.spec.image_pull_secrets


def _can_start(facts: PodFacts, container: ContainerFacts) -> bool:
    if facts.objects is None and facts.pod is not None and environment_view(facts.pod, Objects()):
        return False
    # STARTING and not under way: a start that was cut off is made again, under the same number.
    if container.state is ContainerState.STARTING:
        return True
    return container.state is ContainerState.READY and container.refused is None and may_start(facts, container)


def _hooks(facts: PodFacts) -> Iterator[Step]:
    for container in facts.containers:
        if container.state is ContainerState.POST_START and container.live is not None:
            yield PostStart(id=container.live.id)


def _recording(facts: PodFacts) -> Iterator[Step]:
    if facts.sandbox is not None and not fold.marks(facts) <= facts.recorded:
        yield Record()


def _is_told(facts: PodFacts) -> bool:
    """Whether it is written down why the pod ends, or that was tried: a supervisor that finds its containers gone would
    run them again."""
    return facts.sandbox is None or facts.failure == facts.recorded.failure or Record().key in facts.retries


def _expired(facts: PodFacts) -> Iterator[Step]:
    for container in facts.containers:
        for id in (*container.expired, *(() if container.refused is None else (container.refused,))):
            yield RemoveContainer(id=id)


def _releasing(facts: PodFacts, busy: Collection[str]) -> Iterator[Step]:
    """A pod of which nothing will run again gives back what others may need: its address and its ports on the host, the
    disk and the memory that its volumes take. As the kubelet: SyncTerminatedPod (kubelet.go)."""
    if _MAKING.isdisjoint(busy):
        yield from (step for step in (DetachNetwork(), ClearVolumes()) if step.key not in facts.unmade)


# --- stops


def _stops(facts: PodFacts, busy: Collection[str], now: float) -> Iterator[Step]:
    for container in facts.containers:
        run = container.live
        if run is not None and container.stop is not None:
            yield from _stop(facts, container, run.id, now)
        elif (facts.state in _ENDING or container.hold is not None) and _was_cut_off(container, busy):
            yield Kill(id=ContainerId(uid=facts.uid, name=container.name, attempt=container.attempt))


def _was_cut_off(container: ContainerFacts, busy: Collection[str]) -> bool:
    """A start that nobody makes again now, and of which nobody knows how far it came."""
    return container.state is ContainerState.STARTING and f"start {container.name}" not in busy


def _stop(facts: PodFacts, container: ContainerFacts, id: ContainerId, now: float) -> Iterator[Step]:
    kill_at = stopping.kill_at(facts, container)
    match container.state:
        case ContainerState.PRE_STOP:
            spec = facts.spec(container)
            # An adopted pod that is stopped at once was not asked for its address yet.
            if facts.attachment is None and spec is not None and isinstance(spec.lifecycle.pre_stop, HttpGet):
                yield AttachNetwork()
            else:
                yield PreStop(id=id)
        case ContainerState.STOPPING | ContainerState.ASKED if kill_at is not None and now >= kill_at:
            yield Kill(id=id)
        case ContainerState.STOPPING if kill_at is None and stopping.has_turn(facts, container, now):
            yield Ask(id=id)
        case _:
            pass


# --- toward nothing


def _forgetting(facts: PodFacts) -> Iterator[Step]:
    """Every record, that of the end which asked for it last: as long as it is there, the next supervisor goes on."""
    if any(c.live is not None for c in facts.containers):
        return
    source = facts.container(facts.restarting)
    last = source.run.id if source is not None and source.run is not None else None
    records = [*_ended(facts), *(c.refused for c in facts.containers if c.refused is not None)]
    others = [id for id in records if id != last]
    for id in others or records:
        yield RemoveContainer(id=id)


def _toward_nothing(facts: PodFacts) -> Iterator[Step]:
    """In reverse of the making: runs, then the sandbox, then what the sandbox held on to."""
    undone = [step for id in _ended(facts) if (step := RemoveContainer(id=id)).key not in facts.unmade]
    if undone:
        yield from undone
    elif RemoveSandbox().key not in facts.unmade:
        yield RemoveSandbox()
    else:
        if facts.name is not None and DetachNetwork().key not in facts.unmade:
            yield DetachNetwork()
        if RemoveVolumes().key not in facts.unmade:
            yield RemoveVolumes()


def _ended(facts: PodFacts) -> Iterator[ContainerId]:
    for container in facts.containers:
        yield from container.expired
        for run in (container.previous, container.run):
            if run is not None and run.hash and not run.removed and run.id not in container.expired:
                yield run.id
