"""What the supervisor knows about one pod: frozen values. ``fold`` and ``runs`` make new ones; ``steps`` and ``status``
read them.

Nothing here is stored but a few marks (``podjson``): all of it can be found again on the machine (``recovery``), except
for the memory of failures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from nsrun.model.container import Container, RestartPolicy
from nsrun.model.image import Image
from nsrun.model.objects import Objects
from nsrun.model.pod import Pod
from nsrun.model.running import Attachment, ContainerId, Exit, PreparedVolume, SandboxInfo
from nsrun.model.status import Waiting
from nsrun.supervisor.backoff import Crashes, Retry
from nsrun.supervisor.lifecycle import ContainerState, PodState
from nsrun.support.layout import PodName

__all__ = [
    "LIVE_STATES",
    "ORPHAN_GRACE",
    "ContainerFacts",
    "Failure",
    "Hold",
    "Marks",
    "PodFacts",
    "Role",
    "Run",
    "Stop",
    "StopCause",
    "new_containers",
    "roles",
]

ORPHAN_GRACE = 30.0
"""Seconds, for a pod whose manifest nobody can read any more: the API's default."""

LIVE_STATES = frozenset(
    {
        ContainerState.POST_START,
        ContainerState.RUNNING,
        ContainerState.PRE_STOP,
        ContainerState.STOPPING,
        ContainerState.ASKED,
        ContainerState.KILLED,
    }
)
"""Those of a container that has a process."""


class Role(StrEnum):
    """What a container is for: to run to its end before the next begins, to run beside the others from then on, or the
    pod's purpose."""

    INIT = "init"
    SIDECAR = "sidecar"
    APP = "app"


