"""What every ``Manifests`` keeps to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Protocol, cast

import pytest

from nsrun.model.encode import encode_pod
from nsrun.model.pod import Pod
from nsrun.sources.directory import DirectorySource
from nsrun.sources.merge import MergedSources, Source
from nsrun.sources.requested import RequestedPods
from nsrun.sources.url import UrlSource
from nsrun.supervisor.ports import Manifests, SourceUpdate
from nsrun.support.clock import SystemClock
from tests.contracts.fakes import FakeManifests
from tests.unit.supervisor.world import pod
from tests.waiting import PATIENCE
from tests.webserver import WebServer, web_server


class Desk(Protocol):
    """Where the tests write manifests."""

    source: Manifests

    def write(self, *pods: Pod) -> None:
        """These are all there are now."""
        ...


class FakeDesk:
    def __init__(self, tmp_path: Path) -> None:
        self._said = FakeManifests()
        self.source: Manifests = self._said
        self._said.say()

    def write(self, *pods: Pod) -> None:
        self._said.say(*pods)


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


class UrlDesk:
    def __init__(self, web: WebServer) -> None:
        self._web = web
        self.source: Manifests = UrlSource(web.url(), node_name="here", check_seconds=0.01, clock=SystemClock())
        self.write()

    def write(self, *pods: Pod) -> None:
        self._web.says(json.dumps({"kind": "PodList", "apiVersion": "v1", "items": [encode_pod(one) for one in pods]}))


class MergedDesk:
    """The first pod at a URL, the others in a directory, which takes longer to let go of one; none that anybody asked
    for."""

    def __init__(self, tmp_path: Path, web: WebServer) -> None:
        self._directory, self._url = RealDesk(tmp_path), UrlDesk(web)
        requested = RequestedPods(tmp_path / "requested", node_name="here", boot_id="boot")
        sources = (cast("Source", self._url.source), cast("Source", self._directory.source), requested)
        self.source: Manifests = MergedSources(sources, clock=SystemClock())

    def write(self, *pods: Pod) -> None:
        self._url.write(*pods[:1])
        self._directory.write(*pods[1:])


@pytest.fixture(params=["fake", "directory", "url", "merged"])
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    async with web_server() as web:
        match request.param:
            case "fake":
                yield FakeDesk(tmp_path)
            case "directory":
                yield RealDesk(tmp_path)
            case "url":
                yield UrlDesk(web)
            case _:
                yield MergedDesk(tmp_path, web)


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
