"""The documents that pods refer to as tables: ConfigMap, Secret, PersistentVolumeClaim, PersistentVolume (core/v1).

Nothing that is said about a Secret holds anything of its data.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from functools import partial
from typing import Any

from nsrun.model import defaults
from nsrun.model.environment import ObjectKind
from nsrun.model.fields import (
    MISSING,
    Decoder,
    Missing,
    Place,
    Refused,
    Shape,
    boolean,
    choice,
    list_of,
    mapping_of,
    quantity,
    text,
    without,
)
from nsrun.model.objects import Claim, ConfigMap, PersistentVolume, ReclaimPolicy, Secret
from nsrun.model.resources import Quantity
from nsrun.model.shapes import METADATA, api_version
from nsrun.model.shapes_volume import HOST_PATH
from nsrun.model.tree import ListNode, MapNode, ScalarNode
from nsrun.model.volume import HostPath
from nsrun.model.wording import words

__all__ = ["CLAIM_SPEC", "OBJECTS", "Object"]

Object = ConfigMap | Secret | Claim | PersistentVolume

NAMES = {"name": ("name", text), "namespace": ("namespace", text)}
SILENT = METADATA.silent | {"labels", "annotations", "uid"}
OBJECT_META: Shape[dict[str, Any]] = Shape(
    build=dict,
    blank={"name": "", "namespace": defaults.NAMESPACE},
    required=frozenset({"name"}),
    fields=NAMES,
    silent=SILENT,
)
CLAIM_META: Shape[dict[str, Any]] = Shape(
    build=dict,
    blank={"name": "", "namespace": defaults.NAMESPACE},
    required=frozenset({"name"}),
    fields={**NAMES, "annotations": ("annotations", mapping_of(text, null=""))},
    silent=SILENT,
)
VOLUME_META: Shape[dict[str, Any]] = Shape(
    build=dict,
    blank={"name": ""},
    required=frozenset({"name"}),
    fields={"name": ("name", text)},
    silent=SILENT | {"namespace"},
)


def _kind(place: Place) -> str | Missing:
    """Whoever comes here has looked at it."""
    return text(place)


def _top(build: Any, metadata: Shape[dict[str, Any]], fields: Mapping[str, tuple[str, Decoder]]) -> Shape[Any]:
    """A whole document."""
    needed = frozenset({"spec"} & fields.keys())
    return Shape(
        build=build,
        blank={"metadata": metadata.build(**metadata.blank), **{key: {} for key in needed}},
        required=frozenset({"apiVersion", "kind", "metadata"}) | needed,
        fields={
            "apiVersion": ("api_version", api_version("v1")),
            "kind": ("kind", _kind),
            "metadata": ("metadata", metadata),
            **fields,
        },
        silent=frozenset({"status"}),
    )


def _base64(place: Place, *, plain: str) -> bytes | Missing:
    """What is wrong is said without a word of what is there. ``plain``: the field for plain text."""
    node = place.node
    if not isinstance(node, ScalarNode) or not isinstance(node.value, str):
        return place.problem(f"must be base64 text in quotes, not {_type(place)}")
    try:
        return base64.b64decode("".join(node.value.split("\n")).replace("\r", ""), validate=True)
    except (binascii.Error, ValueError):
        return place.problem(f"must be base64: plain text belongs in {plain}")


def _hidden_text(place: Place) -> str | Missing:
    node = place.node
    if isinstance(node, ScalarNode) and isinstance(node.value, str):
        return node.value
    return place.problem(f"must be a string, not {_type(place)}: write it in quotes")


def _type(place: Place) -> str:
    node = place.node
    if isinstance(node, MapNode):
        return "a mapping"
    if isinstance(node, ListNode):
        return "a list"
    if node.value is None:
        return "null"
    return "a boolean" if isinstance(node.value, bool) else "a string" if isinstance(node.value, str) else "a number"


def _hidden(decode: Decoder) -> Decoder:
    """A mapping that is not quoted when it is none."""
    decode_mapping = mapping_of(decode, null="")

    def decode_hidden(place: Place) -> Mapping[str, Any] | Missing:
        if not isinstance(place.node, MapNode):
            return place.problem(f"must be a mapping, not {_type(place)}")
        return decode_mapping(place)  # type: ignore[no-any-return]

    return decode_hidden


def _bytes(values: Mapping[str, str | bytes]) -> dict[str, bytes]:
    return {key: value if isinstance(value, bytes) else value.encode() for key, value in values.items()}


def _config_map(
    *,
    metadata: dict[str, str],
    data: Mapping[str, str | bytes] | None = None,
    binary: Mapping[str, str | bytes] | None = None,
    immutable: bool = False,
    **_: str,
) -> ConfigMap:
    return ConfigMap(**metadata, data={**_bytes(data or {}), **_bytes(binary or {})}, immutable=immutable)


CONFIG_MAP_DOCUMENT = _top(
    _config_map,
    OBJECT_META,
    {
        "data": ("data", mapping_of(text, null="")),
        "binaryData": ("binary", _hidden(partial(_base64, plain="data"))),
        "immutable": ("immutable", boolean),
    },
)


def CONFIG_MAP(place: Place) -> ConfigMap:  # noqa: N802
    """Text and bytes share their keys."""
    said: ConfigMap = CONFIG_MAP_DOCUMENT(place)
    if isinstance(place.node, MapNode):
        both = [entry.value for key in ("data", "binaryData") if (entry := place.node.get(key)) is not None]
        if len(both) == 2 and isinstance(both[0], MapNode) and isinstance(both[1], MapNode):
            for entry in both[1].entries:
                if both[0].get(entry.key) is not None:
                    place.child("binaryData", both[1]).problem("is in data already", at=entry)
    return said


def _secret(
    *,
    metadata: dict[str, str],
    data: Mapping[str, str | bytes] | None = None,
    texts: Mapping[str, str | bytes] | None = None,
    type: str = "",
    immutable: bool = False,
    **_: str,
) -> Secret:
    both = {**_bytes(data or {}), **_bytes(texts or {})}
    return Secret(**metadata, type=type or "Opaque", data=both, immutable=immutable)


SECRET = _top(
    _secret,
    OBJECT_META,
    {
        "data": ("data", _hidden(partial(_base64, plain="stringData"))),
        "stringData": ("texts", _hidden(_hidden_text)),
        "type": ("type", text),
        "immutable": ("immutable", boolean),
    },
)

MODES = words("ReadWriteOnce ReadOnlyMany ReadWriteMany ReadWriteOncePod")


def _mode(place: Place) -> str | Missing:
    value = text(place)
    if value is MISSING or value in MODES:
        return value
    return place.problem("must be ReadWriteOnce, ReadOnlyMany, ReadWriteMany or ReadWriteOncePod")


ACCESS_MODES = ("access_modes", list_of(_mode, "ReadWriteOnce"))
FILESYSTEM = Refused(text='must be "Filesystem": block devices are not supported', harmless="Filesystem")
STORAGE: Shape[dict[str, Quantity]] = Shape(build=dict, fields={"storage": ("storage", quantity)})
CLAIM_RESOURCES: Shape[dict[str, Any]] = Shape(
    build=dict, fields={"requests": ("requests", STORAGE)}, ignored=without("limits")
)
CONTENT = Refused(text="is not supported: a claim starts empty, or with what its volume holds")
CLAIM_SPEC: Shape[dict[str, Any]] = Shape(
    build=dict,
    fields={
        "accessModes": ACCESS_MODES,
        "resources": ("resources", CLAIM_RESOURCES),
        "storageClassName": ("storage_class", text),
        "volumeName": ("volume_name", text),
    },
    ignored=without("volumeAttributesClassName"),
    refused={
        "volumeMode": FILESYSTEM,
        "selector": Refused(text="is not supported: name the volume in volumeName"),
        "dataSource": CONTENT,
        "dataSourceRef": CONTENT,
    },
)


def _claim(*, metadata: dict[str, Any], spec: dict[str, Any], **_: str) -> Claim:
    values = {key: value for key, value in spec.items() if key != "resources"}
    request = spec.get("resources", {}).get("requests", {}).get("storage")
    return Claim(**metadata, request=request, **values)


CLAIM = _top(_claim, CLAIM_META, {"spec": ("spec", CLAIM_SPEC)})

CLAIM_REF = Shape(
    build=lambda namespace, name: (namespace, name),
    blank={"namespace": defaults.NAMESPACE, "name": ""},
    required=frozenset({"name"}),
    fields={"namespace": ("namespace", text), "name": ("name", text)},
    silent=words("apiVersion fieldPath kind resourceVersion uid"),
)
LOCAL = Shape(
    build=lambda path: HostPath(path=path),
    blank={"path": ""},
    required=frozenset({"path"}),
    fields={"path": ("path", text)},
    refused={"fsType": Refused(text="is not supported: a local volume is a directory here")},
)
OTHER_SOURCES = words("""
    awsElasticBlockStore azureDisk azureFile cephfs cinder csi fc flexVolume flocker gcePersistentDisk glusterfs iscsi
    nfs photonPersistentDisk portworxVolume quobyte rbd scaleIO storageos vsphereVolume
