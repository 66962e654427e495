"""A pod's volumes: one class per source."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from nsrun.model.environment import FieldRef, ResourceFieldRef
from nsrun.model.resources import Quantity

__all__ = [
    "ClaimVolume",
    "ConfigMapVolume",
    "DownwardFile",
    "DownwardVolume",
    "EmptyDir",
    "EmptyDirMedium",
    "HostPath",
    "HostPathType",
    "ImageVolume",
    "KeyFile",
    "MountPropagation",
    "NfsVolume",
    "ProjectedVolume",
    "RecursiveReadOnly",
    "SecretVolume",
    "Volume",
    "VolumeMount",
    "VolumeSource",
]

DEFAULT_MODE = 0o644


class EmptyDirMedium(StrEnum):
    """Where an emptyDir lives. ``HugePages-2Mi`` and its like are ``HUGE_PAGES`` with ``EmptyDir.page_size``."""

    DISK = ""
    MEMORY = "Memory"
    HUGE_PAGES = "HugePages"


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


class MountPropagation(StrEnum):
    """Whether mounts made later are seen on the other side (mount(2): private, slave, shared)."""

    NONE = "None"
    HOST_TO_CONTAINER = "HostToContainer"
    BIDIRECTIONAL = "Bidirectional"


class RecursiveReadOnly(StrEnum):
    """Whether ``readOnly`` holds for what is mounted below, too."""

    DISABLED = "Disabled"
    IF_POSSIBLE = "IfPossible"
    ENABLED = "Enabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmptyDir:
    """A directory that lives as long as the pod. ``page_size`` "": the host's default huge page size."""

    medium: EmptyDirMedium = EmptyDirMedium.DISK
    size_limit: Quantity | None = None
    page_size: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPath:
    """A path of the host."""

    path: str
    type: HostPathType = HostPathType.ANY


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFile:
    """A key shown as the file ``path`` (relative, may name directories). ``mode`` None: the volume's."""

    key: str
    path: str
    mode: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigMapVolume:
    """``items`` None: every key. ``name`` of the ConfigMap."""

    name: str
    items: tuple[KeyFile, ...] | None = None
    default_mode: int = DEFAULT_MODE
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretVolume:
    """The same of a Secret; its files live in memory only."""

    name: str
    items: tuple[KeyFile, ...] | None = None
    default_mode: int = DEFAULT_MODE
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DownwardFile:
    """A field of the pod, or a request or limit of one of its containers, as the file ``path``."""

    path: str
    source: FieldRef | ResourceFieldRef
    mode: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DownwardVolume:
    """What the pod says of itself, as files."""

    items: tuple[DownwardFile, ...] = ()
    default_mode: int = DEFAULT_MODE


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectedVolume:
    """Several sources in one directory; ``default_mode`` holds for all of them."""

    sources: tuple[ConfigMapVolume | SecretVolume | DownwardVolume, ...] = ()
    default_mode: int = DEFAULT_MODE


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageVolume:
    """An image's content, read-only. ``pull_policy``: a value of PullPolicy."""

    reference: str
    pull_policy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimVolume:
    """A PersistentVolumeClaim of the pod's namespace."""

    claim_name: str
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NfsVolume:
    """A directory of an NFS server."""

    server: str
    path: str
    read_only: bool = False


VolumeSource = (
    EmptyDir
    | HostPath
    | ConfigMapVolume
    | SecretVolume
    | DownwardVolume
    | ProjectedVolume
    | ImageVolume
    | ClaimVolume
    | NfsVolume
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A named volume of the pod."""

    name: str
    source: VolumeSource


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeMount:
    """Where a container sees a volume. ``mount_path`` is absolute. ``sub_path`` is relative to the volume;
    ``sub_path_expr`` the same with ``$(VAR)`` in it, expanded before the runtime sees it."""

    name: str
    mount_path: str
    read_only: bool = False
    sub_path: str = ""
    sub_path_expr: str = ""
    propagation: MountPropagation = MountPropagation.NONE
    recursive_read_only: RecursiveReadOnly = RecursiveReadOnly.DISABLED
