"""The table of routes: method, path, access, handler. A route without an access decision cannot exist."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from nsrun import __version__
from nsrun.api.access import Access
from nsrun.api.responses import Response, json_response, text
from nsrun.model.encode import encode_pod
from nsrun.settings import Settings
from nsrun.supervisor.board import StatusBoard

__all__ = ["Handler", "Route", "routes"]

Handler = Callable[[], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One operation of the API."""

    method: str
    path: str
    access: Access
    handler: Handler


def routes(*, board: StatusBoard, settings: Settings, down: Callable[[], None]) -> tuple[Route, ...]:
    """Everything that is served. ``down`` asks the daemon to remove every pod and to end."""

    async def healthz() -> Response:
        return text("ok")

    async def pods() -> Response:
        return json_response(_pod_list(board, settings.node_name))

    async def info() -> Response:
        return json_response(_info(board, settings))

    async def take_down() -> Response:
        down()
        return json_response({"status": "stopping"}, status=202)

    return (
        Route(method="GET", path="/healthz", access=Access.READ, handler=healthz),
        Route(method="GET", path="/pods", access=Access.READ, handler=pods),
        Route(method="GET", path="/nsrun/info", access=Access.CONTROL, handler=info),
        Route(method="POST", path="/nsrun/down", access=Access.CONTROL, handler=take_down),
    )


def _pod_list(board: StatusBoard, node_name: str) -> dict[str, object]:
    """``items`` is null without pods, as the kubelet has it."""
    items = [encode_pod(pod, status, node_name=node_name) for pod, status in board.pods()]
    return {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items or None}


def _info(board: StatusBoard, settings: Settings) -> dict[str, object]:
    layout = settings.layout
    return {
        "version": __version__,
        "root": str(layout.root),
        "runDir": str(layout.run_dir),
        "logDir": str(layout.log_dir),
        "manifests": str(settings.manifests),
        "problems": list(board.problems),
        "warnings": list(board.warnings),
    }
