"""What can be done for a pod: steps as values. ``agenda`` chooses them, ``performing`` does them.

A step's ``key`` names it while it is under way and while it waits for another try. Its first word tells its kind:
``start`` and ``remove`` are about the sandbox or what is in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from nsrun.model.running import ContainerId

__all__ = [
    "KILL_PATIENCE",
    "Ask",
    "AttachNetwork",
    "DetachNetwork",
    "EnsureImage",
    "EnsureVolumeImage",
    "Kill",
    "PostStart",
    "PreStop",
    "PrepareVolumes",
    "Record",
    "RefreshVolumes",
    "RemoveContainer",
    "RemoveSandbox",
    "RemoveVolumes",
    "StartContainer",
    "StartSandbox",
    "Step",
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
class RefreshVolumes:
    """Let the pod's volumes show what has changed."""

    key: str = "refresh"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Write down what the machine would not tell the next supervisor."""

    key: str = "record"


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
class EnsureVolumeImage:
    """Have the image of an image volume on the machine."""

    volume: str

    @property
    def key(self) -> str:
        return f"image volume {self.volume}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartContainer:
    """Start a run of a container."""

    container: str

    @property
    def key(self) -> str:
        return f"start {self.container}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PostStart:
    """Run the hook that follows a container's start."""

    id: ContainerId

    @property
    def key(self) -> str:
        return f"post {self.id.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreStop:
    """Run the hook that goes before a container's end."""

    id: ContainerId

    @property
    def key(self) -> str:
        return f"pre {self.id.name}"


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
    | RefreshVolumes
    | Record
    | StartSandbox
    | EnsureImage
    | EnsureVolumeImage
    | StartContainer
    | PostStart
    | PreStop
    | Ask
    | Kill
    | RemoveContainer
    | RemoveSandbox
    | DetachNetwork
    | RemoveVolumes
)
