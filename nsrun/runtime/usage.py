"""Disk that a pod's containers take: what they wrote over their images, and their logs. Everything here blocks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from nsrun.support.disk_usage import disk_usage
from nsrun.support.layout import Layout, PodName

__all__ = ["all_logged", "container_usage", "pod_logs"]


def container_usage(layout: Layout, uid: str) -> dict[str, int]:
    """Bytes on disk by container, of every run of it that is still there. Raises OSError."""
    usage: dict[str, int] = {}
    for top in (layout.pod(uid) / "containers", *pod_logs(layout, uid)):
        for directory in _directories(top):
            usage[directory.name] = usage.get(directory.name, 0) + disk_usage(directory)
    return usage


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
