"""Waiting for a condition, with a deadline: the one place in the tests that sleeps.

``NSRUN_TEST_PATIENCE`` stretches every deadline: an emulated processor is ten times slower.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["PATIENCE", "eventually", "eventually_async", "fewer", "idle"]

T = TypeVar("T")

PATIENCE = float(os.environ.get("NSRUN_TEST_PATIENCE", "1"))


def fewer(count: int, *, least: int = 3) -> int:
    """How often to do what is done again and again: ``count`` times, and in ten times the time a tenth of them."""
    return min(count, max(least, round(count / PATIENCE)))


def eventually(condition: Callable[[], T], *, seconds: float = 20.0, every: float = 0.02, what: str = "") -> T:
    """The first true value of ``condition``. Fails when there is none within ``seconds``."""
    deadline = time.monotonic() + seconds * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"never true within {seconds * PATIENCE:g} s: {what or condition}; last: {value!r}")
        time.sleep(every)


async def eventually_async(
    condition: Callable[[], T], *, seconds: float = 20.0, every: float = 0.005, what: str = ""
) -> T:
    """The same on an event loop."""
    deadline = time.monotonic() + seconds * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"never true within {seconds * PATIENCE:g} s: {what or condition}; last: {value!r}")
        await asyncio.sleep(every)


async def idle(seconds: float) -> None:
    """For peers that are slow on purpose, and for what measures time. Never to wait for something to happen."""
    await asyncio.sleep(seconds)
