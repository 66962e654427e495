"""One piece of work at a time per key; whoever asks for the same meanwhile gets the same result."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["SingleFlight"]

T = TypeVar("T")


class _Abandoned(Exception):
    """Whoever did the work was cancelled; the work was not."""


class SingleFlight(Generic[T]):
    """No task of its own: the first caller does the work, and when it is cancelled one of the others takes over."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, asyncio.Future[T]] = {}

    async def run(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """The result of ``work``, or its exception, done once for all who ask for ``key`` while it is under way."""
        while (flight := self._flights.get(key)) is not None:
            try:
                return await asyncio.shield(flight)
            except _Abandoned:
                continue
        return await self._lead(key, work)

    async def _lead(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        flight: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._flights[key] = flight
        try:
            result = await work()
        except asyncio.CancelledError:
            flight.set_exception(_Abandoned())
            raise
        except BaseException as error:
            flight.set_exception(error)
            raise
        else:
            flight.set_result(result)
            return result
        finally:
            del self._flights[key]
            if not flight.cancelled():
                flight.exception()  # it may be that nobody else waits for it
