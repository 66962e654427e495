"""One container of a pod, as its manifest describes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from nsrun.model.environment import EnvFrom, EnvVar
from nsrun.model.image import PullPolicy
from nsrun.model.probe import Lifecycle, Probe
from nsrun.model.resources import ResourceRequirements
from nsrun.model.security import SecurityContext
from nsrun.model.volume import VolumeMount

__all__ = [
    "Container",
    "ContainerPort",
    "EnvVar",
    "MessagePolicy",
    "Protocol",
    "PullPolicy",
    "RestartAction",
    "RestartPolicy",
    "RestartRule",
    "SecurityContext",
]


class RestartPolicy(StrEnum):
    """When an exited container is started again."""

    ALWAYS = "Always"
    ON_FAILURE = "OnFailure"
    NEVER = "Never"


class RestartAction(StrEnum):
    """What a rule does when it matches."""

    RESTART = "Restart"
    RESTART_ALL_CONTAINERS = "RestartAllContainers"


class MessagePolicy(StrEnum):
    """Where a termination message comes from."""

    FILE = "File"
    FALLBACK_TO_LOGS_ON_ERROR = "FallbackToLogsOnError"


class Protocol(StrEnum):
    """A port's transport protocol."""

    TCP = "TCP"
    UDP = "UDP"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerPort:
    """A port the container listens on. ``host_port`` 0: not published. ``host_ip`` "": every address."""

    container_port: int
    name: str = ""
    host_port: int = 0
    host_ip: str = ""
    protocol: Protocol = Protocol.TCP


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartRule:
    """Matches an exit code that is (``within``) or is not among ``exit_codes``. The first rule that matches decides."""

    action: RestartAction
    exit_codes: tuple[int, ...]
    within: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One container. ``command`` and ``args`` None: the image's own (ENTRYPOINT and CMD). Expanded, they may hold a
    Secret's data: their repr leaves them out.

    ``restart_policy`` None: the pod's; ALWAYS on an init container makes it a sidecar.
    """

    name: str
    image: str
    image_pull_policy: PullPolicy
    command: tuple[str, ...] | None = field(default=None, repr=False)
    args: tuple[str, ...] | None = field(default=None, repr=False)
    working_dir: str = ""
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[EnvFrom, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    volume_mounts: tuple[VolumeMount, ...] = ()
    resources: ResourceRequirements = field(default_factory=ResourceRequirements)
    security_context: SecurityContext = field(default_factory=SecurityContext)
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    startup_probe: Probe | None = None
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    restart_policy: RestartPolicy | None = None
    restart_policy_rules: tuple[RestartRule, ...] = ()
    termination_message_path: str = "/dev/termination-log"
    termination_message_policy: MessagePolicy = MessagePolicy.FILE
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
