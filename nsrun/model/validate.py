"""What must hold of a pod, beyond the types of its fields (k8s.io/kubernetes/pkg/apis/core/validation/validation.go).

Takes a decoded, defaulted pod; gives a violation for every rule that is broken, with the path of the field.
"""

from __future__ import annotations

import ipaddress
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from nsrun.model import names
from nsrun.model.container import Container, ContainerPort, EnvVar, SecurityContext
from nsrun.model.pod import ObjectMeta, Pod
from nsrun.model.quantity import canonical
from nsrun.model.resources import ResourceRequirements
from nsrun.model.volume import EmptyDir, HostPath, Volume, VolumeMount
from nsrun.model.wording import Path, quoted, render_path

__all__ = ["ACTED_ON", "Violation", "validate", "warnings"]

LARGEST_ID = (1 << 31) - 1
LARGEST_GRACE = (1 << 31) - 1
LARGEST_ANNOTATIONS = 256 << 10
LONGEST_FILE_NAME = 255
DERIVED_UID = 32
"""Length of the UIDs that nsrun makes."""

ACTED_ON = frozenset({"cpu", "memory"})
"""Resources nsrun enforces; the others are recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A broken rule. ``on_key``: the fault is in the key that ends the path, not in its value."""

    path: Path
    text: str
    on_key: bool = False


def validate(pod: Pod) -> Iterator[Violation]:
    """Every broken rule, in no particular order."""
    yield from _metadata(pod.metadata)
    spec: Path = ("spec",)
    grace = pod.spec.termination_grace_period_seconds
    if not 0 <= grace <= LARGEST_GRACE:
        text = f"must be between 0 and {LARGEST_GRACE}, not {grace}"
        yield Violation(path=(*spec, "terminationGracePeriodSeconds"), text=text)
    if not pod.spec.containers:
        yield Violation(path=(*spec, "containers"), text="must hold at least one container")
    for index, volume in enumerate(pod.spec.volumes):
        yield from _volume(volume, (*spec, "volumes", index))
    yield from _unique([volume.name for volume in pod.spec.volumes], (*spec, "volumes"), "name")
    for index, container in enumerate(pod.spec.containers):
        yield from _container(container, pod.spec.volumes, (*spec, "containers", index))
    yield from _unique([container.name for container in pod.spec.containers], (*spec, "containers"), "name")
    yield from _host_ports(pod.spec.containers)


def warnings(pod: Pod) -> Iterator[Violation]:
    """What is valid and hardly meant."""
    for index, container in enumerate(pod.spec.containers):
        limits, asked = container.resources.limits, container.resources.requests
        unlimited = {name: quantity for name, quantity in asked.items() if limits.get(name) != quantity}
        for side, quantities in (("limits", limits), ("requests", unlimited)):
            for name, quantity in quantities.items():
                path: Path = ("spec", "containers", index, "resources", side, name)
                if name == "memory" and quantity.milli % 1000:
                    text = f"{quantity.text} is less than whole bytes: {quantity.text.rstrip('m')}M are megabytes"
                    yield Violation(path=path, text=text)
                elif name not in ACTED_ON:
                    yield Violation(path=path, text="is not supported yet, ignored", on_key=True)


def _said(path: Path, text: str | None, *, on_key: bool = False) -> Iterator[Violation]:
    if text is not None:
        yield Violation(path=path, text=text, on_key=on_key)


def _unique(values: Sequence[str], path: Path, key: str) -> Iterator[Violation]:
    """Empty values stand for missing ones, about which enough is said."""
    seen: dict[str, int] = {}
    for index, value in enumerate(values):
        if value and value in seen:
            first = render_path((*path, seen[value]))
            yield Violation(path=(*path, index, key), text=f"must be unique: {first} has {quoted(value)} already")
        seen.setdefault(value, index)


def _metadata(meta: ObjectMeta) -> Iterator[Violation]:
    top: Path = ("metadata",)
    yield from _said((*top, "name"), names.dns_subdomain(meta.name))
    yield from _said((*top, "namespace"), names.dns_label(meta.namespace))
    if meta.uid:
        yield from _said((*top, "uid"), names.pod_uid(meta.uid))
    # The pod's log directory is <namespace>_<name>_<uid>, and no file name is longer than 255.
    room = LONGEST_FILE_NAME - min(len(meta.namespace), 63) - min(len(meta.uid) or DERIVED_UID, 63) - 2
    if room < len(meta.name) <= 253:
        text = f"must be at most {room} characters in namespace {quoted(meta.namespace)}, not {len(meta.name)}"
        yield Violation(path=(*top, "name"), text=text)
    for key, value in meta.labels.items():
        path = (*top, "labels", key)
        yield from _said(path, names.qualified_name(key), on_key=True)
        yield from _said(path, names.label_value(value))
    for key in meta.annotations:
        yield from _said((*top, "annotations", key), names.qualified_name(key.lower()), on_key=True)
    total = sum(len(key.encode()) + len(value.encode()) for key, value in meta.annotations.items())
    if total > LARGEST_ANNOTATIONS:
        text = f"must be at most {LARGEST_ANNOTATIONS} bytes together, not {total}"
        yield Violation(path=(*top, "annotations"), text=text)


def _volume(volume: Volume, path: Path) -> Iterator[Violation]:
    yield from _said((*path, "name"), names.dns_label(volume.name))
    match volume.source:
        case EmptyDir(size_limit=limit):
            if limit is not None and limit.milli < 0:
                text = f"must be 0 or more, not {limit.text}"
                yield Violation(path=(*path, "emptyDir", "sizeLimit"), text=text)
        case HostPath(path=host_path):
            yield from _said((*path, "hostPath", "path"), _absolute(host_path))


