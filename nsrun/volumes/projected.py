"""Volumes whose files are made from values: configMap, secret, downwardAPI, and ``projected``, several of them in one
directory. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from nsrun.model.node import Node
from nsrun.model.objects import Objects
from nsrun.model.pod import Pod
from nsrun.model.running import Attachment
from nsrun.model.volume import ConfigMapVolume, DownwardVolume, ProjectedVolume, SecretVolume
from nsrun.volumes import config_map, downward, secret
from nsrun.volumes.payload import File, merged

__all__ = ["FileSource", "Sight", "in_memory", "lacks_objects", "plugin", "volume_files"]

PLUGIN = "kubernetes.io~projected"

FileSource = ConfigMapVolume | SecretVolume | DownwardVolume | ProjectedVolume


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """All that files can be made from. ``attachment`` None: the pod's address is not known."""

    pod: Pod
    objects: Objects
    node: Node
    attachment: Attachment | None


def plugin(source: FileSource) -> str:
    """The directory among the pod's volumes, as the kubelet spells it."""
    match source:
        case ConfigMapVolume():
            return config_map.PLUGIN
        case SecretVolume():
            return secret.PLUGIN
        case DownwardVolume():
            return downward.PLUGIN
        case ProjectedVolume():
            return PLUGIN


def in_memory(source: FileSource) -> bool:
    """Whether nothing of it may be on a disk: everything but ConfigMaps, as with the kubelet."""
    return not isinstance(source, ConfigMapVolume)


def volume_files(source: FileSource, sight: Sight) -> tuple[dict[str, File], tuple[str, ...]]:
    """The files by path, and the paths that several sources of a projected volume have: the last one's is shown.
    Raises VolumeError (without the volume's name) for what is missing and not optional."""
    if not isinstance(source, ProjectedVolume):
        return _files(source, sight, source.default_mode), ()
    files, twice = merged(_files(part, sight, source.default_mode) for part in source.sources)
    return files, tuple(twice)


def lacks_objects(source: FileSource, sight: Sight) -> bool:
    """Whether a ConfigMap or Secret that it needs is not there."""
    namespace = sight.pod.metadata.namespace
    match source:
        case ConfigMapVolume():
            return not source.optional and (namespace, source.name) not in sight.objects.config_maps
        case SecretVolume():
            return not source.optional and (namespace, source.name) not in sight.objects.secrets
        case DownwardVolume():
            return False
        case ProjectedVolume():
            return any(lacks_objects(part, sight) for part in source.sources)


def _files(source: ConfigMapVolume | SecretVolume | DownwardVolume, sight: Sight, mode: int) -> dict[str, File]:
    namespace = sight.pod.metadata.namespace
    match source:
        case ConfigMapVolume():
            return config_map.config_map_files(source, namespace, sight.objects, mode=mode)
        case SecretVolume():
            return secret.secret_files(source, namespace, sight.objects, mode=mode)
        case DownwardVolume():
            return downward.downward_files(source, sight.pod, sight.node, sight.attachment, mode=mode)
