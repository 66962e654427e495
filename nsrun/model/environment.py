"""Where a container's variables come from, as the manifest says it (core/v1 EnvVar, EnvFromSource)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from nsrun.model.resources import Quantity

__all__ = ["EnvFrom", "EnvSource", "EnvVar", "FieldRef", "KeyRef", "ObjectKind", "ResourceFieldRef"]


class ObjectKind(StrEnum):
    """The kinds of document beside Pod that pods refer to."""

    CONFIG_MAP = "ConfigMap"
    SECRET = "Secret"
    CLAIM = "PersistentVolumeClaim"
    VOLUME = "PersistentVolume"


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRef:
    """A field of the pod: ``metadata.name``, ``metadata.labels['app']``, ``status.podIP`` …"""

    field_path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceFieldRef:
    """A request or limit: ``limits.cpu``. ``container`` "": the one that asks. ``divisor`` None: 1. Rounded up."""

    resource: str
    container: str = ""
    divisor: Quantity | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRef:
    """One key of a ConfigMap or a Secret (``kind``). ``optional``: without it there is no variable."""

    kind: ObjectKind
    name: str
    key: str
    optional: bool = False


EnvSource = FieldRef | ResourceFieldRef | KeyRef


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvVar:
    """One variable: its value as written, or where the value comes from (``source``). Once it is resolved the value may
    be a Secret's: its repr leaves it out."""

    name: str
    value: str = field(default="", repr=False)
    source: EnvSource | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvFrom:
    """Every key of a ConfigMap or a Secret as a variable, its name after ``prefix``."""

    kind: ObjectKind
    name: str
    prefix: str = ""
    optional: bool = False
