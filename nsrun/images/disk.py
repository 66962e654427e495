"""How much disk the images take: blobs and unpacked layers. Everything here blocks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from nsrun.model.figures import Filesystem
from nsrun.support.disk_usage import TreeUse, tree_use

__all__ = ["StoreDisk"]


class StoreDisk:
    """``_known``: what each layer takes, by its directory: nobody writes to a layer once it is there, so it is walked
    once. ``layers``: ``<algorithm>/<hex>``."""

    def __init__(self, *, store: Path, layers: Path) -> None:
        self._store = store
        self._layers = layers
        self._known: dict[str, TreeUse] = {}

    def measure(self) -> Filesystem:
        """The file system of the images, with what they use of it. Raises OSError."""
        found = {path: self._known.get(path) or tree_use(Path(path)) for path in self._directories()}
        self._known = found
        uses = (tree_use(self._store), *found.values())
        space = os.statvfs(self._store)
        return Filesystem(
            capacity=space.f_blocks * space.f_frsize,
            available=space.f_bavail * space.f_frsize,
            used=sum(use.bytes for use in uses),
            inodes=space.f_files,
            inodes_free=space.f_ffree,
            inodes_used=sum(use.inodes for use in uses),
        )

    def _directories(self) -> Iterator[str]:
        """Of whole layers; what is being made or removed is in none of these."""
        for algorithm in _listed(self._layers):
            if algorithm.name != "tmp":
                yield from (layer.path for layer in _listed(Path(algorithm.path)))


def _listed(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
