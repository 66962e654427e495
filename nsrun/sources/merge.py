"""Several sources → one desired set. What an earlier one describes, a later one cannot.

A source that has not said anything yet counts as broken (``SourceUpdate.broken``), so the pods that run from it run on,
and as ``partial``: nothing is cleared away that may be its own. Each is given a second, so that a restart on a quiet
machine speaks once and for all; from then on nobody waits for the slowest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol, TypeVar

from nsrun.model.objects import Objects
from nsrun.model.pod import Pod
from nsrun.model.update import MANIFEST_ANNOTATION, SourceUpdate
from nsrun.support.clock import Clock
from nsrun.support.layout import PodName

__all__ = ["MergedSources", "Source", "merged"]

FIRST_WORD = 1.0
"""Seconds for a source to say its first word."""

K = TypeVar("K")
V = TypeVar("V")


class Source(Protocol):
    """One of them. ``origin``: as its pods name it, or the directory of what they name (``SourceUpdate.broken``)."""

    @property
    def origin(self) -> str: ...

    def updates(self) -> AsyncIterator[SourceUpdate]: ...


class MergedSources:
    """The pods of all of them."""

    def __init__(self, sources: Sequence[Source], *, clock: Clock) -> None:
        self._sources = tuple(sources)
        self._clock = clock

    async def updates(self) -> AsyncIterator[SourceUpdate]:
        """The desired set as soon as every source spoke, or a second has passed; then every change of it."""
        heard = _Heard(self._sources)
        last: SourceUpdate | None = None
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(heard.listen(source)) for source in self._sources]
            tasks.append(group.create_task(self._impatience(heard)))
            try:
                while True:
                    update = await heard.next()
                    if update != last:
                        last = update
                        yield update
            finally:
                for task in tasks:
                    task.cancel()

    async def _impatience(self, heard: _Heard) -> None:
        await self._clock.sleep(FIRST_WORD)
        heard.hurry()


class _Heard:
    """What each source said last."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._said: dict[Source, SourceUpdate | None] = dict.fromkeys(sources)
        self._hurried = False
        self._news = asyncio.Event()

    async def listen(self, source: Source) -> None:
        """Hears one source, for as long as it speaks."""
        async for update in source.updates():
            self._said[source] = update
            self._news.set()

    def hurry(self) -> None:
        """From now on nobody is waited for."""
        self._hurried = True
        self._news.set()

    async def next(self) -> SourceUpdate:
        """All of it, at the next news."""
        while True:
            await self._news.wait()
            self._news.clear()
            if self._hurried or None not in self._said.values():
                return merged({source.origin: update for source, update in self._said.items()})


@dataclass(slots=True)
class _Sum:
    """What is wanted so far. ``holders``: where the pod of a name is described."""

    pods: list[Pod] = field(default_factory=list)
    objects: Objects = field(default_factory=Objects)
    problems: list[str] = field(default_factory=list)
    holders: dict[PodName, str] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    retained: set[PodName] = field(default_factory=set)


def merged(said: Mapping[str, SourceUpdate | None]) -> SourceUpdate:
    """One set of what the sources said, by origin and in order; None: nothing yet."""
    total = _Sum()
    silent = [origin for origin, update in said.items() if update is None]
    spoken = {origin: update for origin, update in said.items() if update is not None}
    for origin, update in spoken.items():
        total.problems.extend(update.problems)
        total.retained |= _add_pods(total, origin, update)
        total.objects = _with_objects(total, origin, update.objects)
    updates = spoken.values()
    return SourceUpdate(
        pods=tuple(total.pods),
        objects=total.objects,
        problems=tuple(total.problems),
        warnings=tuple(chain.from_iterable(update.warnings for update in updates)),
        retained=frozenset(total.retained),
        broken=frozenset(chain(silent, *(update.broken for update in updates))),
        missing=any(update.missing for update in updates),
        partial=bool(silent) or any(update.partial for update in updates),
    )


def _add_pods(total: _Sum, origin: str, update: SourceUpdate) -> frozenset[PodName]:
    """Returns those of the source's retained pods that are its own."""
    own: set[PodName] = set()
    for pod in update.pods:
        where = pod.metadata.annotations.get(MANIFEST_ANNOTATION, origin)
        if pod.name in total.holders:
            holder = total.holders[pod.name]
            total.problems.append(f'{where}: metadata.name: pod "{pod.name}" is already defined in {holder}')
        else:
            total.holders[pod.name] = where
            total.pods.append(pod)
            own.add(pod.name)
    return update.retained & own


def _with_objects(total: _Sum, origin: str, added: Objects) -> Objects:
    before = total.objects
    return Objects(
        config_maps=_joined(total, origin, "ConfigMap", before.config_maps, added.config_maps),
        secrets=_joined(total, origin, "Secret", before.secrets, added.secrets),
        claims=_joined(total, origin, "PersistentVolumeClaim", before.claims, added.claims),
        volumes=_joined(total, origin, "PersistentVolume", before.volumes, added.volumes),
    )


def _joined(total: _Sum, origin: str, kind: str, before: Mapping[K, V], added: Mapping[K, V]) -> dict[K, V]:
    for key in added:
        name = key if isinstance(key, str) else "/".join(map(str, key)) if isinstance(key, tuple) else str(key)
        title = f'{kind} "{name}"'
        if key in before:
            total.problems.append(f"{origin}: metadata.name: {title} is already defined in {total.titles[title]}")
        else:
            total.titles[title] = origin
    return {**added, **before}
