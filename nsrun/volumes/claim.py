"""``persistentVolumeClaim``: storage that outlives pods.

A claim gets a PersistentVolume of the manifests, or a directory of its own below nsrun's root. What it got is written
down there, under the claim's name, and stays until the claim's manifest goes:

    volumes/<namespace>_<claim>/                 its own directory
    volumes/<namespace>_<claim> -> <volume>      the name of a PersistentVolume, no path
    pods/<uid>/volumes/<plugin>/<volume> -> <namespace>_<claim>      a pod has it; with a dot before its name: not yet
                                                                     given to the pod's group
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from nsrun.errors import VolumeError
from nsrun.model.objects import Claim, Objects, PersistentVolume
from nsrun.model.pod import Pod
from nsrun.model.running import PreparedVolume
from nsrun.model.volume import ClaimVolume, HostPath
from nsrun.model.wording import object_remedy
from nsrun.support.fds import Fd
from nsrun.support.layout import Layout
from nsrun.support.removal import remove_tree
from nsrun.volumes.binding import choose_volume, named_volume
from nsrun.volumes.group import give_to_group
from nsrun.volumes.host_path import prepare_host_path
from nsrun.volumes.mounts import unmount_below
from nsrun.volumes.places import make_place, make_private
from nsrun.volumes.podman import podman_device, podman_owner

__all__ = ["PLUGIN", "Claims"]

PLUGIN = "kubernetes.io~persistent-volume-claim"

_MODE = 0o777  # whoever the container runs as may write, as with emptyDir
_OWNED_MODE = 0o755  # podman's, when the manifest says who owns it
_GONE = ".gone-"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Storage:
    """Where a claim's content is. ``has_group``: the pod's fsGroup may own it (a host path it never does)."""

    path: str
    has_group: bool


class Claims:
    """Gives claims their storage, and takes it away. Blocks; may be used from several threads at once.

    Invariant: whoever binds a claim, or decides that one is nobody's any more, holds ``_lock``.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._lock = threading.Lock()

    def prepare(self, pod: Pod, name: str, source: ClaimVolume, objects: Objects) -> PreparedVolume:
        """The claim's storage for one pod. Raises VolumeError (without the volume's name), OSError."""
        namespace = pod.metadata.namespace
        with self._lock:
            mark = self._layout.volume(pod.uid, PLUGIN, name)
            is_ready = mark.is_symlink()
            claim = objects.claims.get((namespace, source.claim_name))
            if claim is None:
                claim = self._remembered(namespace, source.claim_name) if is_ready else None
            if claim is None:
                raise _not_found(namespace, source.claim_name)
            self._check_alone(pod, claim)
            unfinished = mark.with_name(f".{mark.name}")
            if not is_ready:
                _link(unfinished, _entry(claim))
            storage = self._storage(name, claim, objects)
        if not is_ready:
            _give(pod, storage, read_only=source.read_only)
            os.rename(unfinished, mark)
        return PreparedVolume(name=name, path=storage.path, read_only=source.read_only)

    def delete(self, claims: Collection[tuple[str, str]]) -> None:
        """Deletes what these claims have, unless a pod has them, and what was half deleted or half made before.
        Content of PersistentVolumes stays. Raises OSError."""
        with self._lock:
            unwanted = {f"{namespace}_{name}" for namespace, name in claims} - {entry for _, entry in self._marks()}
            names = [name for name in _names(self._layout.claims) if name in unwanted or name.startswith(".")]
            gone = [self._set_aside(name) for name in names]
        for path in gone:
            if not path.is_symlink():
                unmount_below(path)
            remove_tree(path)

    # --- under the lock

    def _storage(self, name: str, claim: Claim, objects: Objects) -> _Storage:
        device = podman_device(claim)
        if device is not None:
            return _Storage(path=prepare_host_path(name, HostPath(path=device)).path, has_group=False)
        record = self._layout.claim(claim.namespace, claim.name)
        volume = self._bound(claim, record, objects)
        if volume is None:
            owner = podman_owner(claim)
            if owner is None:
                make_place(record, _MODE)
            else:
                make_place(record, _OWNED_MODE, uid=owner[0], gid=owner[1])
            return _Storage(path=str(record), has_group=True)
        _link(record, volume.name)
        return _volume_storage(name, volume)

    def _bound(self, claim: Claim, record: Path, objects: Objects) -> PersistentVolume | None:
        """What the manifests say, else what was chosen before, else what fits. None: a directory of its own."""
        taken = self._taken(but=record)
        volume = named_volume(claim, objects.volumes, taken)
        if record.is_dir() and not record.is_symlink():
            if claim.volume_name:
                raise VolumeError(
                    f'persistentvolumeclaim "{claim.name}" has a directory of its own already',
                    hint=f"its content is in {record}; the claim's manifest must go before it can have another volume",
                )
            return None
        if volume is not None:
            return volume
        if record.is_symlink():
            chosen = os.readlink(record)
            if chosen not in objects.volumes:
                raise VolumeError(f'persistentvolume "{chosen}" not found', hint="the claim is bound to it")
            return objects.volumes[chosen]
        return choose_volume(claim, objects.volumes, taken)

    def _taken(self, *, but: Path) -> frozenset[str]:
        """Names of the PersistentVolumes that claims have, other than the one whose record is ``but``."""
        records = (self._layout.claims / name for name in _names(self._layout.claims) if name != but.name)
        return frozenset(os.readlink(record) for record in records if record.is_symlink())

    def _check_alone(self, pod: Pod, claim: Claim) -> None:
        if "ReadWriteOncePod" not in claim.access_modes:
            return
        others = sorted(uid for uid, entry in self._marks() if entry == _entry(claim) and uid != pod.uid)
        if others:
            raise VolumeError(
                f'persistentvolumeclaim "{claim.name}" is ReadWriteOncePod, and another pod has it',
                hint=f"it is free once the pod with UID {others[0]} is gone",
            )

    def _marks(self) -> list[tuple[str, str]]:
        """Which pods (UID) have which claims (their entries)."""
        found = []
        for uid in _names(self._layout.pods):
            directory = self._layout.volume(uid, PLUGIN, "x").parent
            marks = (directory / name for name in _names(directory))
            found += [(uid, os.readlink(mark)) for mark in marks if mark.is_symlink()]
        return found

    def _remembered(self, namespace: str, name: str) -> Claim | None:
        """A claim whose manifest went while a pod has it."""
        record = self._layout.claim(namespace, name)
        return Claim(namespace=namespace, name=name) if record.is_symlink() or record.is_dir() else None

    def _set_aside(self, name: str) -> Path:
        """Out of the way of a claim of the same name that comes while this is being deleted."""
        path = self._layout.claims / name
        if name.startswith(_GONE):
            return path
        aside = self._layout.claims / f"{_GONE}{secrets.token_hex(8)}"
        path.rename(aside)
        return aside


