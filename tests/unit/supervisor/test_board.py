"""What is true now, for whoever looks."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from nsrun.model.status import Event, EventType
from nsrun.supervisor.board import BEHIND, PodChange, StatusBoard
from nsrun.supervisor.status import rejected_status
from tests.unit.supervisor.world import pod


def event(number: int, *, name: str = "web", namespace: str = "default") -> Event:
    return Event(
        time=float(number), type=EventType.NORMAL, reason="R", message=f"{number}", namespace=namespace, pod=name
    )


def test_pods_are_found_by_name_and_uid() -> None:
    board = StatusBoard()
    b, a = pod("b"), pod("a")
    for one in (b, a):
        board.put(one, rejected_status(one, reason="R", message="m", now=1.0))
    assert [shown.name.name for shown, _ in board.pods()] == ["a", "b"]
    found = board.pod("default", "b")
    assert found is not None
    assert found[0] == b
    assert board.pod("elsewhere", "b") is None
    assert board.status("uid-a") is not None
    board.remove("uid-a")
    board.remove("uid-a")
    assert board.status("uid-a") is None
    assert [shown.uid for shown, _ in board.pods()] == ["uid-b"]


def test_while_one_takes_anothers_place_the_first_is_shown() -> None:
    board = StatusBoard()
    old, new = pod("web", uid="old"), pod("web", uid="new")
    for one in (old, new):
        board.put(one, rejected_status(one, reason="R", message="m", now=1.0))
    found = board.pod("default", "web")
    assert found is not None
    assert found[0] == old


def test_events_of_one_pod() -> None:
    board = StatusBoard()
    board.record(event(1))
    board.record(event(2, name="other"))
    board.record(event(3, namespace="elsewhere"))

    def said(**of: str) -> list[str]:
        return [series.event.message for series in board.events(**of)]

    assert said(namespace="default") == ["1", "2"]
    assert said(namespace="default", pod="web") == ["1"]
    assert said(pod="web") == ["1", "3"]


async def test_a_watch_tells_all_there_is_and_then_the_newest_of_each() -> None:
    board = StatusBoard()
    board.record(event(1))
    watch = board.watch_events()
    assert [series.event.message for series in await anext(watch)] == ["1"]
    for number in (2, 3, 2, 2):
        board.record(replace(event(number), time=float(number)))
    assert [(s.event.message, s.count) for s in await anext(watch)] == [("2", 3), ("3", 1)]
    waiting = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    board.record(event(1))
    assert [(s.number, s.count) for s in await waiting] == [(1, 2)]
    await watch.aclose()
    board.record(event(0))


async def test_changes_of_pods_are_watched() -> None:
    board = StatusBoard()
    web, other = pod("web"), pod("other")
    status = rejected_status(web, reason="R", message="m", now=1.0)
    board.put(web, status)
    watch = board.watch_pods()
    assert await anext(watch) == (PodChange(pod=web, status=status),)
    board.put(web, status)
    board.put(other, status)
    board.remove("uid-web")
    board.remove("uid-web")
    assert await anext(watch) == (
        PodChange(pod=other, status=status),
        PodChange(pod=web, status=status, gone=True),
    ), "what did not change is no news"


async def test_a_listener_that_is_far_behind_is_cut_off_and_holds_nobody_up() -> None:
    board = StatusBoard()
    watch = board.watch_events()
    await anext(watch)
    for number in range(BEHIND + 1):
        board.record(event(number))
    assert [news async for news in watch] == []


def test_each_event_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    board = StatusBoard()
    with caplog.at_level(logging.INFO):
        board.record(event(7))
        board.record(replace(event(8), type=EventType.WARNING))
        board.record(Event(time=9.0, type=EventType.WARNING, reason="FailedValidation", message="a.yaml:1:1: bad"))
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("INFO", 'Pod "default/web": R: 7'),
        ("WARNING", 'Pod "default/web": R: 8'),
        ("WARNING", "a.yaml:1:1: bad"),
    ]


def test_the_log_names_the_container_where_the_message_does_not(caplog: pytest.LogCaptureFixture) -> None:
    board = StatusBoard()
    with caplog.at_level(logging.INFO):
        board.record(replace(event(1), container="c", message="Started container c"))
        board.record(replace(event(2), container="c", message="Readiness probe failed: "))
    assert [r.getMessage() for r in caplog.records] == [
        'Pod "default/web": R: Started container c',
        'Pod "default/web" container "c": R: Readiness probe failed:',
    ]


def test_the_log_tells_a_warning_that_comes_again_and_again_seldom(caplog: pytest.LogCaptureFixture) -> None:
    board = StatusBoard()
    with caplog.at_level(logging.INFO):
        for second in range(12):
            board.record(replace(event(0), time=float(second), type=EventType.WARNING))
    assert [r.getMessage() for r in caplog.records] == [
        'Pod "default/web": R: 0',
        'Pod "default/web": R: 0 (x11 over 10s)',
    ]
    (series,) = board.events()
    assert (series.count, series.event.time, series.last) == (12, 0.0, 11.0)


def test_what_is_wrong_is_new_once() -> None:
    board = StatusBoard()
    assert board.report(problems=["a", "b", "a"], warnings=["w"]) == (("a", "b"), ("w",))
    assert board.report(problems=["b", "c"], warnings=["w"]) == (("c",), ())
    assert board.report(problems=[], warnings=[]) == ((), ())
    assert board.report(problems=["a"], warnings=[]) == (("a",), ()), "and again when it is back"
    assert (board.problems, board.warnings) == (("a",), ())
