"""Time as a collaborator: what waits or stamps receives a Clock, so that tests own the time."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

__all__ = ["Clock", "SystemClock", "from_rfc3339", "rfc3339"]


class Clock(Protocol):
    """Wall time, monotonic time, and waiting."""

    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds of a clock that never jumps."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        # Whoever waits has it; to list pods, which reads times, it takes too long to import.
        from asyncio import sleep

        await sleep(seconds)


def rfc3339(seconds: float) -> str:
    """``0.0`` → ``1970-01-01T00:00:00Z``: metav1.Time's form."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_rfc3339(text: str) -> float:
    """Seconds since the epoch. Raises ValueError."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
