"""A container with everything filled in that only this moment knows: its variables from ConfigMaps, Secrets and the
pod's own fields, and every ``$(VAR)`` (kubelet: pkg/kubelet/kubelet_pods.go, makeEnvironmentVariables)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from nsrun.errors import RuntimeFailure
from nsrun.model.container import Container
from nsrun.model.downward import field_value, resource_value
from nsrun.model.environment import EnvFrom, EnvVar, FieldRef, KeyRef, ObjectKind, ResourceFieldRef
from nsrun.model.expansion import expand, referred
from nsrun.model.node import Node
from nsrun.model.objects import ConfigMap, Objects, Secret
from nsrun.model.pod import Pod
from nsrun.model.probe import Exec, Probe
from nsrun.model.running import Attachment
from nsrun.model.volume import VolumeMount
from nsrun.model.wording import object_remedy

__all__ = ["resolved"]


def resolved(
    pod: Pod, container: Container, *, objects: Objects, node: Node, attachment: Attachment | None
) -> Container:
    """The container with literal variables, each name once; commands, arguments and ``subPathExpr`` expanded.

    Variables of ``envFrom`` come first, then those of ``env``, in order; a later one of the same name wins, and a value
    may refer to those before it. Commands of exec probes are expanded with what the manifest says literally, and those
    of hooks are not, as by the kubelet. Raises RuntimeFailure with the reason CreateContainerConfigError.
    """
    values: dict[str, str] = {}
    for source in container.env_from:
        values.update(_from_object(pod, source, objects))
    for variable in container.env:
        value = _value(pod, container, variable, values, objects=objects, node=node, attachment=attachment)
        if value is not None:
            values.pop(variable.name, None)
            values[variable.name] = value
    return replace(
        container,
        env=tuple(EnvVar(name=name, value=value) for name, value in values.items()),
        env_from=(),
        command=_expanded(container.command, values),
        args=_expanded(container.args, values),
        volume_mounts=tuple(_mount(mount, values) for mount in container.volume_mounts),
        startup_probe=_probe(container.startup_probe, container),
        liveness_probe=_probe(container.liveness_probe, container),
        readiness_probe=_probe(container.readiness_probe, container),
    )


def _failure(message: str, hint: str | None = None) -> RuntimeFailure:
    return RuntimeFailure(message, reason="CreateContainerConfigError", hint=hint)


def _from_object(pod: Pod, source: EnvFrom, objects: Objects) -> Mapping[str, str]:
    found = _object(pod, source.kind, source.name, objects, optional=source.optional)
    if found is None:
        return {}
    return {source.prefix + key: _text(source.kind, found, key) for key in sorted(found.data)}


def _value(
    pod: Pod,
    container: Container,
    variable: EnvVar,
    values: Mapping[str, str],
    *,
    objects: Objects,
    node: Node,
    attachment: Attachment | None,
) -> str | None:
    """None: an optional one that has no value, and is left out."""
    match variable.source:
        case None:
            return expand(variable.value, values)
        case FieldRef(field_path=path):
            return field_value(pod, path, node=node, attachment=attachment)
        case ResourceFieldRef():
            return str(resource_value(pod, container, variable.source, node=node))
        case KeyRef():
            return _key(pod, variable.source, objects)


def _key(pod: Pod, ref: KeyRef, objects: Objects) -> str | None:
    found = _object(pod, ref.kind, ref.name, objects, optional=ref.optional)
    if found is not None and ref.key in found.data:
        return _text(ref.kind, found, ref.key)
    if ref.optional:
        return None
    raise _failure(f"couldn't find key {ref.key} in {ref.kind} {pod.metadata.namespace}/{ref.name}")


def _object(pod: Pod, kind: ObjectKind, name: str, objects: Objects, *, optional: bool) -> ConfigMap | Secret | None:
    known: Mapping[tuple[str, str], ConfigMap | Secret]
    known = objects.secrets if kind is ObjectKind.SECRET else objects.config_maps
    found = known.get((pod.metadata.namespace, name))
    if found is None and not optional:
        raise _failure(
            f'{kind.lower()} "{name}" not found',
            hint=object_remedy(kind, pod.metadata.namespace, name),
        )
    return found


def _text(kind: ObjectKind, found: ConfigMap | Secret, key: str) -> str:
    """A variable is text. The value is not said: it may be a secret."""
    try:
        text = found.data[key].decode()
    except UnicodeDecodeError:
        raise _failure(f"key {key} of {kind} {found.namespace}/{found.name} is not UTF-8 text") from None
    if "\0" in text:
        raise _failure(f"key {key} of {kind} {found.namespace}/{found.name} holds a NUL character")
    return text


def _expanded(words: tuple[str, ...] | None, values: Mapping[str, str]) -> tuple[str, ...] | None:
    return None if words is None else tuple(expand(word, values) for word in words)


def _mount(mount: VolumeMount, values: Mapping[str, str]) -> VolumeMount:
    """``subPathExpr`` must be complete: a directory named ``$(X)``, or the whole volume, is not what was meant. What it
    expands to is not said: it may hold a secret."""
    if not mount.sub_path_expr:
        return mount
    missing = sorted({name for name in referred(mount.sub_path_expr) if not values.get(name)})
    if missing:
        raise _failure(f"missing value for {', '.join(missing)}")
    path = expand(mount.sub_path_expr, values)
    if path.startswith("/"):
        raise _failure(f"error SubPath `{mount.sub_path_expr}` must not be an absolute path")
    if ".." in path.split("/"):
        raise _failure(f"unable to provision SubPath `{mount.sub_path_expr}`: must not contain '..'")
    return replace(mount, sub_path=path, sub_path_expr="")


def _probe(probe: Probe | None, container: Container) -> Probe | None:
    """What comes from elsewhere is not known to a probe (kubelet: ExpandContainerCommandOnlyStatic)."""
    if probe is None or not isinstance(probe.action, Exec):
        return probe
    literal = {variable.name: variable.value for variable in container.env if variable.source is None}
    command = tuple(expand(word, literal) for word in probe.action.command)
    return replace(probe, action=replace(probe.action, command=command))
