"""What the supervisor knows about one pod: frozen values. ``fold`` makes new ones; ``steps`` and ``status`` read them.

Nothing here is stored: all of it can be found again on the machine (``recovery``), but for the memory of failures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nsrun.model.image import Image
from nsrun.model.pod import Pod
from nsrun.model.running import Attachment, ContainerId, Exit, PreparedVolume, SandboxInfo
from nsrun.model.status import Waiting
from nsrun.supervisor.backoff import Crashes, Retry
from nsrun.supervisor.lifecycle import ContainerState, PodState
from nsrun.support.layout import PodName

__all__ = ["ORPHAN_GRACE", "ContainerFacts", "PodFacts", "Run"]

ORPHAN_GRACE = 30.0
"""Seconds, for a pod whose manifest nobody can read any more: the API's default."""


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

    ``image``: what the next run is made from, while READY or STARTING.
    ``run``: the newest run. ``previous``: the one before it that ended.
    ``attempt``: the number of the newest run, or of the start that is under way; -1 before the first.
    ``until``: when the backoff ends, in the three backoff states (seconds since the epoch).
    ``problem``: why the last pull or creation did not succeed; None after it did.
    ``early_exits``: ends that were told before the start of their run was.
    ``expired``: ended runs whose records are to be deleted.
    ``asked``, ``killed``: whether, while the pod stops, it was signalled and killed.
    """

    name: str
    state: ContainerState = ContainerState.WAITING
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
    asked: bool = False
    killed: bool = False

    @property
    def live(self) -> Run | None:
        """The run that has not ended."""
        return self.run if self.run is not None and self.run.exit is None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFacts:
    """One pod, or the remains of one.

    ``pod`` None: an orphan, of which only the UID and perhaps the name are known; it is only ever removed.
    ``accepted_at``: when this machine took the pod on. ``stopping_since``: when its end began; ``grace``: seconds until
    its containers are killed then, None for what the manifest says.
    ``sandbox_died``: the sandbox that is being started died before its start was told.
    ``retries``: failed steps by key. ``unmade``: keys of the steps of removal that are done.
    """

    uid: str
    name: PodName | None
    pod: Pod | None
    accepted_at: float
    state: PodState = PodState.STARTING
    containers: tuple[ContainerFacts, ...] = ()
    attachment: Attachment | None = None
    volumes: Mapping[str, PreparedVolume] | None = None
    sandbox: SandboxInfo | None = None
    sandbox_died: bool = False
    stopping_since: float = 0.0
    grace: float | None = None
    retries: Mapping[str, Retry] = field(default_factory=dict)
    unmade: frozenset[str] = frozenset()

    def container(self, name: str) -> ContainerFacts | None:
        """The container of that name."""
        return next((c for c in self.containers if c.name == name), None)

    @property
    def kill_at(self) -> float:
        """When containers that are still running are killed, once the pod is stopping."""
        return self.stopping_since + self.grace_seconds

    @property
    def grace_seconds(self) -> float:
        """How long the pod may take to stop."""
        if self.grace is not None:
            return self.grace
        return ORPHAN_GRACE if self.pod is None else float(self.pod.spec.termination_grace_period_seconds)

    @property
    def label(self) -> str:
        """How log lines call it."""
        return f'"{self.name}"' if self.name is not None else f'with UID "{self.uid}"'
