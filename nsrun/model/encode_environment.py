"""Where variables come from → the JSON objects of core/v1."""

from __future__ import annotations

from nsrun.model.encoding import Json, said
from nsrun.model.environment import EnvFrom, EnvVar, FieldRef, KeyRef, ObjectKind, ResourceFieldRef
from nsrun.model.quantity import canonical

__all__ = ["env", "env_from", "field_source"]


def env(variable: EnvVar) -> Json:
    """A v1.EnvVar."""
    source = variable.source
    if source is None:
        return {"name": variable.name, **said(value=variable.value)}
    said_of = _key(source) if isinstance(source, KeyRef) else field_source(source)
    return {"name": variable.name, "valueFrom": said_of}


def _key(source: KeyRef) -> Json:
    key = "secretKeyRef" if source.kind is ObjectKind.SECRET else "configMapKeyRef"
    return {key: {"name": source.name, "key": source.key, **said(optional=source.optional)}}


def env_from(source: EnvFrom) -> Json:
    """A v1.EnvFromSource."""
    key = "secretRef" if source.kind is ObjectKind.SECRET else "configMapRef"
    return {**said(prefix=source.prefix), key: {"name": source.name, **said(optional=source.optional)}}


def field_source(source: FieldRef | ResourceFieldRef) -> Json:
    """What the downward API is asked for."""
    if isinstance(source, FieldRef):
        return {"fieldRef": {"apiVersion": "v1", "fieldPath": source.field_path}}
    divisor = None if source.divisor is None else canonical(source.divisor)
    named = said(containerName=source.container)
    return {"resourceFieldRef": {**named, "resource": source.resource, **said(divisor=divisor)}}
