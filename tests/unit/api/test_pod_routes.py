"""What is answered about pods that are asked for one by one."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from nsrun.api.access import Access
from nsrun.api.pod_routes import pod_routes
from nsrun.api.requests import Request
from nsrun.api.responses import Response
from nsrun.errors import RuntimeFailure
from nsrun.model.pod import Pod
from nsrun.model.resources import QosClass
from nsrun.model.status import ContainerStatus, Phase, PodStatus, Running, Waiting
from nsrun.model.uid import CONFIG_SOURCE
from nsrun.model.update import MANIFEST_ANNOTATION
from nsrun.sources.requested import RequestedPods
from nsrun.supervisor.board import StatusBoard
from nsrun.supervisor.ports import ContainerId
from tests.unit.sources.following import manifest
from tests.unit.supervisor.world import pod


@dataclass
class Desk:
    """The routes over a real store."""

    directory: Path
    board: StatusBoard = field(default_factory=StatusBoard)
    sent: list[tuple[ContainerId, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.requested = RequestedPods(self.directory, node_name="node", boot_id="boot")
        self.routes = pod_routes(self.board, self.requested, send=self._send, node_name="node")

    async def _send(self, id: ContainerId, number: int) -> None:
        self.sent.append((id, number))
        if number == 64:
            raise RuntimeFailure("cannot signal it")

    async def ask(self, method: str, path: str, body: bytes = b"", **query: str) -> tuple[int, Any]:
        parts = path.split("/")[3:]
        shape = "/".join(["/nsrun/pods", *("{namespace}", "{name}")[: len(parts[:2])], *parts[2:]])
        (route,) = (one for one in self.routes if (one.method, one.path) == (method, shape))
        assert route.access is Access.CONTROL
        answer = await route.handler(
            Request(
                method=method,
                path=path,
                parameters=dict(zip(("namespace", "name"), parts, strict=False)),
                query={name: (value,) for name, value in query.items()},
                body=body,
            )
        )
        assert isinstance(answer, Response)
        return answer.status, json.loads(answer.body)

    def put(self, made: Pod, *states: object) -> None:
        statuses = tuple(
            ContainerStatus(name=f"c{number}", image="i", state=state, restart_count=number)  # type: ignore[arg-type]
            for number, state in enumerate(states)
        )
        self.board.put(
            made, PodStatus(phase=Phase.RUNNING, qos_class=QosClass.BEST_EFFORT, container_statuses=statuses)
        )


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


ONE = "/nsrun/pods/default/web"


async def test_a_pod_is_made_looked_at_and_taken_back(desk: Desk) -> None:
    status, answer = await desk.ask("POST", "/nsrun/pods", manifest("web").encode())
    assert (status, answer["warnings"], answer["pod"]["metadata"]["name"]) == (201, [], "web")
    status, answer = await desk.ask("GET", ONE)
    assert (status, "nothing of it is there yet" in answer["message"]) == (404, True)
    status, answer = await desk.ask("POST", "/nsrun/pods", manifest("web").encode())
    assert (status, answer["message"]) == (409, 'cannot add pod "default/web": it is there already')
    desk.put(pod("web"))
    status, answer = await desk.ask("GET", ONE)
    assert (status, answer["kind"], answer["status"]["phase"]) == (200, "Pod", "Running")
    assert (await desk.ask("DELETE", ONE))[0] == 202
    desk.board.remove("uid-web")
    assert (await desk.ask("DELETE", ONE))[0] == 404


async def test_all_that_is_wrong_is_told(desk: Desk) -> None:
    status, answer = await desk.ask("POST", "/nsrun/pods", b"kind: Pod\napiVersion: v1\nmetadata: {name: A}\nspec: {}")
    assert status == 422
    assert len(answer["problems"]) == 2


async def test_what_a_manifest_asks_for_is_not_taken_back(desk: Desk) -> None:
    made = pod("web")
    annotations = {CONFIG_SOURCE: "file", MANIFEST_ANNOTATION: "/m/web.yaml"}
    desk.put(replace(made, metadata=replace(made.metadata, annotations=annotations)))
    status, answer = await desk.ask("DELETE", ONE)
    assert (status, answer["hint"]) == (409, 'delete it from "/m/web.yaml"')
    assert (await desk.ask("POST", "/nsrun/pods", manifest("web").encode()))[0] == 409
    # Taken back already, and still on its way out.
    desk.put(replace(made, metadata=replace(made.metadata, annotations={CONFIG_SOURCE: "api"})))
    assert (await desk.ask("DELETE", ONE))[0] == 202


async def test_a_disk_that_fails_is_told(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "requested")
    await desk.ask("POST", "/nsrun/pods", manifest("web").encode())
    path = tmp_path / "requested" / "default_web.json"
    path.unlink()
    path.mkdir()
    status, answer = await desk.ask("DELETE", ONE)
    assert (status, answer["message"].startswith('cannot forget pod "default/web": ')) == (500, True)


async def test_signals_go_to_what_runs(desk: Desk) -> None:
    assert (await desk.ask("POST", f"{ONE}/signal", number="2"))[0] == 404
    desk.put(pod("web"), Running(started_at=0.0), Waiting(reason="x"), Running(started_at=0.0))
    assert (await desk.ask("POST", f"{ONE}/signal", number="2"))[0] == 200
    assert desk.sent == [(ContainerId(uid="uid-web", name=f"c{n}", attempt=n), 2) for n in (0, 2)]
    for number in ("0", "65", "-1", "x", ""):
        assert (await desk.ask("POST", f"{ONE}/signal", number=number))[0] == 400
    assert (await desk.ask("POST", f"{ONE}/signal", number="64"))[0] == 500
