"""Pods that are asked for one by one, on nsrun's own socket: made, looked at, taken back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from nsrun.api.access import Access
from nsrun.api.requests import Request
from nsrun.api.responses import Response, json_response
from nsrun.api.routes import Route
from nsrun.errors import ManifestError, NsrunError
from nsrun.model.encode import encode_pod
from nsrun.model.pod import Pod
from nsrun.model.status import PodStatus, Running
from nsrun.model.uid import CONFIG_SOURCE
from nsrun.model.update import MANIFEST_ANNOTATION
from nsrun.supervisor.board import StatusBoard
from nsrun.supervisor.ports import ContainerId
from nsrun.support.layout import PodName

__all__ = ["Requested", "pod_routes"]

MOST = 64
"""The last real-time signal."""


class Requested(Protocol):
    """Where such pods are kept."""

    def holds(self, name: PodName) -> bool:
        """Whether that pod was asked for."""
        ...

    async def add(self, document: bytes, is_taken: Callable[[PodName], bool]) -> tuple[Pod, tuple[str, ...]]:
        """The pod, and what is doubtful about it. ``is_taken``: whether another pod has that name. Raises ManifestError
        with every problem, and NsrunError when it cannot be kept."""
        ...

    async def remove(self, name: PodName) -> bool:
        """False when it was not asked for. Raises NsrunError."""
        ...


Send = Callable[[ContainerId, int], Awaitable[None]]
"""Signals a container's first process. Raises NsrunError."""


def pod_routes(board: StatusBoard, requested: Requested, *, send: Send, node_name: str) -> tuple[Route, ...]:
    """``POST /nsrun/pods`` with one v1.Pod answers ``{"pod": …, "warnings": […]}``, or 422 with ``{"problems": […]}``:
    all that is wrong with it. Everything else that is refused is ``{"message": …, "hint": …}``."""
    pods, one = _Pods(board, requested, send, node_name), "/nsrun/pods/{namespace}/{name}"
    return (
        Route(method="POST", path="/nsrun/pods", access=Access.CONTROL, handler=pods.create),
        Route(method="GET", path=one, access=Access.CONTROL, handler=pods.show),
        Route(method="DELETE", path=one, access=Access.CONTROL, handler=pods.delete),
        Route(method="POST", path=f"{one}/signal", access=Access.CONTROL, handler=pods.signal),
    )


class _Pods:
    """What is done with a pod that is asked for by name."""

    def __init__(self, board: StatusBoard, requested: Requested, send: Send, node_name: str) -> None:
        self._board = board
        self._requested = requested
        self._send = send
        self._node_name = node_name

    def _entry(self, name: PodName) -> tuple[Pod, PodStatus] | None:
        return self._board.pod(name.namespace, name.name)

    async def create(self, request: Request) -> Response:
        try:
            pod, warnings = await self._requested.add(request.body, lambda name: self._entry(name) is not None)
        except ManifestError as error:
            return json_response({"problems": list(error.problems)}, status=422)
        except NsrunError as error:
            return _refusal(409, error.message, error.hint)
        document = encode_pod(pod, node_name=self._node_name)
        return json_response({"pod": document, "warnings": list(warnings)}, status=201)

    async def show(self, request: Request) -> Response:
        name = _name(request)
        entry = self._entry(name)
        if entry is not None:
            return json_response(encode_pod(*entry, node_name=self._node_name))
        if self._requested.holds(name):
            return _refusal(404, f'cannot show pod "{name}": it was asked for, and nothing of it is there yet')
        return _unknown(name)

    async def delete(self, request: Request) -> Response:
        name = _name(request)
        try:
            if await self._requested.remove(name):
                return json_response({"status": "stopping"}, status=202)
        except NsrunError as error:
            return _refusal(500, error.message, error.hint)
        entry = self._entry(name)
        if entry is None:
            return _unknown(name)
        annotations = entry[0].metadata.annotations
        if annotations.get(CONFIG_SOURCE) == "api":
            return json_response({"status": "stopping"}, status=202)
        manifest = annotations.get(MANIFEST_ANNOTATION, "?")
        return _refusal(409, f'cannot remove pod "{name}": a manifest asks for it', f'delete it from "{manifest}"')

    async def signal(self, request: Request) -> Response:
        name, number = _name(request), request.first("number") or ""
        entry = self._entry(name)
        if entry is None:
            return _unknown(name)
        if not number.isdecimal() or len(number) > 3 or not 0 < int(number) <= MOST:
            return _refusal(400, f'cannot send signal "{number[:40]}": there is none such')
        pod, status = entry
        try:
            for container in status.container_statuses:
                if isinstance(container.state, Running):
                    id = ContainerId(uid=pod.uid, name=container.name, attempt=container.restart_count)
                    await self._send(id, int(number))
        except NsrunError as error:
            return _refusal(500, error.message, error.hint)
        return json_response({"status": "sent"})


def _unknown(name: PodName) -> Response:
    return _refusal(404, f'cannot find pod "{name}"', "nsrun pods lists them")


def _name(request: Request) -> PodName:
    return PodName(namespace=request.parameters["namespace"], name=request.parameters["name"])


def _refusal(status: int, message: str, hint: str | None = None) -> Response:
    return json_response({"message": message, "hint": hint}, status=status)
