"""Kinds whose template describes pods, Deployment above all: one pod is run of each, as ``podman kube play`` does.

What belongs to many pods (replicas, updates, retries of jobs) is told to have no effect. docs/manifests.md says it all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from nsrun.model.fields import (
    MISSING,
    Decoder,
    Missing,
    Place,
    Shape,
    boolean,
    integer,
    list_of,
    mapping_of,
    text,
    without,
)
from nsrun.model.objects import Claim
from nsrun.model.pod import ObjectMeta, Pod, PodSpec, RestartPolicy
from nsrun.model.shapes import METADATA, SPEC, api_version
from nsrun.model.shapes_objects import CLAIM_SPEC
from nsrun.model.tree import MapNode
from nsrun.model.violation import Violation
from nsrun.model.volume import ClaimVolume, Volume
from nsrun.model.wording import Path

__all__ = ["WORKLOADS", "Workload", "decode_workload", "in_template"]

TEMPLATE_METADATA = Shape(
    build=ObjectMeta,
    blank={"name": "", "namespace": "", "uid": ""},
    fields={key: METADATA.fields[key] for key in ("labels", "annotations")},
    silent=METADATA.silent | {"name", "namespace", "uid"},
)
NOTHING = PodSpec(containers=())
TEMPLATE: Shape[dict[str, Any]] = Shape(
    build=dict,
    blank={"metadata": ObjectMeta(name="", namespace="", uid=""), "spec": NOTHING},
    required=frozenset({"spec"}),
    fields={"metadata": ("metadata", TEMPLATE_METADATA), "spec": ("spec", SPEC)},
)
OWN_METADATA = Shape(
    build=ObjectMeta,
    blank=METADATA.blank,
    required=METADATA.required,
    fields={key: METADATA.fields[key] for key in ("name", "namespace")},
    silent=METADATA.silent | {"labels", "annotations", "uid"},
)

CLAIM_TEMPLATE: Shape[dict[str, Any]] = Shape(
    build=dict,
    blank={"metadata": {"name": ""}, "spec": {}},
    required=frozenset({"metadata", "spec"}),
    fields={
        "metadata": (
            "metadata",
            Shape(
                build=dict,
                blank={"name": ""},
                required=frozenset({"name"}),
                fields={"name": ("name", text), "annotations": ("annotations", mapping_of(text, null=""))},
                silent=METADATA.silent | {"labels", "namespace", "uid"},
            ),
        ),
        "spec": ("spec", CLAIM_SPEC),
    },
    silent=frozenset({"apiVersion", "kind", "status"}),
)


def _replicas(place: Place) -> int | Missing:
    number = integer(place)
    if isinstance(number, int) and number > 1:
        place.warning(f"{number} are asked for, one is run")
    return number if number is MISSING or number >= 0 else place.problem(f"must be 0 or more, not {number}")


def _spec(fields: Mapping[str, tuple[str, Decoder]], ignored: Mapping[str, object]) -> Shape[dict[str, Any]]:
    return Shape(
        build=dict,
        blank={"template": TEMPLATE.build(**TEMPLATE.blank)},
        required=frozenset({"template"}),
        fields={"template": ("template", TEMPLATE), **fields},
        silent=frozenset({"selector"}),
        ignored=ignored,
    )


REPLICAS: Mapping[str, tuple[str, Decoder]] = {"replicas": ("replicas", _replicas)}
STATEFUL: Mapping[str, tuple[str, Decoder]] = {
    **REPLICAS,
    "volumeClaimTemplates": ("claims", list_of(CLAIM_TEMPLATE, CLAIM_TEMPLATE.build(**CLAIM_TEMPLATE.blank))),
}
JOB: Mapping[str, tuple[str, Decoder]] = {
    "activeDeadlineSeconds": ("deadline", integer),
    "completions": ("completions", _replicas),
    "parallelism": ("replicas", _replicas),
    "suspend": ("suspend", boolean),
}
UPDATES = {**without("minReadySeconds"), "revisionHistoryLimit": 10}
"""How one pod is followed by another, and how much is remembered of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """``api_version``, what its spec holds, and whether its pods are to end (``ends``)."""

    api_version: str
    spec: Shape[dict[str, Any]]
    ends: bool = False


