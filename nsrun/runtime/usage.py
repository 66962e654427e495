"""Disk that a pod's containers take: what they wrote over their images, and their logs; and the file system that all of
it is on. Everything here blocks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from nsrun.model.figures import ContainerDisk, DiskUse, Filesystem
from nsrun.support.disk_usage import tree_use
from nsrun.support.layout import Layout, PodName

__all__ = ["all_logged", "container_disk", "filesystem_of", "pod_logs"]


def container_disk(layout: Layout, uid: str) -> dict[str, ContainerDisk]:
    """By container, of every run of it that is still there. Raises OSError."""
    roots = _uses(layout.pod(uid) / "containers")
    logs = {name: use for directory in pod_logs(layout, uid) for name, use in _uses(directory).items()}
    return {
        name: ContainerDisk(root=roots.get(name, DiskUse()), logs=logs.get(name, DiskUse()))
        for name in sorted(roots.keys() | logs.keys())
    }


def _uses(top: Path) -> dict[str, DiskUse]:
    found = {directory.name: tree_use(directory) for directory in _directories(top)}
    return {name: DiskUse(bytes=use.bytes, inodes=use.inodes) for name, use in found.items()}


def filesystem_of(directory: Path) -> Filesystem:
    """The whole file system that ``directory`` is on. Raises OSError."""
    found = os.statvfs(directory)
    return Filesystem(
        capacity=found.f_blocks * found.f_frsize,
        available=found.f_bavail * found.f_frsize,
        used=(found.f_blocks - found.f_bfree) * found.f_frsize,
        inodes=found.f_files,
        inodes_free=found.f_ffree,
        inodes_used=found.f_files - found.f_ffree,
    )


def pod_logs(layout: Layout, uid: str) -> Iterator[Path]:
    """The pod's log directory, if there is one: ``<namespace>_<name>_<uid>``, and only a UID may hold underscores."""
    return (path for path in _directories(layout.pod_logs) if path.name.split("_", 2)[2:] == [uid])


def all_logged(layout: Layout) -> Iterator[tuple[PodName, str]]:
    """The pods, name and UID, that have a log directory."""
    for path in _directories(layout.pod_logs):
        namespace, _, rest = path.name.partition("_")
        name, _, uid = rest.partition("_")
        if namespace and name and uid:
            yield PodName(namespace=namespace, name=name), uid


def _directories(top: Path) -> list[Path]:
    try:
        with os.scandir(top) as entries:
            return sorted(top / entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return []
