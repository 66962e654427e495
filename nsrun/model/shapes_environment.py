"""A container's variables as tables (core/v1 EnvVar, EnvVarSource, EnvFromSource)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nsrun.model.environment import EnvFrom, EnvSource, EnvVar, FieldRef, KeyRef, ObjectKind, ResourceFieldRef
from nsrun.model.fields import (
    MISSING,
    Decoder,
    Missing,
    Place,
    Refused,
    Shape,
    boolean,
    means_nothing,
    one_of,
    quantity,
    text,
)
from nsrun.model.tree import MapNode
from nsrun.model.wording import listed

__all__ = ["ENV", "ENV_FROM", "FIELD_REF", "RESOURCE_FIELD_REF"]

FIELD_REF = Shape(
    build=FieldRef,
    blank={"field_path": ""},
    required=frozenset({"fieldPath"}),
    fields={"fieldPath": ("field_path", text)},
    refused={"apiVersion": Refused(text='must be "v1"', harmless=("v1", ""))},
)

RESOURCE_FIELD_REF = Shape(
    build=ResourceFieldRef,
    blank={"resource": ""},
    required=frozenset({"resource"}),
    fields={
        "containerName": ("container", text),
        "resource": ("resource", text),
        "divisor": ("divisor", quantity),
    },
)


def _key_ref(kind: ObjectKind) -> Shape[KeyRef]:
    return Shape(
        build=lambda **values: KeyRef(kind=kind, **values),
        blank={"name": "", "key": ""},
        required=frozenset({"name", "key"}),
        fields={"name": ("name", text), "key": ("key", text), "optional": ("optional", boolean)},
    )


SOURCES: Mapping[str, Decoder] = {
    "fieldRef": FIELD_REF,
    "resourceFieldRef": RESOURCE_FIELD_REF,
    "configMapKeyRef": _key_ref(ObjectKind.CONFIG_MAP),
    "secretKeyRef": _key_ref(ObjectKind.SECRET),
}
NOTHING: Shape[dict[str, Any]] = Shape(
    build=dict, fields={}, refused={"fileKeyRef": Refused(text=f"is not supported: use {listed(SOURCES)}")}
)


def _source(place: Place) -> EnvSource | Missing:
    source, _ = one_of(place, SOURCES, NOTHING, only_one="source: a variable has one")
    if source is None and isinstance(place.node, MapNode) and not place.node.get("fileKeyRef"):
        return place.problem(f"must have one of {listed(SOURCES)}")
    return MISSING if source is None else source


VARIABLE = Shape(
    build=EnvVar,
    blank={"name": ""},
    required=frozenset({"name"}),
    fields={"name": ("name", text), "value": ("value", text), "valueFrom": ("source", _source)},
)


def ENV(place: Place) -> EnvVar:  # noqa: N802
    """A variable with a value or a source."""
    variable = VARIABLE(place)
    entry = place.node.get("valueFrom") if isinstance(place.node, MapNode) else None
    if entry is not None and variable.value and not means_nothing(entry.value):
        place.problem("must not stand beside a value", at=entry)
    return variable


def _object_ref(kind: ObjectKind) -> Shape[dict[str, object]]:
    return Shape(
        build=lambda **values: {"kind": kind, **values},
        blank={"name": ""},
        required=frozenset({"name"}),
        fields={"name": ("name", text), "optional": ("optional", boolean)},
    )


OBJECTS: Mapping[str, Decoder] = {
    "configMapRef": _object_ref(ObjectKind.CONFIG_MAP),
    "secretRef": _object_ref(ObjectKind.SECRET),
}
PREFIX: Shape[dict[str, Any]] = Shape(build=dict, fields={"prefix": ("prefix", text)})


def ENV_FROM(place: Place) -> EnvFrom | Missing:  # noqa: N802
    """All keys of one object."""
    source, rest = one_of(place, OBJECTS, PREFIX, only_one="source: every item has one")
    if source is None and isinstance(place.node, MapNode):
        return place.problem(f"must have one of {listed(OBJECTS)}")
    return MISSING if source in (None, MISSING) else EnvFrom(**source, **rest)
