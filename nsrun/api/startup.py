"""What is answered while nsrun starts: nothing that would be wrong a moment later."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace

from nsrun.api.requests import Request
from nsrun.api.responses import Answer, text
from nsrun.api.routes import Handler, Route

__all__ = ["once_known"]

PATIENCE = 20.0
"""Seconds; the command line waits for 30."""

_EARLY = ("/healthz", "/nsrun/down")


def once_known(
    routes: Iterable[Route], known: Callable[[], Awaitable[None]], *, patience: float = PATIENCE
) -> tuple[Route, ...]:
    """The same routes, each answering only when ``known`` has returned: the supervisor has found what runs here and
    read what is wanted. Whoever asks earlier waits ``patience`` seconds, and is then told 503. Health and the wish that
    all be taken down need not wait."""
    return tuple(
        route if route.path.startswith(_EARLY) else replace(route, handler=_waiting(route.handler, known, patience))
        for route in routes
    )


def _waiting(handler: Handler, known: Callable[[], Awaitable[None]], patience: float) -> Handler:
    async def handle(request: Request) -> Answer:
        try:
            async with asyncio.timeout(patience):
                await known()
        except TimeoutError:
            return text("nsrun is starting: it does not know yet what runs here\n", status=503)
        return await handler(request)

    return handle
