"""Follows a source: what it said last, and waiting until it says something."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from nsrun.model.update import SourceUpdate
from nsrun.sources.directory import DirectorySource
from nsrun.supervisor.ports import Manifests
from nsrun.support.clock import SystemClock
from tests.waiting import eventually_async

__all__ = ["Follower", "follow", "following", "manifest"]


def manifest(name: str, *, image: str = "busybox") -> str:
    return (
        f"apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n"
        f"spec:\n  containers:\n    - name: main\n      image: {image}\n"
    )


class Follower:
    """Everything a source said so far, and how it ended if it did."""

    def __init__(self) -> None:
        self.updates: list[SourceUpdate] = []

    @property
    def last(self) -> SourceUpdate:
        return self.updates[-1]

    @property
    def pods(self) -> list[str]:
        return [pod.metadata.name for pod in self.last.pods] if self.updates else ["(nothing said)"]

    async def until(self, condition: Callable[[SourceUpdate], object]) -> SourceUpdate:
        """The first update that holds; fails after a generous while."""

        def holds() -> bool:
            return bool(self.updates and condition(self.last))

        await eventually_async(holds, what=f"last: {self.updates[-1:]}")
        return self.last

    async def until_pods(self, *names: str) -> SourceUpdate:
        return await self.until(lambda update: [pod.metadata.name for pod in update.pods] == list(names))


@asynccontextmanager
async def following(path: Path, *, check_seconds: float = 1000.0) -> AsyncIterator[Follower]:
    """Follows a directory; only events tell about changes, unless ``check_seconds`` is short."""
    source = DirectorySource(path, node_name="node", check_seconds=check_seconds, clock=SystemClock())
    async with follow(source) as follower:
        yield follower


@asynccontextmanager
async def follow(source: Manifests) -> AsyncIterator[Follower]:
    """Follows any source."""
    follower = Follower()

    async def listen() -> None:
        async for update in source.updates():
            follower.updates.append(update)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(listen())
        await follower.until(lambda _: True)
        try:
            yield follower
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
