"""Orders for containers over the socket: what is answered, and when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from nsrun.api.access import Access
from nsrun.api.control_routes import control_routes
from nsrun.api.requests import Request
from nsrun.api.responses import Response, Streamed
from nsrun.api.routing import Match, RouteTable
from tests.unit.supervisor.world import Daemon, World, container, pod, sidecar

WEB = pod("web", container("main", "trap '' TERM; sleep 9999"), container("other"), init=[sidecar("side")])
PATH = "/nsrun/pods/default/web"


async def ask(daemon: Daemon, path: str, **query: str) -> Response | Streamed:
    found = RouteTable(control_routes(daemon.supervisor, heartbeat=0.001)).find("POST", path)
    assert isinstance(found, Match)
    assert found.route.access is Access.CONTROL
    request = Request(
        method="POST",
        path=path,
        parameters=found.parameters,
        query={name: tuple(values.split()) for name, values in query.items()},
    )
    answer = await found.route.handler(request)
    assert isinstance(answer, Response | Streamed)
    return answer


async def lines(answer: Response | Streamed) -> AsyncIterator[Mapping[str, Any]]:
    assert isinstance(answer, Streamed)
    async for chunk in answer.chunks:
        assert chunk.endswith(b"\n")
        yield json.loads(chunk)


async def test_it_is_told_what_is_waited_for_until_it_is_done() -> None:
    world = World()
    world.manifests.say(WEB)
    async with world.daemon() as daemon:
        told = lines(await ask(daemon, f"{PATH}/containers/main/stop", grace="5"))
        seen = [await anext(told)]
        while seen[-1].get("waitsFor") != "its end, after the stop signal":
            seen.append(await anext(told))
        assert await anext(told) == seen[-1], "again and again"
        await world.clock.advance(5)
        assert [line async for line in told][-1] == {"container": "main", "done": True}


async def test_each_of_several_is_done_once() -> None:
    world = World()
    world.manifests.say(WEB)
    async with world.daemon() as daemon:
        told = lines(await ask(daemon, f"{PATH}/restart", container="other side"))
        done = [line["container"] async for line in told if line.get("done")]
        assert sorted(done) == ["other", "side"]
        assert world.machine.processes["uid-web", "main"] == 1


async def test_none_named_is_all_of_them() -> None:
    world = World()
    world.manifests.say(WEB)
    async with world.daemon() as daemon:
        told = lines(await ask(daemon, f"{PATH}/start"))
        assert {line["container"] async for line in told} == {"main", "other", "side"}


async def test_why_it_was_not_done() -> None:
    world = World()
    broken = pod("web", container("main", "/nonexistent"))
    world.manifests.say(broken)
    async with world.daemon() as daemon:
        told = lines(await ask(daemon, f"{PATH}/restart"))
        (failed,) = [line async for line in told if "failure" in line]
        assert failed["container"] == "main"
        assert "no such file" in failed["failure"]


async def test_who_stops_listening_changes_nothing() -> None:
    world = World()
    world.manifests.say(WEB)
    async with world.daemon() as daemon:
        answer = await ask(daemon, f"{PATH}/stop", container="other")
        assert isinstance(answer, Streamed)
        await anext(answer.chunks)
        await answer.chunks.aclose()  # type: ignore[attr-defined]
        await world.clock.settle()
        assert world.machine.run_of(WEB, "other") is None


@pytest.mark.parametrize(
    ("path", "query", "status", "said"),
    [
        ("/nsrun/pods/default/none/stop", {}, 404, 'cannot stop pod "default/none"'),
        (f"{PATH}/containers/none/start", {}, 404, 'cannot start container "none"'),
        (f"{PATH}/containers/done/restart", {}, 409, "an init container that is over"),
        (f"{PATH}/stop", {"grace": "soon"}, 400, "grace must be a number of seconds"),
        (f"{PATH}/stop", {"grace": "-1"}, 400, "grace must be a number of seconds"),
        (f"{PATH}/stop", {"grace": "inf"}, 400, "grace must be a number of seconds"),
    ],
)
async def test_what_cannot_be_is_refused_at_once(path: str, query: dict[str, str], status: int, said: str) -> None:
    world = World()
    world.manifests.say(pod("web", init=[container("done", "exit 0")]))
    async with world.daemon() as daemon:
        await asyncio.sleep(0)
        answer = await ask(daemon, path, **query)
        assert isinstance(answer, Response)
        assert answer.status == status
        assert said in json.loads(answer.body)["message"]
        assert world.machine.signalled == []