def _absolute(path: str) -> str | None:
    if not path.startswith("/"):
        return f"must be an absolute path, not {quoted(path)}"
    return f'must not hold "..", as {quoted(path)} does' if ".." in path.split("/") else None


def _container(container: Container, volumes: Iterable[Volume], path: Path) -> Iterator[Violation]:
    yield from _said((*path, "name"), names.dns_label(container.name))
    if any(not c.isprintable() or c.isspace() for c in container.image):
        yield Violation(path=(*path, "image"), text=f"must not hold spaces, as {quoted(container.image)} does")
    if container.working_dir and not container.working_dir.startswith("/"):
        text = f"must be an absolute path, not {quoted(container.working_dir)}"
        yield Violation(path=(*path, "workingDir"), text=text)
    if container.command and not container.command[0]:
        yield Violation(path=(*path, "command", 0), text="must name a program, not be empty")
    yield from _env(container.env, (*path, "env"))
    for index, port in enumerate(container.ports):
        yield from _port(port, (*path, "ports", index))
    yield from _unique([port.name for port in container.ports], (*path, "ports"), "name")
    yield from _mounts(container.volume_mounts, {volume.name for volume in volumes}, (*path, "volumeMounts"))
    yield from _resources(container.resources, (*path, "resources"))
    yield from _security(container.security_context, (*path, "securityContext"))


def _env(env: Sequence[EnvVar], path: Path) -> Iterator[Violation]:
    for index, variable in enumerate(env):
        yield from _said((*path, index, "name"), names.env_name(variable.name))


def _port(port: ContainerPort, path: Path) -> Iterator[Violation]:
    if port.name:
        yield from _said((*path, "name"), names.port_name(port.name))
    if not 1 <= port.container_port <= 65535:
        text = f"must be between 1 and 65535, not {port.container_port}"
        yield Violation(path=(*path, "containerPort"), text=text)
    if port.host_port and not 1 <= port.host_port <= 65535:
        yield Violation(path=(*path, "hostPort"), text=f"must be between 1 and 65535, not {port.host_port}")
    if port.host_ip and not _is_address(port.host_ip):
        yield Violation(path=(*path, "hostIP"), text=f"must be an IP address, not {quoted(port.host_ip)}")


def _is_address(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in str(address)


def _host_ports(containers: Sequence[Container]) -> Iterator[Violation]:
    """Two containers of a pod cannot have the same port of the host; no address means every address."""
    taken: list[tuple[ContainerPort, Path]] = []
    for c, container in enumerate(containers):
        for p, port in enumerate(container.ports):
            path: Path = ("spec", "containers", c, "ports", p)
            for other, where in taken:
                if _collide(port, other):
                    text = f"must be unique: {render_path(where)} has {port.host_port}/{port.protocol} already"
                    yield Violation(path=(*path, "hostPort"), text=text)
                    break
            if port.host_port:
                taken.append((port, path))


def _collide(one: ContainerPort, other: ContainerPort) -> bool:
    if (one.host_port, one.protocol) != (other.host_port, other.protocol):
        return False
    everywhere = ("", "0.0.0.0", "::")
    return one.host_ip == other.host_ip or one.host_ip in everywhere or other.host_ip in everywhere


def _mounts(mounts: Sequence[VolumeMount], volumes: set[str], path: Path) -> Iterator[Violation]:
    for index, mount in enumerate(mounts):
        if mount.name and mount.name not in volumes and "" not in volumes:
            text = f"must be one of the pod's volumes, not {quoted(mount.name)}"
            yield Violation(path=(*path, index, "name"), text=text)
        yield from _said((*path, index, "mountPath"), _mount_path(mount.mount_path))
    normal = [posixpath.normpath(mount.mount_path) if mount.mount_path else "" for mount in mounts]
    yield from _unique(normal, path, "mountPath")


def _mount_path(path: str) -> str | None:
    if ":" in path:
        return f'must not hold ":", as {quoted(path)} does'
    if path.startswith("/") and not path.strip("/."):
        return f"must be below the root directory, not {quoted(path)}"
    return _absolute(path)


def _resources(resources: ResourceRequirements, path: Path) -> Iterator[Violation]:
    # What is only asked for because it is limited was not written, and is spoken about once.
    asked_for = {name: asked for name, asked in resources.requests.items() if resources.limits.get(name) != asked}
    for side, quantities in (("limits", resources.limits), ("requests", asked_for)):
        for name, quantity in quantities.items():
            yield from _said((*path, side, name), _resource_name(name), on_key=True)
            if quantity.milli < 0:
                yield Violation(path=(*path, side, name), text=f"must be 0 or more, not {quantity.text}")
    for name, asked in resources.requests.items():
        limit = resources.limits.get(name)
        if limit is not None and asked > limit:
            text = f"must be at most the limit, {canonical(limit)}, not {canonical(asked)}"
            yield Violation(path=(*path, "requests", name), text=text)


def _resource_name(name: str) -> str | None:
    if name in ("cpu", "memory", "ephemeral-storage") or name.startswith("hugepages-"):
        return None
    if "/" in name:
        return names.qualified_name(name)
    return f"must be cpu, memory, ephemeral-storage, hugepages-<size> or <domain>/<name>, not {quoted(name)}"


def _security(context: SecurityContext, path: Path) -> Iterator[Violation]:
    for key, value in (("runAsUser", context.run_as_user), ("runAsGroup", context.run_as_group)):
        if value is not None and not 0 <= value <= LARGEST_ID:
            yield Violation(path=(*path, key), text=f"must be between 0 and {LARGEST_ID}, not {value}")
    for key, listed in (("add", context.capabilities_add), ("drop", context.capabilities_drop)):
        for index, name in enumerate(listed):
            yield from _said((*path, "capabilities", key, index), names.capability(name))
