"""Logs of containers as a kubelet gives them: from real files, over the handler."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from nsrun.api.container_logs import attempt_to_show, container_log_routes
from nsrun.api.places import Refused
from nsrun.api.requests import Request
from nsrun.api.responses import Answer, Response, Streamed
from nsrun.model.pod import Pod
from nsrun.model.resources import QosClass
from nsrun.model.status import ContainerStatus, Phase, PodStatus, Running, Terminated, Waiting
from nsrun.supervisor.board import StatusBoard
from nsrun.support.clock import SystemClock
from nsrun.support.layout import Layout
from tests.unit.supervisor.world import pod as make_pod

RUNNING = Running(started_at=0.0)
ENDED = Terminated(exit_code=1, reason="Error", started_at=0.0, finished_at=1.0, container_id="nsrun://x")
SECONDS = 20.0


def status(state: Running | Waiting | Terminated, *, last: Terminated | None = None, count: int = 0) -> ContainerStatus:
    return ContainerStatus(name="main", image="busybox", state=state, last_state=last, restart_count=count)


def pod_status(*containers: ContainerStatus) -> PodStatus:
    return PodStatus(phase=Phase.RUNNING, qos_class=QosClass.BEST_EFFORT, container_statuses=containers)


class World:
    """One pod with one container, and its log."""

    def __init__(self, base: Path) -> None:
        self.layout = Layout(root=base / "root", run_dir=base / "run", log_dir=base / "log")
        self.board = StatusBoard()
        self.pod: Pod = make_pod("web")
        self.container = self.pod.spec.containers[0].name
        self.log = self.layout.container_log(self.pod.name, self.pod.uid, self.container, 0)
        self.log.parent.mkdir(parents=True)
        (self.route,) = container_log_routes(self.board, self.layout, SystemClock())

    def show(self, container: ContainerStatus) -> None:
        self.board.put(self.pod, pod_status(replace(container, name=self.container)))

    async def ask(self, *, pod: str = "web", container: str | None = None, **query: str) -> Answer:
        parameters = {"namespace": "default", "pod": pod, "container": container or self.container}
        values = {name: (value,) for name, value in query.items()}
        return await self.route.handler(Request(method="GET", path="/", parameters=parameters, query=values))

    async def text(self, **query: str) -> bytes:
        answer = await self.ask(**query)
        assert isinstance(answer, Streamed)
        assert (answer.status, answer.content_type) == (200, "text/plain; charset=utf-8")
        return b"".join([chunk async for chunk in answer.chunks])


@pytest.fixture
def world(tmp_path: Path) -> World:
    found = World(tmp_path)
    found.log.write_bytes(
        b"2026-01-01T00:00:00.000000001Z stdout F one\n"
        b"2026-01-01T00:00:01.000000000Z stderr F oops\n"
        b"not a record\n"
        b"2026-01-01T00:00:02.000000000Z stdout P tw\n"
        b"2026-01-01T00:00:02.500000000Z stdout F o\n"
        b"2026-01-01T00:00:03.000000000Z stdout F three\n"
    )
    found.show(status(RUNNING))
    return found


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, b"one\noops\ntwo\nthree\n"),
        ({"tailLines": "2"}, b"o\nthree\n"),
        ({"tailLines": "0"}, b""),
        ({"limitBytes": "6"}, b"one\noo"),
        ({"stream": "Stderr"}, b"oops\n"),
        ({"sinceTime": "2026-01-01T00:00:02Z"}, b"two\nthree\n"),
        ({"sinceTime": "2026-01-01T01:00:02.500002+01:00"}, b"three\n"),
        ({"sinceTime": "0001-01-01T00:00:00Z"}, b"one\noops\ntwo\nthree\n"),
        ({"sinceSeconds": "1"}, b""),
        (
            {"timestamps": "true", "tailLines": "3"},
            b"2026-01-01T00:00:02.000000000Z two\n2026-01-01T00:00:03.000000000Z three\n",
        ),
    ],
)
async def test_what_is_shown(world: World, query: dict[str, str], expected: bytes) -> None:
    assert await world.text(**query) == expected


async def test_what_was_rotated_away_is_shown_too(world: World) -> None:
    world.log.rename(world.log.with_name("0.log.20260101-000004"))
    world.log.write_bytes(b"2026-01-01T00:00:05.000000000Z stdout F four\n")
    assert await world.text() == b"one\noops\ntwo\nthree\nfour\n"
    assert await world.text(tailLines="2") == b"three\nfour\n"


async def test_a_container_that_never_wrote(world: World) -> None:
    world.log.unlink()
    assert await world.text() == b""


async def test_following_ends_with_the_container_and_crosses_rotations(world: World) -> None:
    answer = await world.ask(follow="true", tailLines="1")
    assert isinstance(answer, Streamed)
    chunks = answer.chunks
    async with asyncio.timeout(SECONDS):
        assert await anext(chunks) == b"three\n"
        with world.log.open("ab") as log:
            log.write(b"2026-01-01T00:00:05.000000000Z stdout F four\n")
        assert await anext(chunks) == b"four\n"
        world.log.rename(world.log.with_name("0.log.20260101-000006"))
        world.log.write_bytes(b"2026-01-01T00:00:07.000000000Z stdout F five\n")
        assert await anext(chunks) == b"five\n"
        with world.log.open("ab") as log:
            log.write(b"2026-01-01T00:00:08.000000000Z stdout F last words\n")
        world.show(status(ENDED))
        assert [chunk async for chunk in chunks] == [b"last words\n"]


@pytest.mark.parametrize("after", ["restarted", "gone", "another status"])
async def test_following_is_about_one_run(world: World, after: str) -> None:
    answer = await world.ask(follow="true")
    assert isinstance(answer, Streamed)
    async with asyncio.timeout(SECONDS):
        await anext(answer.chunks)
        match after:
            case "restarted":
                world.show(status(RUNNING, last=ENDED, count=1))
            case "gone":
                world.board.remove(world.pod.uid)
            case _:
                world.board.put(world.pod, pod_status())
        assert [chunk async for chunk in answer.chunks] == []


async def test_following_begins_before_there_is_a_log(world: World) -> None:
    content = world.log.read_bytes()
    world.log.unlink()
    answer = await world.ask(follow="true")
    assert isinstance(answer, Streamed)
    chunks: AsyncIterator[bytes] = answer.chunks

    async def first() -> bytes:
        return await anext(chunks)

    async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
        asked = group.create_task(first())
        await asyncio.sleep(0)
        world.log.write_bytes(content)
        assert await asked == b"one\noops\ntwo\nthree\n"
        world.board.remove(world.pod.uid)


async def refused(world: World, **query: str) -> tuple[int, str]:
    answer = await world.ask(**query)
    assert isinstance(answer, Response)
    return answer.status, answer.body.decode()


async def test_where_there_is_nothing(world: World) -> None:
    assert await refused(world, pod="other") == (404, 'pod "other" does not exist\n')
    assert await refused(world, container="other") == (404, 'container "other" not found in pod "web"\n')
    assert (await refused(world, tailLines="x"))[0] == 400
    world.board.put(world.pod, pod_status())
    assert await refused(world) == (400, f'container "{world.container}" in pod "web" is not available')


@pytest.mark.parametrize(
    ("container", "previous", "attempt"),
    [
        (status(RUNNING, count=3), False, 3),
        (status(RUNNING, last=ENDED, count=3), True, 2),
        (status(ENDED, count=3), False, 3),
        (status(Waiting(reason="CrashLoopBackOff"), last=ENDED, count=3), False, 3),
        (status(Waiting(reason="CrashLoopBackOff"), last=ENDED, count=3), True, 3),
        (status(RUNNING), True, 'previous terminated container "main" in pod "web" not found'),
        (
            status(Waiting(reason="ErrImagePull")),
            False,
            'container "main" in pod "web" is waiting to start: image can\'t be pulled',
        ),
        (
            status(Waiting(reason="ImagePullBackOff")),
            False,
            'container "main" in pod "web" is waiting to start: trying and failing to pull image',
        ),
        (
            status(Waiting(reason="ContainerCreating")),
            False,
            'container "main" in pod "web" is waiting to start: ContainerCreating',
        ),
    ],
)
def test_which_run_is_meant(world: World, container: ContainerStatus, previous: bool, attempt: int | str) -> None:
    spec = replace(world.pod.spec, containers=(replace(world.pod.spec.containers[0], name="main"),))
    pod = replace(world.pod, spec=spec)
    if isinstance(attempt, int):
        assert attempt_to_show(pod, pod_status(container), "main", previous=previous) == attempt
        return
    with pytest.raises(Refused) as told:
        attempt_to_show(pod, pod_status(container), "main", previous=previous)
    assert (told.value.answer.status, told.value.answer.body.decode()) == (400, attempt)
