"""Pods and events, now and from now on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

from nsrun.api.pod_list import PodList
from nsrun.api.requests import Request
from nsrun.api.responses import Response, Streamed
from nsrun.api.watch_routes import watch_routes
from nsrun.model.status import Event, EventType
from nsrun.supervisor.board import BEHIND, StatusBoard
from nsrun.supervisor.status import rejected_status
from tests.unit.supervisor.world import pod

STATUS = rejected_status(pod("web"), reason="R", message="m", now=1.0)


def event(message: str, *, name: str = "web", namespace: str = "default") -> Event:
    return Event(time=5.0, type=EventType.NORMAL, reason="R", message=message, namespace=namespace, pod=name)


async def ask(board: StatusBoard, path: str, **query: str) -> Response | Streamed:
    (route,) = [route for route in watch_routes(board, PodList(board, node_name="node")) if route.path == path]
    answer = await route.handler(Request(method="GET", path=path, query={k: (v,) for k, v in query.items()}))
    assert isinstance(answer, Response | Streamed)
    return answer


async def watch(board: StatusBoard, path: str, **query: str) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
    """Type and object; without a limit the newest is told and no more."""
    answer = await ask(board, path, watch="1", **query)
    assert isinstance(answer, Streamed)
    async for line in answer.chunks:
        told = json.loads(line)
        yield told["type"], told["object"]


async def test_pods_come_change_and_go() -> None:
    board = StatusBoard()
    board.put(pod("web"), STATUS)
    board.put(pod("app"), STATUS)
    told = watch(board, "/nsrun/pods")
    first = [await anext(told) for _ in range(3)]
    assert [(type, of["metadata"].get("name")) for type, of in first] == [
        ("ADDED", "app"),
        ("ADDED", "web"),
        ("BOOKMARK", None),
    ]
    assert first[2][1]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert first[0][1]["spec"]["nodeName"] == "node"
    board.put(pod("web"), replace(STATUS, message="other"))
    board.put(pod("new"), STATUS)
    board.put(pod("short"), STATUS)
    board.remove("uid-short")
    board.remove("uid-app")
    changes = [await anext(told) for _ in range(3)]
    assert [(type, of["metadata"]["name"]) for type, of in changes] == [
        ("MODIFIED", "web"),
        ("ADDED", "new"),
        ("DELETED", "app"),
    ], "what came and went meanwhile is no news"
    assert changes[0][1]["status"]["message"] == "other"
    board.put(pod("app"), STATUS)
    assert (await anext(told))[0] == "ADDED"


async def test_events_are_added_and_counted() -> None:
    board = StatusBoard()
    board.record(event("a"))
    board.record(event("b"))
    board.record(event("a"))
    told = watch(board, "/nsrun/events")
    assert [(type, of.get("message"), of.get("count")) for type, of in [await anext(told) for _ in range(3)]] == [
        ("ADDED", "b", 1),
        ("ADDED", "a", 2),
        ("BOOKMARK", None, None),
    ]
    board.record(event("b"))
    board.record(event("c"))
    board.record(event("c"))
    assert [(type, of["message"], of["count"]) for type, of in [await anext(told) for _ in range(2)]] == [
        ("MODIFIED", "b", 2),
        ("ADDED", "c", 2),
    ]


async def test_events_of_one_pod_or_namespace() -> None:
    board = StatusBoard()
    for name, namespace in (("web", "default"), ("web", "other"), ("app", "default")):
        board.record(event("said", name=name, namespace=namespace))
    one = [of async for _, of in watch(board, "/nsrun/events", timeoutSeconds="0", namespace="default", pod="web")]
    assert [of["involvedObject"]["name"] for of in one[:-1]] == ["web"]
    answer = await ask(board, "/nsrun/events", namespace="default")
    assert isinstance(answer, Response)
    listed = json.loads(answer.body)
    assert (listed["kind"], [item["involvedObject"]["name"] for item in listed["items"]]) == (
        "EventList",
        ["web", "app"],
    )


async def test_the_whole_list_without_a_watch() -> None:
    board = StatusBoard()
    board.put(pod("web"), STATUS)
    answer = await ask(board, "/nsrun/pods")
    assert isinstance(answer, Response)
    assert [item["metadata"]["name"] for item in json.loads(answer.body)["items"]] == ["web"]


async def test_a_watch_ends_at_its_time_or_when_its_reader_is_far_behind() -> None:
    board = StatusBoard()
    board.put(pod("web"), STATUS)
    assert [type async for type, _ in watch(board, "/nsrun/pods", timeoutSeconds="0")] == ["ADDED", "BOOKMARK"]
    told = watch(board, "/nsrun/pods")
    await anext(told)
    for number in range(BEHIND + 1):
        board.put(pod("p", uid=f"{number}"), STATUS)
    assert [type async for type, _ in told] == ["BOOKMARK"]
    assert board._pod_feeds == set()


async def test_a_reader_who_goes_is_forgotten() -> None:
    board = StatusBoard()
    answer = await ask(board, "/nsrun/pods", watch="true")
    assert isinstance(answer, Streamed)
    await anext(answer.chunks)
    assert len(board._pod_feeds) == 1
    await answer.chunks.aclose()  # type: ignore[attr-defined]
    assert board._pod_feeds == set()


async def test_what_is_no_time_is_refused() -> None:
    answer = await ask(StatusBoard(), "/nsrun/events", watch="1", timeoutSeconds="soon")
    assert isinstance(answer, Response)
    assert answer.status == 400