WORKLOADS: Mapping[str, Kind] = {
    "DaemonSet": Kind(api_version="apps/v1", spec=_spec({}, {**UPDATES, **without("updateStrategy")})),
    "Deployment": Kind(
        api_version="apps/v1",
        spec=_spec(REPLICAS, {**UPDATES, **without("strategy"), "paused": False, "progressDeadlineSeconds": 600}),
    ),
    "Job": Kind(
        api_version="batch/v1",
        ends=True,
        spec=_spec(
            JOB,
            {
                **without("backoffLimit", "backoffLimitPerIndex", "maxFailedIndexes", "podFailurePolicy"),
                **without("podReplacementPolicy", "successPolicy", "ttlSecondsAfterFinished", "managedBy"),
                "completionMode": "NonIndexed",
                "manualSelector": False,
            },
        ),
    ),
    "ReplicaSet": Kind(api_version="apps/v1", spec=_spec(REPLICAS, without("minReadySeconds"))),
    "ReplicationController": Kind(api_version="v1", spec=_spec(REPLICAS, without("minReadySeconds"))),
    "StatefulSet": Kind(
        api_version="apps/v1",
        spec=_spec(
            STATEFUL,
            {
                **UPDATES,
                **without("ordinals", "persistentVolumeClaimRetentionPolicy", "serviceName", "updateStrategy"),
                "podManagementPolicy": "OrderedReady",
            },
        ),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """``pod`` None: none is wanted (no replicas, a suspended job)."""

    pod: Pod | None
    claims: tuple[Claim, ...] = ()


def decode_workload(place: Place, name: str) -> Workload:
    """The pod of a document of the kind ``name``, and the claims that a StatefulSet makes for it. A document with
    problems gives a placeholder."""
    kind = WORKLOADS[name]
    shape: Shape[dict[str, Any]] = Shape(
        build=dict,
        blank={"metadata": OWN_METADATA.build(**OWN_METADATA.blank), "spec": kind.spec.build(**kind.spec.blank)},
        required=frozenset({"apiVersion", "kind", "metadata", "spec"}),
        fields={
            "apiVersion": ("api_version", api_version(kind.api_version)),
            "kind": ("kind", text),
            "metadata": ("metadata", OWN_METADATA),
            "spec": ("spec", kind.spec),
        },
        silent=frozenset({"status"}),
    )
    document = shape(place)
    meta, spec = document["metadata"], document["spec"]
    if kind.ends:
        _check_ends(place, spec["template"]["spec"])
    claims = tuple(_claim(meta, template) for template in spec.get("claims", ()))
    wanted = spec.get("replicas", 1) != 0 and not spec.get("suspend", False)
    return Workload(pod=_pod(meta, spec) if wanted else None, claims=claims)


def _check_ends(place: Place, spec: PodSpec) -> None:
    """As Kubernetes has it: what a job runs must not begin again when it is done."""
    at, path = place.node, place.path
    for key in ("spec", "template", "spec", "restartPolicy"):
        entry = at.get(key) if isinstance(at, MapNode) else None
        at, path = (at if entry is None else entry.value), (*path, key)
    if spec.restart_policy is RestartPolicy.ALWAYS and path not in place.report.faulty:
        Place(at, path, place.report).problem('must be "OnFailure" or "Never" in a Job')


def _pod(meta: ObjectMeta, spec: dict[str, Any]) -> Pod:
    template = spec["template"]
    return Pod(
        metadata=replace(template["metadata"], name=meta.name and f"{meta.name}-pod", namespace=meta.namespace),
        spec=_with_deadline(_with_claims(template["spec"], meta, spec.get("claims", ())), spec.get("deadline")),
    )


def _with_deadline(spec: PodSpec, deadline: int | None) -> PodSpec:
    own = spec.active_deadline_seconds
    earliest = min((one for one in (own, deadline) if one is not None), default=None)
    return replace(spec, active_deadline_seconds=earliest)


def _with_claims(spec: PodSpec, meta: ObjectMeta, templates: tuple[dict[str, Any], ...]) -> PodSpec:
    """A template's volume takes the place of one of the same name."""
    if not templates:
        return spec
    made = {
        template["metadata"]["name"]: Volume(
            name=template["metadata"]["name"], source=ClaimVolume(claim_name=_claim_name(meta, template))
        )
        for template in templates
    }
    own = tuple(made.pop(volume.name, volume) for volume in spec.volumes)
    return replace(spec, volumes=(*own, *made.values()))


def _claim_name(meta: ObjectMeta, template: dict[str, Any]) -> str:
    """As of the first pod of a StatefulSet."""
    return f"{template['metadata']['name']}-{meta.name}-0"


def _claim(meta: ObjectMeta, template: dict[str, Any]) -> Claim:
    spec = template["spec"]
    return Claim(
        namespace=meta.namespace,
        name=_claim_name(meta, template),
        annotations=template["metadata"].get("annotations", {}),
        request=spec.get("resources", {}).get("requests", {}).get("storage"),
        **{key: value for key, value in spec.items() if key != "resources"},
    )


def in_template(violations: Iterator[Violation]) -> Iterator[Violation]:
    """The same violations of a pod, where its template stands."""
    for violation in violations:
        yield replace(violation, path=_moved(violation.path))


def _moved(path: Path) -> Path:
    own = path[:2] in (("metadata", "name"), ("metadata", "namespace"))
    return path if own else ("spec", "template", *path)
