"""Time that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable

__all__ = ["VirtualClock"]


class VirtualClock:
    """A Clock. Whatever waits for a time is woken in order of the times, each at its own moment."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start
        self._order = itertools.count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self.call_at(self._now + max(seconds, 0.0), woken.set)
        await woken.wait()

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        """Calls back when the time has come."""
        heapq.heappush(self._due, (when, next(self._order), callback))

    async def settle(self) -> None:
        """Returns when nothing can happen any more without time passing."""
        loop = asyncio.get_running_loop()
        idle = 0
        while idle < 2:
            await asyncio.sleep(0)
            # What else could run is in the loop's queue; we are running, so we are not.
            idle = idle + 1 if not loop._ready else 0  # type: ignore[attr-defined]

    async def advance(self, seconds: float) -> None:
        """Lets so much time pass, and everything happen in it that is due."""
        await self.settle()
        end = self._now + seconds
        while self._due and self._due[0][0] <= end:
            when, _, callback = heapq.heappop(self._due)
            self._now = max(self._now, when)
            callback()
            await self.settle()
        self._now = end
        await self.settle()
