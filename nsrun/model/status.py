"""What is true of a pod now: the status half of the API object."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from nsrun.model.resources import QosClass

__all__ = [
    "Condition",
    "ContainerState",
    "ContainerStatus",
    "Event",
    "EventSeries",
    "EventType",
    "Phase",
    "PodStatus",
    "Running",
    "Terminated",
    "Waiting",
]


class Phase(StrEnum):
    """Where a pod is in its life."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Not running yet, or not any more. ``reason``: ContainerCreating, ErrImagePull, CrashLoopBackOff …"""

    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Running since ``started_at`` (seconds since the epoch)."""

    started_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminated:
    """Exited. ``exit_code`` is 128 + signal for a killed process. Times in seconds since the epoch."""

    exit_code: int
    reason: str
    started_at: float
    finished_at: float
    container_id: str
    signal: int = 0
    message: str = ""


ContainerState = Waiting | Running | Terminated


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerStatus:
    """One container's status. ``image_id`` is ``<repository>@<manifest digest>``, ``container_id`` ``nsrun://<id>``."""

    name: str
    image: str
    state: ContainerState
    last_state: Terminated | None = None
    ready: bool = False
    started: bool = False
    restart_count: int = 0
    image_id: str = ""
    container_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One of the pod's conditions. ``status``: True, False or Unknown."""

    type: str
    status: str
    last_transition_time: float
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodStatus:
    """The whole status; ``init_container_statuses`` in the order of the manifest, ``container_statuses`` by name, as
    the kubelet sorts them. ``message`` and ``reason`` are empty when there is nothing to say. ``deletion_time``: when
    what still runs of a pod on its way out is killed (seconds since the epoch), ``deletion_grace`` seconds after its
    end began."""

    phase: Phase
    qos_class: QosClass
    start_time: float | None = None
    host_ip: str = ""
    pod_ip: str = ""
    conditions: tuple[Condition, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    reason: str = ""
    message: str = ""
    deletion_time: float | None = None
    deletion_grace: float | None = None


class EventType(StrEnum):
    """Kubernetes' two kinds of event."""

    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a pod, or, with an empty ``uid``, to the node. ``time``: seconds since the epoch.
    ``init``: the container is one of the init containers."""

    time: float
    type: EventType
    reason: str
    message: str
    namespace: str = ""
    pod: str = ""
    uid: str = ""
    container: str = ""
    init: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSeries:
    """The same that happened ``count`` times. ``event``: the first time; ``last``: the time of the last. ``number``:
    which series it is, counted from nsrun's start."""

    event: Event
    number: int
    last: float
    count: int = 1