class StopCause(StrEnum):
    """Why a container is stopped."""

    POD = "pod"
    """Its pod ends."""
    PROBE = "probe"
    """Its startup or liveness probe failed."""
    HOOK = "hook"
    """Its postStart hook failed."""
    RESTART = "restart"
    """Another one's end asks for all of them to be run again."""
    USER = "user"
    """Somebody wants it stopped, or run again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A container is being stopped. ``until``: when its hook and its waiting for others are over at the latest (seconds
    since the epoch). ``message``: what its event says. ``at_once``: it is killed without being asked.
    ``asked_at``: when it got its signal."""

    cause: StopCause
    until: float
    message: str
    at_once: bool = False
    asked_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A container is to be stopped, and to stay so until somebody starts it. ``grace``: seconds that its stop may take,
    None for what the manifest says."""

    grace: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a pod ended that its containers did not end: the status' ``reason`` and ``message``."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What the machine would not tell the next supervisor, so pod.json does: why the pod failed; of which runs (by
    their hash) the postStart hook is done, and the startup probe; which containers are to stay stopped; and what the
    host withholds, one sentence each."""

    failure: Failure | None = None
    hooked: frozenset[str] = frozenset()
    up: frozenset[str] = frozenset()
    held: frozenset[str] = frozenset()
    withheld: tuple[str, ...] = ()

    def __le__(self, other: Marks) -> bool:
        """Whether ``other`` holds all of this; what it holds of runs that are gone does no harm."""
        same = (self.failure, self.held, self.withheld) == (other.failure, other.held, other.withheld)
        return same and self.hooked <= other.hooked and self.up <= other.up


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a container. ``hash`` is empty when it never got as far as a process. ``exit`` None: it runs.
    ``removed``: nothing of it is on the machine any more, but its log."""

    id: ContainerId
    hash: str
    image_reference: str
    image_digest: str
    started_at: float
    exit: Exit | None = None
    removed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerFacts:
    """One container.

    ``initialized``: it has done in this sandbox what the containers after it wait for (an init container ended well, a
    sidecar was up once).
    ``image``: what the next run is made from, while READY or STARTING.
    ``run``: the newest run. ``previous``: the one before it that ended.
    ``attempt``: the number of the newest run, or of the start that is under way; -1 before the first.
    ``until``: when the backoff ends, in the three backoff states (seconds since the epoch).
    ``problem``: why the last pull or creation or hook did not succeed; None after it did.
    ``early_exits``: ends that were told before the start of their run was.
    ``expired``: ended runs whose records are to be deleted; ``refused``: a number whose creation left a trace.
    ``up``, ``ready``: what the startup and the readiness probe found of the newest run.
    ``stop``: how the newest run is or was stopped; None unless it is.
    ``hold``: somebody wants it stopped; None unless they do.
    ``released``: it was held, and then started; until it runs pod.json says that it is to stay stopped, for its restart
    policy might not have it run again.
    """

    name: str
    role: Role = Role.APP
    state: ContainerState = ContainerState.WAITING
    initialized: bool = False
    image: Image | None = None
    run: Run | None = None
    previous: Run | None = None
    attempt: int = -1
    until: float = 0.0
    problem: Waiting | None = None
    pulls: Retry = field(default_factory=Retry)
    starts: Retry = field(default_factory=Retry)
    crashes: Crashes = field(default_factory=Crashes)
    early_exits: Mapping[int, Exit] = field(default_factory=dict)
    expired: tuple[ContainerId, ...] = ()
    refused: ContainerId | None = None
    up: bool = False
    ready: bool = False
    stop: Stop | None = None
    hold: Hold | None = None
    released: bool = False

    @property
    def live(self) -> Run | None:
        """The run that has not ended."""
        return self.run if self.run is not None and self.run.exit is None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFacts:
    """One pod, or the remains of one.

    ``pod`` None: an orphan, of which only the UID and perhaps the name are known; it is only ever removed.
    ``accepted_at``: when this machine took the pod on. ``stopping_since``: when its end began; ``grace``: seconds until
    its containers are killed then, None for what the manifest says. ``failure``: why it ended before they did.
    ``objects``: what pods can refer to, None while nobody said. ``images``: of its image volumes, by the volume's name.
    ``stale``: how often something changed that its volumes show, ``fresh``: up to which of these they show it.
    ``sandbox_died``: the sandbox that is being started died before its start was told.
    ``withheld``: what the sandbox and the containers were to have and this host does not give, one sentence each.
    ``restarting``: the container whose end asks for all to be run again. ``recorded``: the marks that pod.json has.
    ``retries``: failed steps by key. ``unmade``: keys of the steps of removal that are done; some of
    them are, as soon as the pod finished.
    """

    uid: str
    name: PodName | None
    pod: Pod | None
    accepted_at: float
    state: PodState = PodState.STARTING
    containers: tuple[ContainerFacts, ...] = ()
    attachment: Attachment | None = None
    objects: Objects | None = None
    images: Mapping[str, Image] = field(default_factory=dict)
    volumes: Mapping[str, PreparedVolume] | None = None
    stale: int = 0
    fresh: int = 0
    sandbox: SandboxInfo | None = None
    sandbox_died: bool = False
    withheld: tuple[str, ...] = ()
    restarting: str = ""
    stopping_since: float = 0.0
    grace: float | None = None
    failure: Failure | None = None
    recorded: Marks = field(default_factory=Marks)
    retries: Mapping[str, Retry] = field(default_factory=dict)
    unmade: frozenset[str] = frozenset()

    def container(self, name: str) -> ContainerFacts | None:
        """The container of that name."""
        return next((c for c in self.containers if c.name == name), None)

    def spec(self, container: ContainerFacts) -> Container | None:
        """What the manifest says of it; None for an orphan's."""
        return self.pod.container(container.name) if self.pod is not None else None

    @property
    def kill_at(self) -> float:
        """When the pod's containers that still run are killed, once it is ending."""
        return self.stopping_since + self.grace_seconds

    @property
    def grace_seconds(self) -> float:
        """How long the pod may take to stop."""
        if self.grace is not None:
            return self.grace
        return ORPHAN_GRACE if self.pod is None else float(self.pod.spec.termination_grace_period_seconds)

    @property
    def deadline(self) -> float | None:
        """When the pod has been active for too long."""
        seconds = self.pod.spec.active_deadline_seconds if self.pod is not None else None
        return self.accepted_at + seconds if seconds is not None else None

    @property
    def label(self) -> str:
        """How log lines call it."""
        return f'"{self.name}"' if self.name is not None else f'with UID "{self.uid}"'


def roles(pod: Pod) -> Mapping[str, Role]:
    """Of each container, in the order of the manifest: init containers first."""
    found = {c.name: Role.INIT for c in pod.spec.init_containers}
    sidecars = (c.name for c in pod.spec.init_containers if c.restart_policy is RestartPolicy.ALWAYS)
    return {**found, **dict.fromkeys(sidecars, Role.SIDECAR), **{c.name: Role.APP for c in pod.spec.containers}}


def new_containers(pod: Pod) -> tuple[ContainerFacts, ...]:
    """None of them ever ran."""
    return tuple(ContainerFacts(name=name, role=role) for name, role in roles(pod).items())
