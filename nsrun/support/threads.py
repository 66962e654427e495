"""Work in a thread that a cancellation does not leave behind.

``asyncio.to_thread`` returns at once when it is cancelled, and the thread works on: a pod could be removed while
directories for its next container are still being made. Here whoever is cancelled waits until the thread is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

__all__ = ["finish_in_thread"]

_Value = TypeVar("_Value")


async def finish_in_thread(
    function: Callable[..., _Value], *arguments: object, undo: Callable[[_Value], object] | None = None
) -> _Value:
    """Runs ``function`` in a thread. Cancelled meanwhile, it waits for the end, then for ``undo`` of the result."""
    loop = asyncio.get_running_loop()
    work = loop.run_in_executor(None, partial(function, *arguments))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await _end_of(work)
        if undo is not None and not work.cancelled() and work.exception() is None:
            await _end_of(loop.run_in_executor(None, undo, work.result()))
        raise


async def _end_of(work: asyncio.Future[_Value]) -> None:
    while not work.done():
        try:
            await asyncio.wait((work,))
        except asyncio.CancelledError:
            continue  # the first one is raised when all is done
