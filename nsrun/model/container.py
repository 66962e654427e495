"""One container of a pod, as its manifest describes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from nsrun.model.resources import ResourceRequirements
from nsrun.model.volume import VolumeMount

__all__ = ["Container", "ContainerPort", "EnvVar", "Protocol", "PullPolicy", "SecurityContext"]


class PullPolicy(StrEnum):
    """When an image is asked of its registry."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class Protocol(StrEnum):
    """A port's transport protocol."""

    TCP = "TCP"
    UDP = "UDP"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvVar:
    """One variable, its value as written."""

    name: str
    value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerPort:
    """A port the container listens on. ``host_port`` 0: not published. ``host_ip`` "": every address."""

    container_port: int
    name: str = ""
    host_port: int = 0
    host_ip: str = ""
    protocol: Protocol = Protocol.TCP


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityContext:
    """What the manifest allows or withholds. None: not said."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    read_only_root_filesystem: bool = False
    allow_privilege_escalation: bool | None = None
    capabilities_add: tuple[str, ...] = ()
    capabilities_drop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One container. ``command`` and ``args`` None: the image's own (ENTRYPOINT and CMD)."""

    name: str
    image: str
    image_pull_policy: PullPolicy
    command: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None
    working_dir: str = ""
    env: tuple[EnvVar, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    volume_mounts: tuple[VolumeMount, ...] = ()
    resources: ResourceRequirements = field(default_factory=ResourceRequirements)
    security_context: SecurityContext = field(default_factory=SecurityContext)
