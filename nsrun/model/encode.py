"""Values → the JSON objects of core/v1, as the kubelet gives them. ``decode_pod`` reads a pod back to the equal one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nsrun.model.container import Container, ContainerPort, SecurityContext
from nsrun.model.encode_status import encode_deletion, encode_status
from nsrun.model.pod import ObjectMeta, Pod, PodSpec
from nsrun.model.quantity import canonical
from nsrun.model.resources import Quantity
from nsrun.model.status import PodStatus
from nsrun.model.volume import EmptyDir, Volume, VolumeMount

__all__ = ["encode_pod"]

Json = dict[str, Any]


def encode_pod(pod: Pod, status: PodStatus | None = None, *, node_name: str = "", seen: str = "") -> Json:
    """A v1.Pod. ``seen``: when the pod was first seen, RFC 3339; it and ``node_name`` are left out when empty."""
    metadata = _metadata(pod.metadata)
    if seen:
        metadata.setdefault("annotations", {})["kubernetes.io/config.seen"] = seen
    spec = _spec(pod.spec)
    if node_name:
        spec["nodeName"] = node_name
    document: Json = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    if status is not None:
        metadata.update(encode_deletion(status))
        document["status"] = encode_status(status)
    return document


def _said(**fields: object) -> Json:
    """The fields that say something: not None, not empty, not 0. An empty string, list or number is never written."""
    return {name: value for name, value in fields.items() if value}


def _metadata(meta: ObjectMeta) -> Json:
    return {
        "name": meta.name,
        "namespace": meta.namespace,
        **_said(uid=meta.uid, labels=dict(meta.labels), annotations=dict(meta.annotations)),
    }


def _spec(spec: PodSpec) -> Json:
    return {
        **_said(volumes=[_volume(volume) for volume in spec.volumes]),
        "containers": [_container(container) for container in spec.containers],
        "restartPolicy": str(spec.restart_policy),
        "terminationGracePeriodSeconds": spec.termination_grace_period_seconds,
    }


def _volume(volume: Volume) -> Json:
    source = volume.source
    if isinstance(source, EmptyDir):
        limit = None if source.size_limit is None else canonical(source.size_limit)
        return {"name": volume.name, "emptyDir": _said(medium=str(source.medium), sizeLimit=limit)}
    return {"name": volume.name, "hostPath": {"path": source.path, "type": str(source.type)}}


def _container(container: Container) -> Json:
    document: Json = {"name": container.name, "image": container.image}
    # An empty list is not the same as none: ``command: []`` is written as it was read.
    if container.command is not None:
        document["command"] = list(container.command)
    if container.args is not None:
        document["args"] = list(container.args)
    return {
        **document,
        **_said(
            workingDir=container.working_dir,
            ports=[_port(port) for port in container.ports],
            env=[{"name": variable.name, **_said(value=variable.value)} for variable in container.env],
        ),
        "resources": _said(
            limits=_quantities(container.resources.limits), requests=_quantities(container.resources.requests)
        ),
        **_said(volumeMounts=[_mount(mount) for mount in container.volume_mounts]),
        "imagePullPolicy": str(container.image_pull_policy),
        **_said(securityContext=_security(container.security_context)),
    }


def _quantities(quantities: Mapping[str, Quantity]) -> dict[str, str]:
    return {name: canonical(quantity) for name, quantity in quantities.items()}


def _port(port: ContainerPort) -> Json:
    return {
        **_said(name=port.name, hostPort=port.host_port),
        "containerPort": port.container_port,
        "protocol": str(port.protocol),
        **_said(hostIP=port.host_ip),
    }


def _mount(mount: VolumeMount) -> Json:
    return {"name": mount.name, **_said(readOnly=mount.read_only), "mountPath": mount.mount_path}


def _security(context: SecurityContext) -> Json:
    capabilities = _said(add=list(context.capabilities_add), drop=list(context.capabilities_drop))
    said = {
        "runAsUser": context.run_as_user,
        "runAsGroup": context.run_as_group,
        "runAsNonRoot": context.run_as_non_root,
        "readOnlyRootFilesystem": context.read_only_root_filesystem or None,
        "allowPrivilegeEscalation": context.allow_privilege_escalation,
        "capabilities": capabilities or None,
    }
    return {name: value for name, value in said.items() if value is not None}
