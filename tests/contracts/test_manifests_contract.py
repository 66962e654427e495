"""What every ``Manifests`` keeps to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from nsrun.model.encode import encode_pod
from nsrun.model.pod import Pod
from nsrun.sources.directory import DirectorySource
from nsrun.supervisor.ports import Manifests, SourceUpdate
from nsrun.support.clock import SystemClock
from tests.contracts.fakes import FakeManifests
from tests.unit.supervisor.world import pod
from tests.waiting import PATIENCE


class Desk(Protocol):
    """Where the tests write manifests."""

    source: Manifests

    def write(self, *pods: Pod) -> None:
        """These are all there are now."""
        ...


class FakeDesk:
    def __init__(self, tmp_path: Path) -> None:
        self.source = FakeManifests()
        self.source.say()

    def write(self, *pods: Pod) -> None:
        self.source.say(*pods)


class RealDesk:
    def __init__(self, tmp_path: Path) -> None:
        self._directory = tmp_path / "manifests"
        self._directory.mkdir()
        self.source: Manifests = DirectorySource(self._directory, node_name="here", clock=SystemClock())

    def write(self, *pods: Pod) -> None:
        wanted = {self._directory / f"{one.metadata.name}.json": one for one in pods}
        for path in self._directory.iterdir():
            if path not in wanted:
                path.unlink()
        for path, one in wanted.items():
            path.write_text(json.dumps(encode_pod(one)))


@pytest.fixture(params=[FakeDesk, RealDesk], ids=["fake", "real"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Desk:
    made: Desk = request.param(tmp_path)
    return made


async def until(source: Manifests, wanted: Callable[[SourceUpdate], bool]) -> SourceUpdate:
    async with asyncio.timeout(20 * PATIENCE):
        async for update in source.updates():
            if wanted(update):
                return update
    raise AssertionError("a source never ends")


def names(update: SourceUpdate) -> list[str]:
    return [one.metadata.name for one in update.pods]


async def test_it_speaks_at_once_even_when_there_is_nothing(desk: Desk) -> None:
    assert (await until(desk.source, lambda update: True)).pods == ()


async def test_it_tells_all_there_is_in_order(desk: Desk) -> None:
    desk.write(pod("a"), pod("b"))
    update = await until(desk.source, lambda update: True)
    assert names(update) == ["a", "b"]
    assert [one.spec.containers for one in update.pods] == [pod("a").spec.containers, pod("b").spec.containers]
    assert [one.uid for one in update.pods] == ["uid-a", "uid-b"]
    assert update.problems == ()


async def test_it_tells_of_every_change(desk: Desk) -> None:
    seen = []
    async with asyncio.timeout(20 * PATIENCE):
        async for update in desk.source.updates():
            seen.append(names(update))
            if names(update) == []:
                if len(seen) > 1:
                    break
                desk.write(pod("a"))
            elif names(update) == ["a"]:
                desk.write(pod("a"), pod("b"))
            else:
                desk.write()
    assert seen[:2] == [[], ["a"]]
    assert ["a", "b"] in seen


async def test_it_can_be_asked_anew(desk: Desk) -> None:
    """As after a stumble: the whole set again."""
    desk.write(pod("a"))
    for _ in range(2):
        assert names(await until(desk.source, lambda update: bool(update.pods))) == ["a"]
