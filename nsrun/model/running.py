"""What runs: the values that the supervisor and the mechanisms hand to one another.

They sit below both, so that no mechanism needs to know the supervisor. ``supervisor/ports.py`` names them again beside
the Protocols that speak of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from nsrun.model.container import Container
from nsrun.model.image import Image
from nsrun.model.pod import Pod

__all__ = [
    "AdoptedContainer",
    "AdoptedPod",
    "Attachment",
    "CheckResult",
    "Command",
    "CommandResult",
    "ContainerExit",
    "ContainerId",
    "ContainerRequest",
    "Exit",
    "ExitReason",
    "PreparedVolume",
    "RunningContainer",
    "SandboxExit",
    "SandboxInfo",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedVolume:
    """A volume that is ready to be bound into containers. ``path``: on the host, chosen by nsrun or by the manifest.
    ``layers``: instead of a path, the unpacked layers of an image, topmost first, to be shown together read-only.
    ``read_only``: whatever a mount says. ``warnings``: what was asked for and will not be enforced."""

    name: str
    path: str = ""
    layers: tuple[str, ...] = ()
    read_only: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A pod's place in the network. ``netns``: path of the pinned namespace, "" for a pod in the host's network.
    ``address`` without prefix length. ``hostname``: what uname(2) is to say in the pod, "" for the pod's own short
    name; of a pod in the host's network it is the host's, and nothing is to be set.
    ``warnings``: what was asked for and cannot be had, one sentence each."""

    netns: str
    address: str
    gateway: str
    host_ip: str
    hostname: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ContainerId:
    """One run of one container: attempts count from 0."""

    uid: str
    name: str
    attempt: int


class ExitReason(StrEnum):
    """Why a container is not running any more."""

    COMPLETED = "Completed"
    ERROR = "Error"
    OOM_KILLED = "OOMKilled"
    START_ERROR = "StartError"
    UNKNOWN = "ContainerStatusUnknown"
    RESTARTING = "RestartingAllContainers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """The end of a run. ``code`` is 128 + signal for a killed process. Times in seconds since the epoch."""

    code: int
    reason: ExitReason
    started_at: float
    finished_at: float
    signal: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningContainer:
    """A run that was started. ``hash``: the hex ID shown to users. ``pid`` in the host's PID namespace.

    ``warnings``: what the host withheld, one sentence each.
    """

    id: ContainerId
    hash: str
    pid: int
    started_at: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxInfo:
    """A pod's live sandbox: the shim and the pause process. Times in seconds since the epoch.

    ``warnings``: what the host withheld from the pod as a whole, one sentence each; empty for an adopted sandbox.
    """

    uid: str
    shim_pid: int
    pause_pid: int
    started_at: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerExit:
    """Told by ``Runtime.exits``: a container ended."""

    id: ContainerId
    exit: Exit


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxExit:
    """Told by ``Runtime.exits``: the shim or the pause process is gone, and with them every container of the pod."""

    uid: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptedContainer:
    """A run found on the machine at start: either still running, or ended with ``exit``. ``image_ref`` and
    ``image_digest`` as they were at its start."""

    running: RunningContainer
    image_ref: str
    image_digest: str
    exit: Exit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptedPod:
    """A pod found on the machine at start. ``sandbox`` None: the sandbox is gone, only its remains are there.

    ``document`` is the pod.json that was written when the pod was accepted, None when it cannot be read.
    """

    uid: str
    document: Mapping[str, object] | None
    sandbox: SandboxInfo | None
    containers: tuple[AdoptedContainer, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerRequest:
    """All that is needed to start a container. ``container`` is resolved: its variables have values, its command and
    arguments and its ``sub_path``s are expanded, and none of it is expanded again."""

    id: ContainerId
    pod: Pod
    container: Container
    image: Image
    attachment: Attachment
    volumes: Mapping[str, PreparedVolume] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command to run in a container that runs. ``timeout``: seconds until it is killed with all it started, None for
    never. ``output_limit``: bytes of output that are kept, standard output and error together; the rest is dropped."""

    arguments: tuple[str, ...]
    timeout: float | None = None
    output_limit: int = 10240


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandResult:
    """How it ended. ``code`` is 128 + signal for a killed one; ``timed_out``: it was killed for its time."""

    code: int
    output: bytes = b""
    timed_out: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What came of one probe over the network. ``warning``: it succeeded, and not as was meant (a redirect to another
    host). ``message``: the kubelet's words."""

    success: bool
    message: str = ""
    warning: bool = False
