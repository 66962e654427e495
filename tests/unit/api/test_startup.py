"""Nothing wrong is answered while nsrun starts."""

from __future__ import annotations

import asyncio

from nsrun.api.access import Access
from nsrun.api.requests import Request
from nsrun.api.responses import Response, text
from nsrun.api.routes import Route
from nsrun.api.startup import once_known


async def _handler(_request: Request) -> Response:
    return text("here")


def _route(path: str, known: asyncio.Event, *, patience: float = 60.0) -> Route:
    async def until() -> None:
        await known.wait()

    plain = Route(method="GET", path=path, access=Access.READ, handler=_handler)
    (route,) = once_known((plain,), until, patience=patience)
    return route


async def _answer(route: Route) -> Response:
    answer = await route.handler(Request(method="GET", path=route.path))
    assert isinstance(answer, Response)
    return answer


async def test_an_early_question_is_answered_when_it_is_known() -> None:
    known = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        asked = group.create_task(_answer(_route("/pods", known)))
        for _ in range(3):
            await asyncio.sleep(0)
        assert not asked.done()
        known.set()
    assert asked.result().body == b"here"


async def test_whoever_asks_for_too_long_is_told_to_come_again() -> None:
    answer = await _answer(_route("/pods", asyncio.Event(), patience=0.0))
    assert answer.status == 503
    assert b"starting" in answer.body


async def test_health_and_down_do_not_wait() -> None:
    for path in ("/healthz", "/healthz/syncloop", "/nsrun/down"):
        assert (await _answer(_route(path, asyncio.Event()))).status == 200
