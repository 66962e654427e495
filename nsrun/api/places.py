"""Which container a path is about."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nsrun.api.requests import Request
from nsrun.api.responses import Answer, Response, text
from nsrun.api.routes import Handler
from nsrun.errors import NsrunError
from nsrun.model.status import Running
from nsrun.supervisor.board import StatusBoard
from nsrun.supervisor.ports import ContainerId

__all__ = ["Refused", "running_container", "told"]


class Refused(NsrunError):
    """The request cannot be served; ``answer`` says why."""

    def __init__(self, answer: Response) -> None:
        super().__init__(answer.body.decode())
        self.answer = answer


def told(handler: Callable[[Request], Awaitable[Answer]]) -> Handler:
    """A handler that may raise Refused, as one that does not."""

    async def handle(request: Request) -> Answer:
        try:
            return await handler(request)
        except Refused as refused:
            return refused.answer

    return handle


def running_container(board: StatusBoard, request: Request) -> ContainerId:
    """The run of the container that runs now: ``{namespace}``, ``{pod}``, ``{container}`` of the path, and ``{uid}``
    when it has one. Raises Refused, in the kubelet's words."""
    place = request.parameters
    found = board.pod(place["namespace"], place["pod"])
    if found is None:
        raise Refused(text("pod does not exist", status=404))
    pod, status = found
    if place.get("uid", pod.uid) == pod.uid:
        for container in (*status.init_container_statuses, *status.container_statuses):
            if container.name == place["container"] and isinstance(container.state, Running):
                return ContainerId(uid=pod.uid, name=container.name, attempt=container.restart_count)
    raise Refused(text(f'container not found ("{place["container"]}")', status=500))
