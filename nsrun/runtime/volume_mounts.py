"""The manifest's volume mounts as mounts of an OCI configuration. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from nsrun.model.running import PreparedVolume
from nsrun.model.volume import MountPropagation, RecursiveReadOnly, VolumeMount
from nsrun.runtime.ociconfig import Mount

__all__ = ["is_read_only", "volume_mount"]

# The kubelet's words in mount(8)'s, recursive as its binds are.
_PROPAGATION: Mapping[MountPropagation, str] = MappingProxyType(
    {
        MountPropagation.NONE: "rprivate",
        MountPropagation.HOST_TO_CONTAINER: "rslave",
        MountPropagation.BIDIRECTIONAL: "rshared",
    }
)


def volume_mount(asked: VolumeMount, volume: PreparedVolume, destination: str) -> Mount:
    """What a container sees at ``destination``. ``rro``: read-only with all that is mounted below. What layers of an
    image show can only be read, and nothing in it is a device, a set-ID program, or a program at all."""
    if volume.layers:
        options = [f"lowerdir={':'.join(volume.layers)}", "ro", "nosuid", "nodev", "noexec"]
        return Mount(destination=destination, type="overlay", source="overlay", options=options)
    source = f"{volume.path}/{asked.sub_path}" if asked.sub_path else volume.path
    options = ["rbind", _PROPAGATION[asked.propagation], _access(asked, volume)]
    return Mount(destination=destination, type="bind", source=source, options=options)


def is_read_only(asked: VolumeMount, volume: PreparedVolume) -> bool:
    """Whether the mount says so, or the volume does whatever the mount says."""
    return asked.read_only or volume.read_only


def _access(asked: VolumeMount, volume: PreparedVolume) -> str:
    if not is_read_only(asked, volume):
        return "rw"
    return "ro" if asked.recursive_read_only is RecursiveReadOnly.DISABLED else "rro"
