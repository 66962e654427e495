"""Volumes and their mounts as tables (core/v1 Volume, VolumeMount)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nsrun.model import defaults
from nsrun.model.container import PullPolicy
from nsrun.model.environment import FieldRef, ResourceFieldRef
from nsrun.model.fields import (
    MISSING,
    Decoder,
    Missing,
    Place,
    Refused,
    Shape,
    boolean,
    choice,
    integer,
    list_of,
    one_of,
    quantity,
    some,
    text,
)
from nsrun.model.resources import Quantity
from nsrun.model.shapes_environment import FIELD_REF, RESOURCE_FIELD_REF
from nsrun.model.tree import MapNode
from nsrun.model.volume import (
    ClaimVolume,
    ConfigMapVolume,
    DownwardFile,
    DownwardVolume,
    EmptyDir,
    EmptyDirMedium,
    HostPath,
    HostPathType,
    ImageVolume,
    KeyFile,
    MountPropagation,
    NfsVolume,
    ProjectedVolume,
    RecursiveReadOnly,
    SecretVolume,
    Volume,
    VolumeMount,
)
from nsrun.model.wording import listed, quoted, suggestion, words

__all__ = ["MOUNT", "PROJECTED_SOURCES", "VOLUME", "VOLUME_SOURCES"]

MOUNT = Shape(
    build=VolumeMount,
    blank={"name": "", "mount_path": ""},
    required=frozenset({"name", "mountPath"}),
    fields={
        "name": ("name", text),
        "mountPath": ("mount_path", text),
        "readOnly": ("read_only", boolean),
        "subPath": ("sub_path", text),
        "subPathExpr": ("sub_path_expr", text),
        "mountPropagation": ("propagation", choice(MountPropagation)),
        "recursiveReadOnly": ("recursive_read_only", choice(RecursiveReadOnly)),
    },
    refused={"bindMountOptions": Refused()},
)

HUGE = "HugePages-"


def _medium(place: Place) -> tuple[EmptyDirMedium, str] | Missing:
    """The medium, and the size of its pages: ``HugePages-2Mi`` names both."""
    value = text(place)
    if isinstance(value, Missing):
        return MISSING
    if value.startswith(HUGE) and len(value) > len(HUGE):
        return EmptyDirMedium.HUGE_PAGES, value.removeprefix(HUGE)
    known = [str(medium) for medium in EmptyDirMedium]
    if value not in known:
        hint = suggestion(value, filter(None, known))
        return place.problem(f"must be {listed([*known, HUGE + '<size>'])}, not {quoted(value)}{hint}")
    return EmptyDirMedium(value), ""


def _empty_dir(
    medium: tuple[EmptyDirMedium, str] = (EmptyDirMedium.DISK, ""), size_limit: Quantity | None = None
) -> EmptyDir:
    return EmptyDir(medium=medium[0], page_size=medium[1], size_limit=size_limit)


EMPTY_DIR = Shape(
    build=_empty_dir,
    fields={"medium": ("medium", _medium), "sizeLimit": ("size_limit", quantity)},
    refused={"mode": Refused(text="is not supported: use an init container that sets it")},
)
HOST_PATH = Shape(
    build=HostPath,
    blank={"path": ""},
    required=frozenset({"path"}),
    fields={"path": ("path", text), "type": ("type", choice(HostPathType))},
)
ROOTS = Refused(text="is not supported: files are root's")
OWNER, OWNERS = {"user": ROOTS}, {"defaultUser": ROOTS}
KEY_FILE = Shape(
    build=KeyFile,
    blank={"key": "", "path": ""},
    required=frozenset({"key", "path"}),
    fields={"key": ("key", text), "path": ("path", text), "mode": ("mode", integer)},
    refused=OWNER,
)
ITEMS = some(list_of(KEY_FILE, KeyFile(key="", path="")))
MODE = ("default_mode", integer)

CONFIG_MAP = Shape(
    build=ConfigMapVolume,
    blank={"name": ""},
    required=frozenset({"name"}),
    fields={"name": ("name", text), "items": ("items", ITEMS), "defaultMode": MODE, "optional": ("optional", boolean)},
    refused=OWNERS,
)
SECRET = Shape(
    build=SecretVolume,
    blank={"name": ""},
    required=frozenset({"secretName"}),
    fields={
        "secretName": ("name", text),
        "items": ("items", ITEMS),
        "defaultMode": MODE,
        "optional": ("optional", boolean),
    },
    refused=OWNERS,
)

FILE_SOURCES: Mapping[str, Decoder] = {"fieldRef": FIELD_REF, "resourceFieldRef": RESOURCE_FIELD_REF}
FILE: Shape[dict[str, Any]] = Shape(
    build=dict,
    blank={"path": ""},
    required=frozenset({"path"}),
    fields={"path": ("path", text), "mode": ("mode", integer)},
    refused=OWNER,
)


def _downward_file(place: Place) -> DownwardFile | Missing:
    source, rest = one_of(place, FILE_SOURCES, FILE, only_one="source: a file has one")
    if source is None and isinstance(place.node, MapNode):
        return place.problem(f"must have one of {listed(FILE_SOURCES)}")
    return DownwardFile(source=source, **rest) if isinstance(source, FieldRef | ResourceFieldRef) else MISSING


FILES = list_of(_downward_file, DownwardFile(path="", source=FieldRef(field_path="")))
DOWNWARD = Shape(build=DownwardVolume, fields={"items": ("items", FILES), "defaultMode": MODE}, refused=OWNERS)

PROJECTED_SOURCES: Mapping[str, Shape[Any]] = {
    "configMap": Shape(
        build=ConfigMapVolume,
        blank={"name": ""},
        required=frozenset({"name"}),
        fields={"name": ("name", text), "items": ("items", ITEMS), "optional": ("optional", boolean)},
    ),
    "secret": Shape(
        build=SecretVolume,
        blank={"name": ""},
        required=frozenset({"name"}),
        fields={"name": ("name", text), "items": ("items", ITEMS), "optional": ("optional", boolean)},
    ),
    "downwardAPI": Shape(build=DownwardVolume, fields={"items": ("items", FILES)}),
}
SIGNED = Refused(text="is not supported: there is no API server here that could issue one")
NOTHING: Shape[dict[str, Any]] = Shape(
    build=dict,
    fields={},
    refused={"serviceAccountToken": SIGNED, "clusterTrustBundle": SIGNED, "podCertificate": SIGNED},
)


def _projection(place: Place) -> Any:
    before = len(place.report.problems)
    source, _ = one_of(place, PROJECTED_SOURCES, NOTHING, only_one="source: every item has one")
    if source is not None:
        return source
    if len(place.report.problems) == before:
        return place.problem(f"must have one of {listed(PROJECTED_SOURCES)}")
    return MISSING


PROJECTED = Shape(
    build=ProjectedVolume,
    fields={"sources": ("sources", list_of(_projection, DownwardVolume())), "defaultMode": MODE},
    refused=OWNERS,
)


def _image(reference: str, pull_policy: PullPolicy | None = None) -> ImageVolume:
    return ImageVolume(reference=reference, pull_policy=str(pull_policy or defaults.pull_policy(reference)))


IMAGE = Shape(
    build=_image,
    blank={"reference": ""},
    required=frozenset({"reference"}),
    fields={"reference": ("reference", text), "pullPolicy": ("pull_policy", choice(PullPolicy))},
)
CLAIM = Shape(
    build=ClaimVolume,
    blank={"claim_name": ""},
    required=frozenset({"claimName"}),
    fields={"claimName": ("claim_name", text), "readOnly": ("read_only", boolean)},
)
NFS = Shape(
    build=NfsVolume,
    blank={"server": "", "path": ""},
    required=frozenset({"server", "path"}),
    fields={"server": ("server", text), "path": ("path", text), "readOnly": ("read_only", boolean)},
)

VOLUME_SOURCES: Mapping[str, Shape[Any]] = {
    "configMap": CONFIG_MAP,
    "downwardAPI": DOWNWARD,
    "emptyDir": EMPTY_DIR,
    "hostPath": HOST_PATH,
    "image": IMAGE,
    "nfs": NFS,
    "persistentVolumeClaim": CLAIM,
    "projected": PROJECTED,
    "secret": SECRET,
}
OTHER_SOURCES = words("""
    awsElasticBlockStore azureDisk azureFile cephfs cinder csi ephemeral fc flexVolume flocker gcePersistentDisk gitRepo
    glusterfs iscsi photonPersistentDisk portworxVolume quobyte rbd scaleIO storageos vsphereVolume
""")
"""An emptyDir in their place would look like data that is lost: they are refused."""

NAME: Shape[dict[str, Any]] = Shape(
    build=dict,
    blank={"name": ""},
    fields={"name": ("name", text)},
    required=frozenset({"name"}),
    refused=dict.fromkeys(
        OTHER_SOURCES, Refused(text=f"is not supported: use {listed(VOLUME_SOURCES)}".replace('"', ""))
    ),
)


def VOLUME(place: Place) -> Volume | Missing:  # noqa: N802
    """A name and one source."""
    source, named = one_of(place, VOLUME_SOURCES, NAME, only_one="source: a volume has one")
    if not isinstance(place.node, MapNode):
        return MISSING
    return Volume(source=defaults.volume_source() if source in (None, MISSING) else source, **named)
