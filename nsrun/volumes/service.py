"""The volumes of pods, as the supervisor asks for them."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from nsrun.errors import VolumeError, describe_errno, remedy_for_errno
from nsrun.model.image import Image
from nsrun.model.node import Node
from nsrun.model.objects import Objects
from nsrun.model.pod import Pod
from nsrun.model.running import Attachment, PreparedVolume
from nsrun.model.volume import (
    ClaimVolume,
    ConfigMapVolume,
    DownwardVolume,
    EmptyDir,
    EmptyDirMedium,
    HostPath,
    ImageVolume,
    NfsVolume,
    ProjectedVolume,
    SecretVolume,
    Volume,
)
from nsrun.support.clock import Clock
from nsrun.support.disk_usage import disk_usage
from nsrun.support.layout import Layout
from nsrun.support.removal import remove_tree
from nsrun.support.threads import finish_in_thread
from nsrun.volumes import empty_dir, image, nfs
from nsrun.volumes.atomic_writer import is_written, write_files
from nsrun.volumes.claim import Claims
from nsrun.volumes.group import shared_mode
from nsrun.volumes.host_path import prepare_host_path
from nsrun.volumes.memory import memory_size, mount_tmpfs
from nsrun.volumes.mounts import unmount_below
from nsrun.volumes.places import make_place
from nsrun.volumes.projected import FileSource, Sight, in_memory, lacks_objects, plugin, volume_files
from nsrun.volumes.within import check_group, remedy_within

__all__ = ["VolumeService"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

# The kubelet's: that of an emptyDir, and a tmpfs's own.
_ON_DISK, _IN_MEMORY = 0o777, 0o1777


class VolumeService:
    """Implements the supervisor's ``Volumes``. ``node``: what fields of the downward API and sizes of memory volumes
    refer to. ``nfs_seconds``: how long a server may take to answer a mount.

    Calls about one pod must not overlap, but for what a cancelled one leaves: that is waited for.
    """

    def __init__(self, layout: Layout, *, node: Node, clock: Clock, nfs_seconds: float = nfs.SECONDS) -> None:
        self._layout = layout
        self._node = node
        self._clock = clock
        self._nfs_seconds = nfs_seconds
        self._claims = Claims(layout)

    # --- as the supervisor asks

    async def prepare(
        self, pod: Pod, objects: Objects, images: Mapping[str, Image], attachment: Attachment | None
    ) -> Mapping[str, PreparedVolume]:
        """Every volume of the pod, by name; what is there already is kept, and files are what objects say now. Raises
        VolumeError."""
        check_group(pod)
        sight = Sight(pod=pod, objects=objects, node=self._node, attachment=attachment)
        prepared = await finish_in_thread(self._prepare_local, sight, images)
        for volume in pod.spec.volumes:
            if isinstance(volume.source, NfsVolume):
                directory = self._layout.volume(pod.uid, nfs.PLUGIN, volume.name)
                with _about(volume.name):
                    prepared[volume.name] = await nfs.prepare_nfs(
                        volume.name, volume.source, directory, seconds=self._nfs_seconds
                    )
        return prepared

    async def refresh(self, pod: Pod, objects: Objects, attachment: Attachment | None) -> None:
        """Files made from objects and the pod's own fields are what those say now. Those of a volume that lacks an
        object it needs stay as they are; so do those of a volume that is not prepared. Raises VolumeError, after
        everything else was refreshed."""
        sight = Sight(pod=pod, objects=objects, node=self._node, attachment=attachment)
        await finish_in_thread(self._refresh, sight)

    async def usage(self, pod: Pod) -> Mapping[str, int]:
        """Bytes on disk of each emptyDir that is not in memory, by volume name. Raises VolumeError."""
        return await asyncio.to_thread(self._usage, pod)

    async def delete_claims(self, claims: Collection[tuple[str, str]]) -> None:
        """Deletes the directories of these persistent volume claims (namespace, name), but not what a pod still has.
        Raises VolumeError."""
        await finish_in_thread(self._delete_claims, claims)

    async def clear(self, uid: str) -> None:
        """Unmounts and deletes the pod's volumes; its directory stays, with what its containers left. What a hostPath
        names stays, and so do claims and whatever links or mounts inside a volume lead to. Raises VolumeError."""
        _check_name(uid, "pod UID")
        await finish_in_thread(_remove_mounted, self._layout.volumes(uid), uid)

    async def remove(self, uid: str) -> None:
        """Unmounts and deletes the pod's directory, its volumes in it. What a hostPath names stays, and so do claims
        and whatever links or mounts inside a volume lead to. Raises VolumeError."""
        _check_name(uid, "pod UID")
        await finish_in_thread(_remove_mounted, self._layout.pod(uid), uid)

    async def owners(self) -> frozenset[str]:
        """UIDs of pods that have a directory."""
        return await asyncio.to_thread(self._owners)

    # --- in a thread

    def _prepare_local(self, sight: Sight, images: Mapping[str, Image]) -> dict[str, PreparedVolume]:
        _check_name(sight.pod.uid, "pod UID")
        prepared = {}
        for volume in sight.pod.spec.volumes:
            _check_name(volume.name, "volume")
            with _about(volume.name):
                found = self._prepare(sight, volume, images)
            if found is not None:
                prepared[volume.name] = found
        return prepared

    def _prepare(self, sight: Sight, volume: Volume, images: Mapping[str, Image]) -> PreparedVolume | None:
        pod, name = sight.pod, volume.name
        match volume.source:
            case EmptyDir() as source:
                directory = self._layout.volume(pod.uid, empty_dir.PLUGIN, name)
                return empty_dir.prepare_empty_dir(pod, name, source, directory, self._node)
            case HostPath() as source:
                return prepare_host_path(name, source)
            case ConfigMapVolume() | SecretVolume() | DownwardVolume() | ProjectedVolume() as source:
                return self._write(sight, name, source)
            case ImageVolume():
                return image.prepare_image(name, images.get(name), self._layout.volume(pod.uid, image.PLUGIN, name))
            case ClaimVolume() as source:
                return self._claims.prepare(pod, name, source, sight.objects)
            case NfsVolume():
                return None  # by children, not in a thread

    def _write(self, sight: Sight, name: str, source: FileSource) -> PreparedVolume:
        """The directory, in memory if it must be, with the files that belong there now. What a running pod has is kept
        when an object that it was made from is gone."""
        directory = self._layout.volume(sight.pod.uid, plugin(source), name)
        if lacks_objects(source, sight) and is_written(directory):
            return PreparedVolume(name=name, path=str(directory), read_only=True)
        files, twice = volume_files(source, sight)
        gid = sight.pod.spec.security_context.fs_group
        mode = _IN_MEMORY if in_memory(source) else _ON_DISK
        if gid is not None:
            mode = shared_mode(mode, directory=True)
        make_place(directory, mode, gid=-1 if gid is None else gid)
        if in_memory(source):
            mount_tmpfs(directory, size=memory_size(sight.pod, self._node), mode=mode, gid=gid)
        write_files(directory, files, gid=gid, now=self._clock.now())
        warnings = tuple(
            f'several sources of volume "{name}" have path "{path}": the last one is shown' for path in twice
        )
        return PreparedVolume(name=name, path=str(directory), read_only=True, warnings=warnings)

    def _refresh(self, sight: Sight) -> None:
        failed: VolumeError | None = None
        for volume in sight.pod.spec.volumes:
            source = volume.source
            if not isinstance(source, FileSource) or lacks_objects(source, sight):
                continue
            if not self._layout.volume(sight.pod.uid, plugin(source), volume.name).is_dir():
                continue
            try:
                with _about(volume.name):
                    self._write(sight, volume.name, source)
            except VolumeError as error:
                failed = failed or error
        if failed is not None:
            raise failed

    def _usage(self, pod: Pod) -> dict[str, int]:
        found = {}
        for volume in pod.spec.volumes:
            if isinstance(volume.source, EmptyDir) and volume.source.medium is EmptyDirMedium.DISK:
                with _translated(f'measure volume "{volume.name}"'):
                    found[volume.name] = disk_usage(self._layout.volume(pod.uid, empty_dir.PLUGIN, volume.name))
        return found

    def _delete_claims(self, claims: Collection[tuple[str, str]]) -> None:
        with _translated("delete persistent volume claims"):
            self._claims.delete(claims)

    def _owners(self) -> frozenset[str]:
        try:
            with os.scandir(self._layout.pods) as entries:
                return frozenset(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return frozenset()


def _remove_mounted(directory: Path, uid: str) -> None:
    with _translated(f'remove volumes of pod "{uid}"'):
        unmount_below(directory)
        remove_tree(directory)


@contextmanager
def _about(name: str) -> Iterator[None]:
    """Errors get the volume's name."""
    what = f'mount volume "{name}"'
    try:
        with _translated(what):
            yield
    except VolumeError as error:
        if error.message.startswith(f"cannot {what}"):
            raise
        raise VolumeError(f"cannot {what}: {error.message}", hint=error.hint) from error


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        place = f'"{error.filename}": ' if error.filename else ""
        number = error.errno or 0
        hint = remedy_for_errno(number) or remedy_within(number)
        raise VolumeError(f"cannot {what}: {place}{describe_errno(number)}", hint=hint) from error


def _check_name(name: str, what: str) -> None:
    if not _NAME.fullmatch(name):
        raise VolumeError(f'cannot use {what} "{name}": it is no plain name')
