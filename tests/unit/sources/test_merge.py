"""Several sources as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from nsrun.model.objects import ConfigMap, Objects, PersistentVolume
from nsrun.model.pod import Pod
from nsrun.model.update import MANIFEST_ANNOTATION, SourceUpdate
from nsrun.sources.merge import FIRST_WORD, MergedSources, merged
from nsrun.support.layout import PodName
from tests.contracts.virtualclock import VirtualClock
from tests.unit.supervisor.world import pod


def of(origin: str, name: str) -> Pod:
    made = pod(name, uid=f"{origin}-{name}")
    return replace(made, metadata=replace(made.metadata, annotations={MANIFEST_ANNOTATION: origin}))


def names(update: SourceUpdate) -> list[str]:
    return [one.uid for one in update.pods]


class Told:
    """A source that says what it is given."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self._words: asyncio.Queue[SourceUpdate | Exception] = asyncio.Queue()

    def say(self, word: SourceUpdate | Exception) -> None:
        self._words.put_nowait(word)

    async def updates(self) -> AsyncIterator[SourceUpdate]:
        while True:
            word = await self._words.get()
            if isinstance(word, Exception):
                raise word
            yield word


def test_the_first_that_describes_a_pod_has_it() -> None:
    update = merged(
        {
            "/m": SourceUpdate(pods=(of("/m/a.yaml", "x"), of("/m/a.yaml", "y"))),
            "http://h/": SourceUpdate(
                pods=(of("http://h/", "y"), of("http://h/", "z")),
                problems=("http://h/: bad",),
                retained=frozenset({PodName(namespace="default", name=name) for name in ("y", "z")}),
            ),
        }
    )
    assert names(update) == ["/m/a.yaml-x", "/m/a.yaml-y", "http://h/-z"]
    assert update.problems == (
        "http://h/: bad",
        'http://h/: metadata.name: pod "default/y" is already defined in /m/a.yaml',
    )
    assert update.retained == {PodName(namespace="default", name="z")}
    assert not update.partial


def test_so_it_is_with_what_pods_refer_to() -> None:
    def one(text: str) -> Objects:
        settings = ConfigMap(namespace="default", name="settings", data={"a": text.encode()})
        return Objects(
            config_maps={("default", "settings"): settings}, volumes={"disk": PersistentVolume(name="disk", path=text)}
        )

    update = merged({"/m": SourceUpdate(pods=(), objects=one("/1")), "/n": SourceUpdate(pods=(), objects=one("/2"))})
    assert update.objects == one("/1")
    assert update.problems == (
        '/n: metadata.name: ConfigMap "default/settings" is already defined in /m',
        '/n: metadata.name: PersistentVolume "disk" is already defined in /m',
    )


def test_who_said_nothing_yet_loses_nothing() -> None:
    """Its pods, which an earlier nsrun started, are kept, and what may be its own is not cleared away."""
    update = merged({"/m": SourceUpdate(pods=(of("/m/a", "x"),)), "http://h/p": None})
    assert update.partial
    assert update.keeps(of("http://h/p", "old"))
    assert not update.keeps(of("/m/a", "removed"))
    broken = merged({"/m": SourceUpdate(pods=(), missing=True), "h": SourceUpdate(pods=(), partial=True)})
    assert broken.partial
    assert broken.missing


@asynccontextmanager
async def listening(*sources: Told) -> AsyncIterator[tuple[VirtualClock, list[list[str]]]]:
    """The clock, and the pods of every update so far."""
    clock, heard = VirtualClock(), list[list[str]]()

    async def listen() -> None:
        async for update in MergedSources(sources, clock=clock).updates():
            heard.append(names(update))

    async with asyncio.TaskGroup() as group:
        task = group.create_task(listen())
        await clock.settle()
        yield clock, heard
        task.cancel()


async def test_it_speaks_when_all_have_spoken_and_then_at_every_change() -> None:
    one, two = Told("/m"), Told("http://h/")
    async with listening(one, two) as (clock, heard):
        one.say(SourceUpdate(pods=(of("/m", "a"),)))
        await clock.settle()
        assert heard == []
        two.say(SourceUpdate(pods=(of("h", "b"),)))
        await clock.settle()
        assert heard == [["/m-a", "h-b"]]
        one.say(SourceUpdate(pods=(of("/m", "a"),)))
        await clock.advance(10 * FIRST_WORD)
        assert len(heard) == 1
        one.say(SourceUpdate(pods=()))
        await clock.settle()
        assert heard[1:] == [["h-b"]]


async def test_nobody_waits_long_for_the_slowest() -> None:
    one, two = Told("/m"), Told("http://h/")
    async with listening(one, two) as (clock, heard):
        one.say(SourceUpdate(pods=(of("/m", "a"),)))
        await clock.advance(FIRST_WORD)
        assert heard == [["/m-a"]]
        two.say(SourceUpdate(pods=(of("h", "b"),)))
        await clock.settle()
        assert heard[1:] == [["/m-a", "h-b"]]


async def test_a_source_that_stumbles_is_told() -> None:
    """The supervisor asks anew."""
    one = Told("/m")
    one.say(ValueError("a bug"))
    with pytest.raises(ExceptionGroup):
        async for _ in MergedSources((one,), clock=VirtualClock()).updates():
            pass
