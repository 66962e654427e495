"""Changes for one reader who may be slow: of each thing only the newest is kept, and no more than so many."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["Feed"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Feed(Generic[K, V]):
    """Belongs to one event loop. A reader who falls ``most`` things behind is cut off: the feed ends."""

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._waiting: dict[K, V] = {}  # in the order in which they changed first
        self._ended = False
        self._some = asyncio.Event()

    def put(self, key: K, value: V) -> None:
        """This changed; what was not read of it before is not news any more."""
        self._waiting[key] = value
        if len(self._waiting) > self._most:
            self._waiting.clear()
            self._ended = True
        self._some.set()

    async def take(self) -> tuple[V, ...]:
        """What has changed since, at least one thing; nothing when the reader was cut off."""
        while not self._waiting and not self._ended:
            self._some.clear()
            await self._some.wait()
        changes = () if self._ended else tuple(self._waiting.values())
        self._waiting.clear()
        return changes
