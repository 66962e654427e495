"""Keeps a store: removes images that nobody wants, looks whether it is whole, repairs it, tells what takes how much.

All of it is safe beside other nsruns: names change under their lock, content goes only while nobody brings any in, and
never what a container runs from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from nsrun.errors import ConflictError, ImageError, describe_errno
from nsrun.images.check import Checker, Finding, Kind, Watcher
from nsrun.images.collect import Collector, Removed
from nsrun.images.details import Details, details
from nsrun.images.layers import Layers
from nsrun.images.lookup import find_image
from nsrun.images.names import Entry, entry_name, reference_of
from nsrun.images.offloop import off_loop
from nsrun.images.reference import parse_reference
from nsrun.images.store import Collecting, Store, StoredImage
from nsrun.images.tree import LayerUse, StoredLayers
from nsrun.images.wording import sentences
from nsrun.support.removal import remove_tree

__all__ = ["Keeper", "Pruned"]

_PAUSE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What went, or would go. ``names``: full names; ``removed``: their content, as far as nothing else needs it."""

    names: tuple[str, ...]
    removed: Removed


class Keeper:
    """The housekeeping of one store. ``in_use``: digests of the manifests that containers run from."""

    def __init__(
        self,
        *,
        store: Store,
        layers: Layers,
        collector: Collector,
        images_root: Path,
        layers_root: Path,
        in_use: Callable[[], Collection[str]],
    ) -> None:
        self._store = store
        self._layers = layers
        self._collector = collector
        self._in_use = in_use
        self._checker = Checker(store=store, layers=layers, images_root=images_root, layers_root=layers_root)

    # --- removal

    async def remove(self, text: str, *, force: bool = False) -> tuple[str, ...]:
        """Takes the name ``text`` from its image, or from the image of this ID its one name; its content stays until
        the collector is asked. ``force``: all of several names of an ID, and also when a container runs from it, which
        then keeps the content. Returns the names, full. Raises NotFoundError; ImageError; ConflictError."""
        image = await off_loop(lambda: find_image(self._store, text, "remove"))
        others = [name for name in await off_loop(self._store.images) if name.digest == image.digest]
        names = [image] if _means(text, image) else others
        if len(names) > 1 and not force:
            raise ConflictError(
                f'cannot remove image "{text}": it has {len(names)} names', hint="give one of them, or --force"
            )
        if not force and len(names) == len(others) and image.digest in await off_loop(self._in_use):
            raise ImageError(
                f'cannot remove image "{image.reference}": a container runs from it, or it is mounted',
                reason="ImageInUse",
                hint="stop its pod first: remove the manifest; or nsrun image umount",
            )
        with sentences(f'remove image "{image.reference}"'):
            gone = {str(name.reference) for name in names}
            await off_loop(lambda: self._store.drop(lambda entry: reference_of(entry) in gone))
        return tuple(sorted(gone))

    async def prune(self, wanted: Callable[[Details], bool] | None, *, dry_run: bool = False) -> Pruned:
        """Removes what has no name; with ``wanted``, also the names of images that nothing runs from and for which it
        is true. Raises ImageError; ConflictError while a pull is under way."""
        names = await off_loop(lambda: frozenset(self._prunable(wanted))) if wanted is not None else frozenset()

        def unwanted(entry: Entry) -> bool:
            return entry_name(entry) is None or reference_of(entry) in names

        with sentences("prune images"):
            if dry_run:
                removed: Removed | None = await self._collector.would_drop(unwanted)
            else:
                removed = await self._collector.drop(unwanted)
        if removed is None:
            raise ConflictError("cannot prune images: a pull is under way", hint="when it has ended, prune again")
        return Pruned(names=tuple(sorted(names)), removed=removed)

    def _prunable(self, wanted: Callable[[Details], bool]) -> Iterator[str]:
        used = self._in_use()
        for image in self._store.images():
            if image.digest in used:
                continue
            try:
                chosen = wanted(details(self._store, image))
            except (ImageError, OSError):
                chosen = True  # there is nothing left to run from
            if chosen:
                yield str(image.reference)

    # --- is it whole

    async def check(self, *, quick: bool = False, watch: Watcher = lambda *_: None) -> tuple[Finding, ...]:
        """What is wrong. Raises ImageError."""
        with sentences("check the image store"):
            return await self._checker.check(quick=quick, watch=watch)

    async def repair(self, findings: Sequence[Finding], waiting: Callable[[], None]) -> tuple[Finding, ...]:
        """Removes what is damaged or left over, and fetches nothing; a container's layers stay as they are. Names of
        images that are not whole stay too, so that what is whole of them stays until the next pull.

        ``waiting`` is called once while pulls are under way. Returns the findings as they are then. Raises ImageError.
        """
        with sentences("repair the image store"), await self._alone(waiting) as collecting:
            used = await off_loop(lambda: self._store.layers_of(self._in_use()))
            return tuple([await self._repaired(finding, collecting, used) for finding in findings])

    async def _alone(self, waiting: Callable[[], None]) -> Collecting:
        told = False
        while (collecting := await off_loop(self._store.collection)) is None:
            if not told:
                told = True
                waiting()
            await asyncio.sleep(_PAUSE)
        return collecting

    async def _repaired(self, finding: Finding, collecting: Collecting, used: frozenset[str] | None) -> Finding:
        try:
            match finding.kind:
                case Kind.INDEX:
                    await off_loop(self._repair_index)
                case Kind.IMAGE | Kind.UNCHECKED:
                    return replace(finding, left=finding.remedy)
                case Kind.BLOB:
                    await off_loop(lambda: self._store.remove_blob(finding.subject))
                case Kind.LAYER:
                    if used is None or finding.subject in used:
                        return replace(finding, left="a container runs from it: stop its pod, then repair again")
                    await self._layers.remove(finding.subject)
                case Kind.LEFTOVER:
                    await off_loop(lambda: remove_tree(Path(finding.subject)))
                case Kind.UNNEEDED:
                    await self._collector.sweep_with(collecting)
        except OSError as error:
            return replace(finding, left=describe_errno(error.errno or 0))
        except ImageError as error:
            return replace(finding, left=error.message)
        return replace(finding, repaired=True)

    def _repair_index(self) -> None:
        if self._store.names.knows():
            self._store.names.settle()
        else:
            self._store.names.forget()

    # --- what takes how much

    async def stored(self) -> tuple[StoredLayers, ...]:
        """Every image that is whole, with its layers; several names of one are one. Raises ImageError."""
        with sentences("measure the image store"):
            found = await off_loop(lambda: list(self._stored()))
            sizes = {diff_id: await self._layers.size(diff_id) for image in found for diff_id in image.diff_ids}
            used = await off_loop(self._in_use)
        by_digest = sorted(found, key=lambda one: one.image.manifest.digest)
        groups = [list(group) for _, group in groupby(by_digest, key=lambda one: one.image.manifest.digest)]
        return tuple(sorted((_stored_layers(group, sizes, used) for group in groups), key=lambda one: one.names))

    def _stored(self) -> Iterator[Details]:
        for image in self._store.images():
            try:
                yield details(self._store, image)
            except (ImageError, OSError):
                continue  # nsrun store check tells

    async def unneeded(self) -> Removed:
        """What a prune without more would remove. Raises ImageError."""
        with sentences("measure the image store"):
            return await self._collector.would_drop(lambda entry: entry_name(entry) is None)


def _stored_layers(group: Sequence[Details], sizes: dict[str, int], used: Collection[str]) -> StoredLayers:
    one = group[0]
    pairs = zip(one.manifest.layers, one.diff_ids, strict=True)
    layers = [
        LayerUse(diff_id=diff_id, blob=blob.digest, compressed=blob.size, unpacked=sizes[diff_id])
        for blob, diff_id in pairs
    ]
    return StoredLayers(
        names=tuple(sorted(str(each.image.reference) for each in group)),
        id=one.id,
        layers=tuple(layers),
        documents=one.image.manifest.size + one.manifest.config.size,
        used=any(each.image.digest in used for each in group),
    )


def _means(text: str, image: StoredImage) -> bool:
    """Whether ``text`` is the name of the image, not an ID."""
    try:
        return parse_reference(text) == image.reference
    except ImageError:
        return False
