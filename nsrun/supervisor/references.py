"""What of the documents beside it a pod refers to: so that it is told only of what concerns it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nsrun.model.environment import KeyRef, ObjectKind
from nsrun.model.objects import Objects
from nsrun.model.pod import Pod
from nsrun.model.volume import (
    ClaimVolume,
    ConfigMapVolume,
    DownwardVolume,
    ProjectedVolume,
    SecretVolume,
    VolumeSource,
)

__all__ = ["environment_view", "pull_view", "shows_itself", "volume_view"]

View = Mapping[tuple[ObjectKind, str], object]
"""Of each document that is referred to, by kind and name: what it says, None for one that is missing."""


def volume_view(pod: Pod, objects: Objects) -> View:
    """What the pod's volumes are made from. Two views are equal when nothing in them differs."""
    wanted = {reference for volume in pod.spec.volumes for reference in _of_source(volume.source)}
    view = _view(pod, objects, wanted)
    if any(kind is ObjectKind.CLAIM for kind, _ in wanted):
        # Any volume may come to fit the claim.
        return {**view, **{(ObjectKind.VOLUME, name): volume for name, volume in objects.volumes.items()}}
    return view


def environment_view(pod: Pod, objects: Objects) -> View:
    """What the variables of the pod's containers are made from."""
    return _view(pod, objects, set(_of_variables(pod)))


def pull_view(pod: Pod, objects: Objects) -> View:
    """What the pod's images are pulled with."""
    return _view(pod, objects, {(ObjectKind.SECRET, name) for name in pod.spec.image_pull_secrets})


def shows_itself(pod: Pod) -> bool:
    """Whether a volume shows fields of the pod."""
    return any(isinstance(source, DownwardVolume) for volume in pod.spec.volumes for source in _parts(volume.source))


def _parts(source: VolumeSource) -> tuple[VolumeSource, ...]:
    return source.sources if isinstance(source, ProjectedVolume) else (source,)


def _of_source(source: VolumeSource) -> Iterator[tuple[ObjectKind, str]]:
    for part in _parts(source):
        match part:
            case ConfigMapVolume():
                yield ObjectKind.CONFIG_MAP, part.name
            case SecretVolume():
                yield ObjectKind.SECRET, part.name
            case ClaimVolume():
                yield ObjectKind.CLAIM, part.claim_name
            case _:
                pass


def _of_variables(pod: Pod) -> Iterator[tuple[ObjectKind, str]]:
    for container in pod.all_containers:
        for all_keys in container.env_from:
            yield all_keys.kind, all_keys.name
        for variable in container.env:
            if isinstance(variable.source, KeyRef):
                yield variable.source.kind, variable.source.name


def _view(pod: Pod, objects: Objects, wanted: set[tuple[ObjectKind, str]]) -> View:
    found: Mapping[ObjectKind, Mapping[tuple[str, str], object]] = {
        ObjectKind.CONFIG_MAP: objects.config_maps,
        ObjectKind.SECRET: objects.secrets,
        ObjectKind.CLAIM: objects.claims,
    }
    namespace = pod.metadata.namespace
    return {(kind, name): found[kind].get((namespace, name)) for kind, name in wanted}
