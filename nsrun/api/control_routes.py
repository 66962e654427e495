"""Stop, start and restart of single containers, on nsrun's own socket.

``POST /nsrun/pods/{namespace}/{pod}/{verb}`` is about all containers of the pod, or those of ``?container=``;
``…/containers/{name}/{verb}`` about one. ``?grace=``: seconds that a stop may take. What cannot be is refused at once:
``{"message": …, "hint": …}``. Else the answer is one JSON object a line: for each container ``{"container": …}`` and
``"waitsFor"``, whenever that changes and once a second, and in the end ``"done": true`` or ``"failure"``. Whoever does
not wait for that changes nothing by it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from nsrun.api.access import Access
from nsrun.api.requests import Request
from nsrun.api.responses import Answer, Response, Streamed, json_response
from nsrun.api.routes import Handler, Route
from nsrun.errors import ConflictError, NotFoundError, NsrunError
from nsrun.supervisor.commanding import Command
from nsrun.supervisor.control import Progress, Verb
from nsrun.support.layout import PodName

__all__ = ["Commander", "control_routes"]

HEARTBEAT = 1.0
"""Seconds."""


class Commander(Protocol):
    """Who has it done: the supervisor."""

    def command(self, pod: PodName, verb: Verb, containers: Sequence[str], *, grace: float | None = None) -> Command:
        """Raises NotFoundError and ConflictError."""
        ...


def control_routes(commander: Commander, *, heartbeat: float = HEARTBEAT) -> tuple[Route, ...]:
    """The routes. ``heartbeat``: seconds."""
    pod = "/nsrun/pods/{namespace}/{pod}"
    return tuple(
        Route(method="POST", path=f"{path}/{verb}", access=Access.CONTROL, handler=_handler(commander, verb, heartbeat))
        for verb in Verb
        for path in (pod, f"{pod}/containers/{{name}}")
    )


def _handler(commander: Commander, verb: Verb, heartbeat: float) -> Handler:
    async def handle(request: Request) -> Answer:
        name = PodName(namespace=request.parameters["namespace"], name=request.parameters["pod"])
        one = request.parameters.get("name")
        containers = request.query.get("container", ()) if one is None else (one,)
        try:
            command = commander.command(name, verb, containers, grace=request.seconds("grace"))
        except NotFoundError as error:
            return _refused(404, error)
        except ConflictError as error:
            return _refused(409, error)
        except ValueError as error:
            return _refused(400, NsrunError(str(error)))
        return Streamed(status=200, content_type="application/json", chunks=_told(command, heartbeat))

    return handle


def _refused(status: int, error: NsrunError) -> Response:
    return json_response({"message": error.message, "hint": error.hint}, status=status)


async def _told(command: Command, heartbeat: float) -> AsyncIterator[bytes]:
    over: set[str] = set()
    while True:
        progress = [one for one in command.look() if one.container not in over]
        for one in progress:
            yield _line(one)
        over |= {one.container for one in progress if one.done or one.failure}
        if len(over) == len(command.look()):
            return
        await command.moved(heartbeat)


def _line(progress: Progress) -> bytes:
    said: dict[str, object] = {"container": progress.container}
    if progress.done:
        said["done"] = True
    elif progress.failure:
        said["failure"] = progress.failure
    else:
        said["waitsFor"] = progress.waits_for
    return json.dumps(said, separators=(",", ":")).encode() + b"\n"
