"""What to do next for a pod: steps as values, chosen from the facts alone. Performing them is the worker's business.

Level-triggered: nothing here remembers what was chosen before; a step is chosen as long as the facts ask for it, it is
not under way, and it is not waiting for another try.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from nsrun.model.running import ContainerId
from nsrun.supervisor.facts import PodFacts
from nsrun.supervisor.lifecycle import ContainerState, PodState

__all__ = [
    "KILL_PATIENCE",
    "Ask",
    "AttachNetwork",
    "DetachNetwork",
    "EnsureImage",
    "Kill",
    "PrepareVolumes",
    "RemoveContainer",
    "RemoveSandbox",
    "RemoveVolumes",
    "StartContainer",
    "StartSandbox",
    "Step",
    "next_alarm",
    "next_steps",
]

KILL_PATIENCE = 10.0
"""Seconds between SIGKILL and taking the whole sandbox down, for a container that does not end even so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachNetwork:
    """Give the pod its place in the network."""

    key: str = "attach"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareVolumes:
    """Make the pod's volumes."""

    key: str = "prepare"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartSandbox:
    """Start the pod's shim and pause process."""

    key: str = "start"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureImage:
    """Have a container's image on the machine."""

    container: str

    @property
    def key(self) -> str:
        return f"image {self.container}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartContainer:
    """Start a run of a container."""

    container: str

    @property
    def key(self) -> str:
        return f"start {self.container}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Send a container its stop signal."""

    id: ContainerId

    @property
    def key(self) -> str:
        return f"ask {self.id.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """Kill everything in a container."""

    id: ContainerId

    @property
    def key(self) -> str:
        return f"kill {self.id.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveContainer:
    """Delete the records and the rootfs of a run that ended."""

    id: ContainerId

    @property
    def key(self) -> str:
        return f"remove {self.id.name} {self.id.attempt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveSandbox:
    """Remove what is left of the sandbox."""

    key: str = "remove"


@dataclass(frozen=True, slots=True, kw_only=True)
class DetachNetwork:
    """Take the pod out of the network."""

    key: str = "detach"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveVolumes:
    """Remove the pod's volumes and directory."""

    key: str = "delete"


Step = (
    AttachNetwork
    | PrepareVolumes
    | StartSandbox
    | EnsureImage
    | StartContainer
    | Ask
    | Kill
    | RemoveContainer
    | RemoveSandbox
    | DetachNetwork
    | RemoveVolumes
)


def next_steps(facts: PodFacts, busy: Collection[str], now: float) -> tuple[Step, ...]:
    """Every step that can begin now. ``busy``: keys of the steps under way."""
    return tuple(s for s in _wanted(facts, busy, now) if s.key not in busy and _due(facts, s.key) <= now)


def next_alarm(facts: PodFacts, busy: Collection[str], now: float) -> float | None:
    """When to look again if nothing happens (seconds since the epoch); None: never."""
    times = [_due(facts, s.key) for s in _wanted(facts, busy, now) if s.key not in busy]
    if facts.state in (PodState.STARTING, PodState.RUNNING, PodState.RESETTING):
        times += [c.until for c in facts.containers if c.state in _BACKOFFS]
    if facts.state is PodState.STOPPING and any(c.live for c in facts.containers):
        times += [facts.kill_at, facts.kill_at + KILL_PATIENCE]
    return min((t for t in times if t > now), default=None)


_BACKOFFS = (ContainerState.PULL_BACKOFF, ContainerState.START_BACKOFF, ContainerState.CRASH_BACKOFF)


def _due(facts: PodFacts, key: str) -> float:
    retry = facts.retries.get(key)
    return retry.until if retry is not None else 0.0


def _wanted(facts: PodFacts, busy: Collection[str], now: float) -> Iterator[Step]:
    match facts.state:
        case PodState.STARTING | PodState.RUNNING:
            yield from _toward_running(facts)
        case PodState.FINISHED:
            yield from _expired(facts)
        case PodState.RESETTING:
            # A step that is under way in the sandbox must not have the ground pulled from under it.
            if not any(key.split()[0] in ("start", "remove") for key in busy):
                yield RemoveSandbox()
        case PodState.STOPPING:
            yield from _toward_stop(facts, now)
        case PodState.REMOVING:
            yield from _toward_nothing(facts)
        case PodState.REMOVED:
            pass


def _toward_running(facts: PodFacts) -> Iterator[Step]:
    if facts.attachment is None:
        yield AttachNetwork()
    if facts.volumes is None:
        yield PrepareVolumes()
    if facts.state is PodState.STARTING and facts.attachment is not None:
        yield StartSandbox()
    complete = facts.state is PodState.RUNNING and facts.attachment is not None and facts.volumes is not None
    for container in facts.containers:
        if container.state is ContainerState.WAITING:
            yield EnsureImage(container=container.name)
        # STARTING and not under way: a start that was cut off is made again, under the same number.
        elif complete and container.state in (ContainerState.READY, ContainerState.STARTING):
            yield StartContainer(container=container.name)
    if facts.state is PodState.RUNNING:
        yield from _expired(facts)


def _expired(facts: PodFacts) -> Iterator[Step]:
    for container in facts.containers:
        for id in container.expired:
            yield RemoveContainer(id=id)


def _toward_stop(facts: PodFacts, now: float) -> Iterator[Step]:
    for container in facts.containers:
        run = container.live
        if run is None:
            continue
        if now >= facts.kill_at:
            if not container.killed:
                yield Kill(id=run.id)
        elif not container.asked:
            yield Ask(id=run.id)


def _toward_nothing(facts: PodFacts) -> Iterator[Step]:
    """In reverse of the making: runs, then the sandbox, then what the sandbox held on to."""
    runs = [RemoveContainer(id=id) for id in _ended(facts)]
    undone = [step for step in runs if step.key not in facts.unmade]
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
