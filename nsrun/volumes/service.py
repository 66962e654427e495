"""The volumes of pods, as the supervisor asks for them."""

from __future__ import annotations

import asyncio
import errno
import os
import re
from collections.abc import Mapping
from pathlib import Path

from nsrun.errors import VolumeError, describe_errno, remedy_for_errno
from nsrun.host.mountinfo import parse_mountinfo
from nsrun.model.image import Image
from nsrun.model.objects import Objects
from nsrun.model.pod import Pod
from nsrun.model.running import Attachment, PreparedVolume
from nsrun.model.volume import EmptyDir, HostPath, Volume
from nsrun.support import native
from nsrun.support.fds import Fd
from nsrun.support.layout import Layout
from nsrun.support.removal import remove_tree
from nsrun.volumes.empty_dir import PLUGIN, prepare_empty_dir
from nsrun.volumes.host_path import prepare_host_path

__all__ = ["VolumeService"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class VolumeService:
    """Implements the supervisor's ``Volumes``. ``memory_total``: the machine's memory in bytes."""

    def __init__(self, layout: Layout, *, memory_total: int) -> None:
        self._layout = layout
        self._memory_total = memory_total

    async def prepare(
        self, pod: Pod, objects: Objects, images: Mapping[str, Image], attachment: Attachment | None
    ) -> Mapping[str, PreparedVolume]:
        """Every volume of the pod, by name; what is there already is kept. Raises VolumeError."""
        return await asyncio.to_thread(self._prepare_all, pod)

    async def remove(self, uid: str) -> None:
        """Unmounts and deletes the pod's directory, its volumes in it. What a hostPath names stays, and so does
        whatever links or mounts inside a volume lead to. Raises VolumeError."""
        await asyncio.to_thread(self._remove, uid)

    async def owners(self) -> frozenset[str]:
        """UIDs of pods that have a directory."""
        return await asyncio.to_thread(self._owners)

    def _prepare_all(self, pod: Pod) -> dict[str, PreparedVolume]:
        _check_name(pod.uid, "pod UID")
        return {volume.name: self._prepare(pod, volume) for volume in pod.spec.volumes}

    def _prepare(self, pod: Pod, volume: Volume) -> PreparedVolume:
        _check_name(volume.name, "volume")
        try:
            match volume.source:
                case EmptyDir() as source:
                    directory = self._layout.volume(pod.uid, PLUGIN, volume.name)
                    return prepare_empty_dir(pod, volume.name, source, directory, memory_total=self._memory_total)
                case HostPath() as source:
                    return prepare_host_path(volume.name, source)
        except OSError as error:
            what = f'"{error.filename}": ' if error.filename else ""
            raise VolumeError(
                f'cannot mount volume "{volume.name}": {what}{describe_errno(error.errno or 0)}',
                hint=remedy_for_errno(error.errno or 0),
            ) from error

    def _remove(self, uid: str) -> None:
        _check_name(uid, "pod UID")
        directory = self._layout.pod(uid)
        try:
            _unmount_below(directory)
            remove_tree(directory)
        except OSError as error:
            what = f'"{error.filename}": ' if error.filename else ""
            raise VolumeError(
                f'cannot remove volumes of pod "{uid}": {what}{describe_errno(error.errno or 0)}',
                hint=remedy_for_errno(error.errno or 0),
            ) from error

    def _owners(self) -> frozenset[str]:
        try:
            with os.scandir(self._layout.pods) as entries:
                return frozenset(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return frozenset()


def _unmount_below(directory: Path) -> None:
    """Detaches every mount below a directory: ours, and whatever else was mounted into the tree, so that removing the
    tree meets none of them. Detaching never touches content. A mount that hides others is gone before these are
    seen."""
    top = os.path.realpath(directory)
    while points := _mounts_below(top):
        with Fd.open(top, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW) as parent:
            detached = [_detach(parent, point.removeprefix(f"{top}/")) for point in points]
        if not any(detached):
            return  # removing the tree will tell


def _mounts_below(top: str) -> list[str]:
    """Mount points below ``top``, the deepest first."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        mounts = parse_mountinfo(file.read())
    return sorted((mount.point for mount in mounts if mount.point.startswith(f"{top}/")), key=len, reverse=True)


def _detach(top: Fd, path: str) -> bool:
    """The kernel told the path, but parts of it lie in what a container could write: so it is opened without following
    any link, and unmounted by that descriptor. False when no mount is there to be seen."""
    resolve = native.RESOLVE_BENEATH | native.RESOLVE_NO_SYMLINKS
    try:
        with native.openat2(top.fileno(), path, os.O_PATH, resolve=resolve) as mounted:
            native.umount(f"/proc/self/fd/{mounted.fileno()}", native.MNT_DETACH)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL):
            return False
        raise
    return True


def _check_name(name: str, what: str) -> None:
    if not _NAME.fullmatch(name):
        raise VolumeError(f'cannot use {what} "{name}": it is no plain name')
