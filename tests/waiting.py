"""Waiting for a condition, with a deadline: the one place in the tests that sleeps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["eventually", "eventually_async"]

T = TypeVar("T")


def eventually(condition: Callable[[], T], *, seconds: float = 20.0, every: float = 0.02, what: str = "") -> T:
    """The first true value of ``condition``. Fails when there is none within ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"never true within {seconds:g} s: {what or condition}; last: {value!r}")
        time.sleep(every)


async def eventually_async(
    condition: Callable[[], T], *, seconds: float = 20.0, every: float = 0.005, what: str = ""
) -> T:
    """The same on an event loop."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"never true within {seconds:g} s: {what or condition}; last: {value!r}")
        await asyncio.sleep(every)
