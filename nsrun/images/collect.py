"""Makes room: removes what no name and no container needs, and images that nothing runs from when the disk is full.

Which image goes first is the kubelet's rule (pkg/kubelet/images/image_gc_manager.go): the one that has been unused for
longest. When an image was used is remembered while nsrun runs, and no longer.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nsrun.images.layers import Layers
from nsrun.images.names import Entry
from nsrun.images.offloop import off_loop
from nsrun.images.reference import Reference
from nsrun.images.store import Collecting, Store
from nsrun.model.retention import ImageRetention, Reclaimed
from nsrun.support.clock import Clock
from nsrun.support.disk_usage import disk_usage

__all__ = ["Collector", "Removed", "Seen", "Space", "disk_space", "excess", "outdated", "removable", "seen_now"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Of a file system, in bytes; ``available`` to whoever is not root."""

    capacity: int
    available: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """When an image was first seen, and last in use (0: never), in seconds since the epoch."""

    first: float
    used: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What went: blobs by digest, layers by diff_id, and the bytes that they took on the disk."""

    blobs: frozenset[str] = frozenset()
    layers: frozenset[str] = frozenset()
    freed: int = 0


def disk_space(path: Path) -> Space:
    """Of the file system that ``path`` is on. Raises OSError."""
    found = os.statvfs(path)
    return Space(capacity=found.f_blocks * found.f_frsize, available=found.f_bavail * found.f_frsize)


# --- which: pure


def seen_now(seen: Mapping[str, Seen], present: Collection[str], used: Collection[str], now: float) -> dict[str, Seen]:
    """What is known of the images that are there now, by digest."""
    known = {digest: seen.get(digest, Seen(first=now)) for digest in present}
    return {digest: replace(image, used=now) if digest in used else image for digest, image in known.items()}


def outdated(
    seen: Mapping[str, Seen], used: Collection[str], retention: ImageRetention, *, now: float, began: float
) -> tuple[str, ...]:
    """Digests of the images that were not in use for too long. ``began``: since when it is known which are."""
    if not retention.maximum_age or now - began <= retention.maximum_age:
        return ()
    return tuple(
        digest for digest, image in seen.items() if digest not in used and now - image.used > retention.maximum_age
    )


def removable(
    seen: Mapping[str, Seen], used: Collection[str], retention: ImageRetention, *, now: float
) -> tuple[str, ...]:
    """Digests of the images that may go, the first one first."""
    free = [
        digest for digest, image in seen.items() if digest not in used and now - image.first >= retention.minimum_age
    ]
    return tuple(sorted(free, key=lambda digest: (seen[digest].used, seen[digest].first, digest)))


def excess(space: Space, retention: ImageRetention) -> int:
    """Bytes to free, 0 while less than the upper threshold is used."""
    if not space.capacity or retention.high_percent == 100:
        return 0
    used_percent = 100 - space.available * 100 // space.capacity
    if used_percent < retention.high_percent:
        return 0
    return max(_wanted(space, retention) - space.available, 0)


def _wanted(space: Space, retention: ImageRetention) -> int:
    return space.capacity * (100 - retention.low_percent) // 100


# --- and away


class Collector:
    """Removes content of one store and its layers. ``in_use``: digests of the manifests that containers run from."""

    def __init__(
        self,
        *,
        store: Store,
        layers: Layers,
        directory: Path,
        in_use: Callable[[], Collection[str]],
        clock: Clock,
        space: Callable[[Path], Space] = disk_space,
    ) -> None:
        self._store = store
        self._layers = layers
        self._directory = directory
        self._in_use = in_use
        self._clock = clock
        self._space = space
        self._began = clock.now()
        self._seen: dict[str, Seen] = {}

    async def sweep(self) -> Removed | None:
        """Removes blobs and layers that no name and no container needs. None when a pull is under way: then nothing is
        removed, and a later call will do it. Raises ImageError, OSError."""
        return await self.drop(lambda _: False)

    async def drop(self, unwanted: Callable[[Entry], bool]) -> Removed | None:
        """The same, after the entries of index.json that ``unwanted`` is true of were removed."""
        collection = await off_loop(self._store.collection)
        if collection is None:
            return None
        with collection:
            await off_loop(lambda: self._store.drop(unwanted))
            return await self.sweep_with(collection)

    async def would_drop(self, unwanted: Callable[[Entry], bool]) -> Removed:
        """What ``drop`` would remove. Raises ImageError, OSError."""
        blobs, needed = await off_loop(lambda: self._store.unneeded(self._in_use(), without=unwanted))
        layers = await self._unneeded(needed)
        freed = await off_loop(lambda: sum(map(self._store.blob_takes, blobs)))
        for diff_id in layers:
            freed += await self._takes(diff_id)
        return Removed(blobs=blobs, layers=layers, freed=freed)

    async def reclaim(self, retention: ImageRetention, used: Collection[str]) -> Reclaimed:
        """See the port. While a pull is under way nothing is removed. Raises ImageError, OSError."""
        names = await self._names()
        used = frozenset(used) | frozenset(await off_loop(self._in_use))
        now = self._clock.now()
        self._seen = seen_now(self._seen, names, used, now)
        gone = list(outdated(self._seen, used, retention, now=now, began=self._began))
        space = await off_loop(lambda: self._space(self._directory))
        if not gone and not excess(space, retention):
            return Reclaimed()
        collection = await off_loop(self._store.collection)
        if collection is None:
            return Reclaimed()
        with collection:
            for digest in gone:
                await self._remove(collection, names[digest])
            now_free = await off_loop(lambda: self._space(self._directory))
            missing = excess(now_free, retention)
            waiting = [digest for digest in removable(self._seen, used, retention, now=now) if digest not in gone]
            while missing > 0 and waiting:
                gone.append(waiting.pop(0))
                await self._remove(collection, names[gone[-1]])
                # What an image frees is known only when it is gone: it may share its layers.
                now_free = await off_loop(lambda: self._space(self._directory))
                missing = max(_wanted(now_free, retention) - now_free.available, 0)
        return Reclaimed(
            images=tuple(str(name) for digest in gone for name in names[digest]),
            freed=max(now_free.available - space.available, 0),
            missing=missing,
        )

    async def _names(self) -> Mapping[str, Sequence[Reference]]:
        names: dict[str, list[Reference]] = {}
        for image in await off_loop(self._store.images):
            names.setdefault(image.digest, []).append(image.reference)
        return names

    async def _remove(self, collection: Collecting, names: Sequence[Reference]) -> None:
        for name in names:
            await off_loop(lambda name=name: self._store.untag(name))  # type: ignore[misc]
            logger.info("Image %s is removed: nothing runs from it", name)
        await self.sweep_with(collection)

    async def sweep_with(self, collection: Collecting) -> Removed:
        """The same for who has the right to remove content already. Raises ImageError, OSError."""
        swept = await off_loop(lambda: collection.sweep(self._in_use()))
        layers = await self._unneeded(swept.needed)
        freed = swept.freed
        for diff_id in sorted(layers):
            freed += await self._takes(diff_id)
            await self._layers.remove(diff_id)
        return Removed(blobs=swept.blobs, layers=layers, freed=freed)

    async def _unneeded(self, needed: frozenset[str] | None) -> frozenset[str]:
        if needed is None:
            logger.warning("Unpacked layers are kept: of an image that a container runs from, documents are gone")
            return frozenset()
        return frozenset(await self._layers.list()) - needed

    async def _takes(self, diff_id: str) -> int:
        home = self._layers.path(diff_id).parent
        return await off_loop(lambda: disk_usage(home))
