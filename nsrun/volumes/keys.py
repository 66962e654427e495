"""From the keys of a ConfigMap or a Secret to files. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from nsrun.errors import VolumeError
from nsrun.model.volume import KeyFile
from nsrun.volumes.payload import File

__all__ = ["clean_path", "key_files"]


def key_files(
    data: Mapping[str, bytes], items: tuple[KeyFile, ...] | None, *, mode: int, optional: bool, what: str
) -> dict[str, File]:
    """Every key under its own name, or with ``items`` those keys at their paths. ``mode``: of files whose item says
    none. ``what`` holds the keys: ``configmap "web"``. Raises VolumeError (without the volume's name) for a key that is
    not there, unless it is ``optional``."""
    if items is None:
        return {key: File(data=value, mode=mode) for key, value in data.items()}
    files = {}
    for item in items:
        if item.key in data:
            files[clean_path(item.path)] = File(data=data[item.key], mode=mode if item.mode is None else item.mode)
        elif not optional:
            raise VolumeError(f"{what} references non-existent key: {item.key}", hint=f"its keys: {_listed(data)}")
    return files


def clean_path(path: str) -> str:
    """The path in its shortest form, without resolving ``..``, which is refused later."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return posixpath.join("/" if path.startswith("/") else "", *parts) if parts else path


def _listed(data: Mapping[str, bytes]) -> str:
    return ", ".join(sorted(data)) or "none"
