"""What can be done for a pod: steps as values. ``agenda`` chooses them, ``performing`` does them.

A step's ``key`` names it while it is under way and while it waits for another try. Its first word tells its kind:
``start`` and ``remove`` are about the sandbox or what is in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nsrun.model.running import ContainerId

__all__ = [
    "KILL_PATIENCE",
    "Ask",
    "AttachNetwork",
    "ClearVolumes",
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
class _OfPod:
    """A step about the pod as a whole."""

    verb: ClassVar[str]

    @property
    def key(self) -> str:
        return self.verb


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfContainer:
    """A step about a container, whichever run of it."""

    verb: ClassVar[str]
    container: str

    @property
    def key(self) -> str:
        return f"{self.verb} {self.container}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfRun:
    """A step about the run of a container that is there: there is one at a time."""

    verb: ClassVar[str]
    id: ContainerId

    @property
    def key(self) -> str:
        return f"{self.verb} {self.id.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachNetwork(_OfPod):
    """Give the pod its place in the network."""

    verb = "attach"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareVolumes(_OfPod):
    """Make the pod's volumes."""

    verb = "prepare"


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshVolumes(_OfPod):
    """Let the pod's volumes show what has changed."""

    verb = "refresh"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(_OfPod):
    """Write down what the machine would not tell the next supervisor."""

    verb = "record"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartSandbox(_OfPod):
    """Start the pod's shim and pause process."""

    verb = "start"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureImage(_OfContainer):
    """Have a container's image on the machine."""

    verb = "image"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureVolumeImage:
    """Have the image of an image volume on the machine."""

    volume: str

    @property
    def key(self) -> str:
        return f"image volume {self.volume}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartContainer(_OfContainer):
    """Start a run of a container."""

    verb = "start"


@dataclass(frozen=True, slots=True, kw_only=True)
class PostStart(_OfRun):
    """Run the hook that follows a container's start."""

    verb = "post"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreStop(_OfRun):
    """Run the hook that goes before a container's end."""

    verb = "pre"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask(_OfRun):
    """Send a container its stop signal."""

    verb = "ask"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill(_OfRun):
    """Kill everything in a container."""

    verb = "kill"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveContainer:
    """Delete the records and the rootfs of a run that ended."""

    id: ContainerId

    @property
    def key(self) -> str:
        return f"remove {self.id.name} {self.id.attempt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveSandbox(_OfPod):
    """Remove what is left of the sandbox."""

    verb = "remove"


@dataclass(frozen=True, slots=True, kw_only=True)
class DetachNetwork(_OfPod):
    """Take the pod out of the network."""

    verb = "detach"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearVolumes(_OfPod):
    """Remove the pod's volumes; its directory stays."""

    verb = "clear"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveVolumes(_OfPod):
    """Remove the pod's volumes and directory."""

    verb = "delete"


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
    | ClearVolumes
    | RemoveVolumes
)
