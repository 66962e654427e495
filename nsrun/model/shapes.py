"""Every object of a Pod manifest as a table: what nsrun acts on, and what else Kubernetes knows (core/v1 types.go).

To act on one more field: move its name from ``ignored`` or ``refused`` to ``fields``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from nsrun.model import defaults
from nsrun.model.container import Container, ContainerPort, Protocol, PullPolicy
from nsrun.model.environment import EnvVar
from nsrun.model.fields import (
    MISSING,
    Missing,
    Place,
    Shape,
    boolean,
    choice,
    describe,
    integer,
    list_of,
    mapping_of,
    means_nothing,
    quantity,
    text,
)
from nsrun.model.pod import ObjectMeta, Pod, PodSpec, RestartPolicy
from nsrun.model.resources import Quantity, ResourceRequirements
from nsrun.model.security import PodSecurityContext, SecurityContext
from nsrun.model.tree import MapNode
from nsrun.model.volume import (
    EmptyDir,
    EmptyDirMedium,
    HostPath,
    HostPathType,
    Volume,
    VolumeMount,
    VolumeSource,
)
from nsrun.model.wording import suggestion, words

__all__ = ["POD"]


def _without(*names: str) -> Mapping[str, object]:
    """Fields that mean nothing only when they are null or empty."""
    return dict.fromkeys(names)


TEXTS = list_of(text, "")

ENV = Shape(
    build=EnvVar,
    blank={"name": ""},
    required=frozenset({"name"}),
    fields={"name": ("name", text), "value": ("value", text)},
    refused=_without("valueFrom"),
)

PORT = Shape(
    build=ContainerPort,
    blank={"container_port": 0},
    required=frozenset({"containerPort"}),
    fields={
        "name": ("name", text),
        "containerPort": ("container_port", integer),
        "hostPort": ("host_port", integer),
        "hostIP": ("host_ip", text),
        "protocol": ("protocol", choice(Protocol)),
    },
)

MOUNT = Shape(
    build=VolumeMount,
    blank={"name": "", "mount_path": ""},
    required=frozenset({"name", "mountPath"}),
    fields={
        "name": ("name", text),
        "mountPath": ("mount_path", text),
        "readOnly": ("read_only", boolean),
    },
    ignored={"mountPropagation": "None", "recursiveReadOnly": "Disabled"},
    refused={"subPath": "", "subPathExpr": ""},
)


def _resources(
    requests: Mapping[str, Quantity] | None = None, limits: Mapping[str, Quantity] | None = None
) -> ResourceRequirements:
    limits = limits or {}
    return ResourceRequirements(requests=defaults.requests(requests or {}, limits), limits=limits)


RESOURCES = Shape(
    build=_resources,
    fields={"requests": ("requests", mapping_of(quantity)), "limits": ("limits", mapping_of(quantity))},
    ignored=_without("claims"),
)

CAPABILITIES: Shape[dict[str, tuple[str, ...]]] = Shape(
    build=dict, fields={"add": ("capabilities_add", TEXTS), "drop": ("capabilities_drop", TEXTS)}
)


def _security_context(capabilities: Mapping[str, tuple[str, ...]] | None = None, **values: object) -> SecurityContext:
    return SecurityContext(**values, **(capabilities or {}))  # type: ignore[arg-type]


SECURITY_CONTEXT = Shape(
    build=_security_context,
    fields={
        "runAsUser": ("run_as_user", integer),
        "runAsGroup": ("run_as_group", integer),
        "runAsNonRoot": ("run_as_non_root", boolean),
        "readOnlyRootFilesystem": ("read_only_root_filesystem", boolean),
        "allowPrivilegeEscalation": ("allow_privilege_escalation", boolean),
        "capabilities": ("capabilities", CAPABILITIES),
    },
    ignored={
        **_without("seLinuxOptions", "windowsOptions"),
        "appArmorProfile": {"type": "RuntimeDefault"},
        "privileged": False,
        "procMount": "Default",
        "seccompProfile": {"type": "RuntimeDefault"},
    },
)

POD_SECURITY_CONTEXT = Shape(
    build=SecurityContext,
    fields={
        "runAsUser": ("run_as_user", integer),
        "runAsGroup": ("run_as_group", integer),
        "runAsNonRoot": ("run_as_non_root", boolean),
    },
    ignored={
        **_without("fsGroup", "seLinuxOptions", "supplementalGroups", "sysctls", "windowsOptions"),
        "appArmorProfile": {"type": "RuntimeDefault"},
        "fsGroupChangePolicy": "Always",
        "seLinuxChangePolicy": "MountOption",
        "seccompProfile": {"type": "RuntimeDefault"},
        "supplementalGroupsPolicy": "Merge",
    },
)


def _container(*, image: str, image_pull_policy: PullPolicy | None = None, **values: object) -> Container:
    policy = image_pull_policy or defaults.pull_policy(image)
    return Container(image=image, image_pull_policy=policy, **values)  # type: ignore[arg-type]


CONTAINER = Shape(
    build=_container,
    blank={"name": "", "image": ""},
    required=frozenset({"name", "image"}),
    fields={
        "name": ("name", text),
        "image": ("image", text),
        "imagePullPolicy": ("image_pull_policy", choice(PullPolicy)),
        "command": ("command", TEXTS),
        "args": ("args", TEXTS),
        "workingDir": ("working_dir", text),
        "env": ("env", list_of(ENV, EnvVar(name=""))),
        "ports": ("ports", list_of(PORT, ContainerPort(container_port=0))),
        "volumeMounts": ("volume_mounts", list_of(MOUNT, VolumeMount(name="", mount_path=""))),
        "resources": ("resources", RESOURCES),
        "securityContext": ("security_context", SECURITY_CONTEXT),
    },
    ignored={
        **_without("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"),
        **_without("resizePolicy", "restartPolicy", "restartPolicyRules"),
        "stdin": False,
        "stdinOnce": False,
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "tty": False,
    },
    refused=_without("envFrom", "volumeDevices"),
)


EMPTY_DIR = Shape(
    build=EmptyDir,
    fields={"medium": ("medium", choice(EmptyDirMedium)), "sizeLimit": ("size_limit", quantity)},
)
HOST_PATH = Shape(
    build=HostPath,
    blank={"path": ""},
    required=frozenset({"path"}),
    fields={"path": ("path", text), "type": ("type", choice(HostPathType))},
)
SOURCES: Mapping[str, Shape[EmptyDir] | Shape[HostPath]] = {"emptyDir": EMPTY_DIR, "hostPath": HOST_PATH}
OTHER_SOURCES = words("""
    awsElasticBlockStore azureDisk azureFile cephfs cinder configMap csi downwardAPI ephemeral fc flexVolume
    flocker gcePersistentDisk gitRepo glusterfs image iscsi nfs persistentVolumeClaim photonPersistentDisk
    portworxVolume projected quobyte rbd scaleIO secret storageos vsphereVolume
