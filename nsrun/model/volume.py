"""A pod's volumes: one class per source."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from nsrun.model.resources import Quantity

__all__ = ["EmptyDir", "EmptyDirMedium", "HostPath", "HostPathType", "Volume", "VolumeMount", "VolumeSource"]


class EmptyDirMedium(StrEnum):
    """Where an emptyDir lives."""

    DISK = ""
    MEMORY = "Memory"


class HostPathType(StrEnum):
    """What a hostPath must be, or is made to be, before it is mounted."""

    ANY = ""
    DIRECTORY_OR_CREATE = "DirectoryOrCreate"
    DIRECTORY = "Directory"
    FILE_OR_CREATE = "FileOrCreate"
    FILE = "File"
    SOCKET = "Socket"
    CHAR_DEVICE = "CharDevice"
    BLOCK_DEVICE = "BlockDevice"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmptyDir:
    """A directory that lives as long as the pod."""

    medium: EmptyDirMedium = EmptyDirMedium.DISK
    size_limit: Quantity | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPath:
    """A path of the host."""

    path: str
    type: HostPathType = HostPathType.ANY


VolumeSource = EmptyDir | HostPath


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A named volume of the pod."""

    name: str
    source: VolumeSource


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeMount:
    """Where a container sees a volume. ``mount_path`` is absolute."""

    name: str
    mount_path: str
    read_only: bool = False
