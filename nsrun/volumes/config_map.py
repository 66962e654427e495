"""``configMap``: the keys of a ConfigMap as files. Pure."""

from __future__ import annotations

from nsrun.errors import VolumeError
from nsrun.model.objects import Objects
from nsrun.model.volume import ConfigMapVolume
from nsrun.model.wording import object_remedy
from nsrun.volumes.keys import key_files
from nsrun.volumes.payload import File

__all__ = ["PLUGIN", "config_map_files"]

PLUGIN = "kubernetes.io~configmap"


def config_map_files(source: ConfigMapVolume, namespace: str, objects: Objects, *, mode: int) -> dict[str, File]:
    """Raises VolumeError (without the volume's name) when the ConfigMap or a key is missing and not optional."""
    found = objects.config_maps.get((namespace, source.name))
    if found is None and not source.optional:
        raise VolumeError(
            f'configmap "{source.name}" not found',
            hint=object_remedy("ConfigMap", namespace, source.name),
        )
    data = found.data if found is not None else {}
    return key_files(data, source.items, mode=mode, optional=source.optional, what=f'configmap "{source.name}"')