""")
"""An emptyDir in their place would look like data that is lost: they are refused."""

VOLUME_NAME: Shape[dict[str, str]] = Shape(
    build=dict,
    fields={"name": ("name", text)},
    required=frozenset({"name"}),
    silent=frozenset({*SOURCES, *OTHER_SOURCES}),
)


def _volume(place: Place) -> Volume | Missing:
    """A name and one source."""
    named = VOLUME_NAME(place)
    if not isinstance(place.node, MapNode):
        return MISSING
    sources: list[VolumeSource] = []
    for entry in place.node.entries:
        if entry.key in OTHER_SOURCES:
            place.problem(f"is not supported yet: use {' or '.join(SOURCES)}", at=entry)
        elif entry.key in SOURCES:
            if sources:
                place.problem("must not stand beside another source: a volume has one", at=entry)
            sources.append(_source(place.child(entry.key, entry.value)))
    return Volume(name=named.get("name", ""), source=sources[0] if sources else defaults.volume_source())


def _source(place: Place) -> VolumeSource:
    """A source that is named and left empty (``emptyDir:``) is that source, with its defaults."""
    shape = SOURCES[str(place.path[-1])]
    if means_nothing(place.node) and not isinstance(place.node, MapNode):
        empty = MapNode(line=place.node.line, column=place.node.column, entries=(), size=1, height=0)
        return shape(Place(empty, place.path, place.report))
    return shape(place)


def _spec(*, security_context: SecurityContext | None = None, **values: object) -> PodSpec:
    spec = PodSpec(**values)  # type: ignore[arg-type]
    if security_context is None:
        return spec
    containers = tuple(
        replace(container, security_context=defaults.security_context(container.security_context, security_context))
        for container in spec.containers
    )
    return replace(spec, containers=containers, security_context=PodSecurityContext(shared=security_context))


SPEC = Shape(
    build=_spec,
    blank={"containers": ()},
    required=frozenset({"containers"}),
    fields={
        "containers": ("containers", list_of(CONTAINER, _container(name="", image=""))),
        "volumes": ("volumes", list_of(_volume, Volume(name="", source=defaults.volume_source()))),
        "restartPolicy": ("restart_policy", choice(RestartPolicy)),
        "terminationGracePeriodSeconds": ("termination_grace_period_seconds", integer),
        "securityContext": ("security_context", POD_SECURITY_CONTEXT),
    },
    silent=frozenset({"nodeName"}),
    ignored={
        **_without("activeDeadlineSeconds", "affinity", "automountServiceAccountToken", "dnsConfig", "hostAliases"),
        **_without("hostname", "hostnameOverride", "imagePullSecrets", "nodeSelector", "overhead", "priorityClassName"),
        **_without("readinessGates", "resourceClaims", "resources", "runtimeClassName", "schedulingGates"),
        **_without("schedulingGroup", "subdomain", "tolerations", "topologySpreadConstraints", "workloadRef"),
        "dnsPolicy": "ClusterFirst",
        "enableServiceLinks": True,
        "hostIPC": False,
        "hostNetwork": False,
        "hostPID": False,
        "os": {"name": "linux"},
        "preemptionPolicy": "PreemptLowerPriority",
        "priority": 0,
        "schedulerName": "default-scheduler",
        "serviceAccount": "default",
        "serviceAccountName": "default",
        "setHostnameAsFQDN": False,
        "shareProcessNamespace": False,
    },
    refused={**_without("ephemeralContainers", "initContainers"), "hostUsers": True},
)

METADATA = Shape(
    build=ObjectMeta,
    blank={"name": "", "namespace": defaults.NAMESPACE, "uid": ""},
    required=frozenset({"name"}),
    fields={
        "name": ("name", text),
        "namespace": ("namespace", text),
        "uid": ("uid", text),
        "labels": ("labels", mapping_of(text, null="")),
        "annotations": ("annotations", mapping_of(text, null="")),
    },
    silent=words("""
    creationTimestamp deletionGracePeriodSeconds deletionTimestamp finalizers generateName generation
    managedFields ownerReferences resourceVersion selfLink
"""),
)


def _version(place: Place) -> str | Missing:
    value = text(place)
    return value if value in ("v1", MISSING) else place.problem(f'must be "v1", not {describe(place.node)}')


def _kind(place: Place) -> str | Missing:
    value = text(place)
    if value in ("Pod", MISSING):
        return value
    return place.problem(f'must be "Pod", not {describe(place.node)}{suggestion(str(value), ["Pod"])}')


def _pod(*, metadata: ObjectMeta, spec: PodSpec, **_: str) -> Pod:
    return Pod(metadata=metadata, spec=spec)


POD = Shape(
    build=_pod,
    blank={
        "metadata": ObjectMeta(name="", namespace=defaults.NAMESPACE, uid=""),
        "spec": PodSpec(containers=()),
    },
    required=frozenset({"apiVersion", "kind", "metadata", "spec"}),
    fields={
        "apiVersion": ("api_version", _version),
        "kind": ("kind", _kind),
        "metadata": ("metadata", METADATA),
        "spec": ("spec", SPEC),
    },
    silent=frozenset({"status"}),
)
