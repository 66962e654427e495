"""The documents beside Pod that pods refer to: ConfigMap, Secret, PersistentVolumeClaim, PersistentVolume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from nsrun.model.resources import Quantity
from nsrun.model.volume import HostPathType

__all__ = ["Claim", "ConfigMap", "Objects", "PersistentVolume", "ReclaimPolicy", "Secret"]


class ReclaimPolicy(StrEnum):
    """What happens to a volume's content when its claim goes."""

    RETAIN = "Retain"
    DELETE = "Delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigMap:
    """``data`` and ``binaryData`` together, as bytes."""

    namespace: str
    name: str
    data: Mapping[str, bytes] = field(default_factory=dict)
    immutable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """``data`` (decoded) with ``stringData`` over it. Never printed: its repr leaves the data out."""

    namespace: str
    name: str
    type: str = "Opaque"
    data: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    immutable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A PersistentVolumeClaim. ``volume_name`` "": a volume whose class, modes and size fit, else a directory of its
    own below nsrun's root. ``annotations`` may hold podman's ``volume.podman.io/*``."""

    namespace: str
    name: str
    access_modes: tuple[str, ...] = ()
    request: Quantity | None = None
    storage_class: str = ""
    volume_name: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PersistentVolume:
    """A PersistentVolume with a hostPath (``type``) or ``local`` source at ``path``, both on this host."""

    name: str
    path: str
    type: HostPathType = HostPathType.ANY
    local: bool = False
    capacity: Quantity | None = None
    access_modes: tuple[str, ...] = ()
    storage_class: str = ""
    reclaim_policy: ReclaimPolicy = ReclaimPolicy.RETAIN
    claim: tuple[str, str] | None = None
    """``claimRef``: namespace and name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objects:
    """All of them, by namespace and name. Two of these are equal when nothing in them differs."""

    config_maps: Mapping[tuple[str, str], ConfigMap] = field(default_factory=dict)
    secrets: Mapping[tuple[str, str], Secret] = field(default_factory=dict)
    claims: Mapping[tuple[str, str], Claim] = field(default_factory=dict)
    volumes: Mapping[str, PersistentVolume] = field(default_factory=dict)
