"""``downwardAPI``: what the pod says of itself as files. Pure."""

from __future__ import annotations

from nsrun.errors import VolumeError
from nsrun.model.downward import field_value, resource_value
from nsrun.model.environment import FieldRef
from nsrun.model.node import Node
from nsrun.model.pod import Pod
from nsrun.model.running import Attachment
from nsrun.model.volume import DownwardFile, DownwardVolume
from nsrun.volumes.keys import clean_path
from nsrun.volumes.payload import File

__all__ = ["PLUGIN", "downward_files"]

PLUGIN = "kubernetes.io~downward-api"


def downward_files(
    source: DownwardVolume, pod: Pod, node: Node, attachment: Attachment | None, *, mode: int
) -> dict[str, File]:
    """``mode``: of files whose item says none. Raises VolumeError (without the volume's name) for what the pod does not
    have."""
    return {
        clean_path(item.path): File(
            data=_value(item, pod, node, attachment).encode(), mode=mode if item.mode is None else item.mode
        )
        for item in source.items
    }


def _value(item: DownwardFile, pod: Pod, node: Node, attachment: Attachment | None) -> str:
    try:
        if isinstance(item.source, FieldRef):
            return field_value(pod, item.source.field_path, node=node, attachment=attachment)
        return str(resource_value(pod, None, item.source, node=node))
    except (KeyError, StopIteration) as error:
        raise VolumeError(f'file "{item.path}" cannot be made: the pod has no {error}') from error