def _volume_storage(name: str, volume: PersistentVolume) -> _Storage:
    if volume.local:
        if not os.path.exists(volume.path):
            raise VolumeError(f'path "{volume.path}" of persistentvolume "{volume.name}" does not exist')
        return _Storage(path=volume.path, has_group=True)
    return _Storage(path=prepare_host_path(name, HostPath(path=volume.path, type=volume.type)).path, has_group=False)


def _give(pod: Pod, storage: _Storage, *, read_only: bool) -> None:
    context = pod.spec.security_context
    if context.fs_group is None or not storage.has_group:
        return
    with Fd.open(storage.path, os.O_RDONLY | os.O_NONBLOCK) as top:
        give_to_group(top, context.fs_group, policy=context.fs_group_change_policy, read_only=read_only)


def _not_found(namespace: str, name: str) -> VolumeError:
    return VolumeError(
        f'persistentvolumeclaim "{name}" not found',
        hint=object_remedy("PersistentVolumeClaim", namespace, name, optional=False),
    )


def _entry(claim: Claim) -> str:
    return f"{claim.namespace}_{claim.name}"


def _link(path: Path, target: str) -> None:
    """The link is there, and says so, or it is not there."""
    if path.is_symlink() and os.readlink(path) == target:
        return
    make_private(path.parent)
    unfinished = path.with_name(f"{_GONE}{secrets.token_hex(8)}")
    os.symlink(target, unfinished)
    os.rename(unfinished, path)


def _names(directory: Path) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