""")
VOLUME_SPEC: Shape[dict[str, Any]] = Shape(
    build=dict,
    fields={
        "capacity": ("capacity", STORAGE),
        "accessModes": ACCESS_MODES,
        "storageClassName": ("storage_class", text),
        "persistentVolumeReclaimPolicy": ("reclaim_policy", choice(ReclaimPolicy)),
        "claimRef": ("claim", CLAIM_REF),
        "hostPath": ("host_path", HOST_PATH),
        "local": ("local", LOCAL),
    },
    ignored=without("mountOptions", "nodeAffinity", "volumeAttributesClassName"),
    refused={
        "volumeMode": FILESYSTEM,
        **dict.fromkeys(OTHER_SOURCES, Refused(text="is not supported: use hostPath or local")),
    },
)


def _volume(*, metadata: dict[str, Any], spec: dict[str, Any], **_: str) -> PersistentVolume:
    special = ("capacity", "host_path", "local")
    source = spec.get("local") or spec.get("host_path") or HostPath(path="")
    return PersistentVolume(
        **metadata,
        path=source.path,
        type=source.type,
        local="local" in spec,
        capacity=spec.get("capacity", {}).get("storage"),
        **{key: value for key, value in spec.items() if key not in special},
    )


def _volume_spec(place: Place) -> dict[str, Any]:
    """One source, and not none: what is refused counts as said."""
    spec = VOLUME_SPEC(place)
    if isinstance(place.node, MapNode):
        if "local" in spec and "host_path" in spec:
            place.problem("must not stand beside another source: a volume has one", at=place.node.get("local"))
        elif not any(place.node.get(key) for key in ("local", "hostPath", *OTHER_SOURCES)):
            place.problem("must have hostPath or local")
    return spec


VOLUME = _top(_volume, VOLUME_META, {"spec": ("spec", _volume_spec)})

OBJECTS: Mapping[ObjectKind, Decoder] = {
    ObjectKind.CONFIG_MAP: CONFIG_MAP,
    ObjectKind.SECRET: SECRET,
    ObjectKind.CLAIM: CLAIM,
    ObjectKind.VOLUME: VOLUME,
}
