"""Which persistent volume a claim gets (``pkg/controller/volume/persistentvolume``). Pure."""

from __future__ import annotations

from collections.abc import Mapping

from nsrun.errors import VolumeError
from nsrun.model.objects import Claim, PersistentVolume

__all__ = ["choose_volume", "named_volume"]

_Key = tuple[str, str]


def named_volume(
    claim: Claim, volumes: Mapping[str, PersistentVolume], taken: frozenset[str]
) -> PersistentVolume | None:
    """The volume that the manifests themselves bind to the claim: by its ``volumeName``, or by the volume's
    ``claimRef``. ``taken``: names of those that other claims have. Raises VolumeError when it is one of them, or is not
    there."""
    key = (claim.namespace, claim.name)
    if claim.volume_name:
        volume = volumes.get(claim.volume_name)
        if volume is None:
            raise VolumeError(f'persistentvolume "{claim.volume_name}" not found')
        if volume.claim not in (None, key) or (volume.claim is None and volume.name in taken):
            raise VolumeError(f'volume "{volume.name}" already bound to a different claim')
        return volume
    return next(
        (volume for _, volume in sorted(volumes.items()) if volume.claim == key and _holds(volume, claim)), None
    )


def choose_volume(
    claim: Claim, volumes: Mapping[str, PersistentVolume], taken: frozenset[str]
) -> PersistentVolume | None:
    """The smallest volume that nobody has and that fits: class, access modes and size. ``taken``: names of those that
    other claims have."""
    fitting = [
        volume
        for volume in volumes.values()
        if volume.claim is None
        and volume.name not in taken
        and volume.storage_class == claim.storage_class
        and set(claim.access_modes) <= set(volume.access_modes)
        and _holds(volume, claim)
    ]
    return min(fitting, key=lambda volume: (_size(volume), volume.name), default=None)


def _holds(volume: PersistentVolume, claim: Claim) -> bool:
    return claim.request is None or _size(volume) >= claim.request.milli


def _size(volume: PersistentVolume) -> int:
    return volume.capacity.milli if volume.capacity is not None else 0
