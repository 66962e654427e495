"""``secret``: the keys of a Secret as files, which are never on a disk. Pure."""

from __future__ import annotations

from nsrun.errors import VolumeError
from nsrun.model.objects import Objects
from nsrun.model.volume import SecretVolume
from nsrun.model.wording import object_remedy
from nsrun.volumes.keys import key_files
from nsrun.volumes.payload import File

__all__ = ["PLUGIN", "secret_files"]

PLUGIN = "kubernetes.io~secret"


def secret_files(source: SecretVolume, namespace: str, objects: Objects, *, mode: int) -> dict[str, File]:
    """Raises VolumeError (without the volume's name) when the Secret or a key is missing and not optional."""
    found = objects.secrets.get((namespace, source.name))
    if found is None and not source.optional:
        raise VolumeError(
            f'secret "{source.name}" not found',
            hint=object_remedy("Secret", namespace, source.name),
        )
    data = found.data if found is not None else {}
    return key_files(data, source.items, mode=mode, optional=source.optional, what=f'secret "{source.name}"')
