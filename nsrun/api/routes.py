"""The table of routes: method, path, access, handler. A route without an access decision cannot exist."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from nsrun import __version__
from nsrun.api.access import Access
from nsrun.api.responses import Response, json_response, text
from nsrun.model.encode import encode_pod
from nsrun.settings import Settings
from nsrun.supervisor.board import StatusBoard

__all__ = ["Handler", "Route", "routes"]

Handler = Callable[[Mapping[str, str]], Awaitable[Response]]
"""From the parameters of the query."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One operation of the API."""

    method: str
    path: str
    access: Access
    handler: Handler


def routes(*, board: StatusBoard, settings: Settings, down: Callable[[float | None], None]) -> tuple[Route, ...]:
    """Everything that is served. ``down`` asks the daemon to remove every pod and to end; it is given the seconds that
    the pods may take, None for what each says itself."""

    async def healthz(_query: Mapping[str, str]) -> Response:
        return text("ok")

    async def pods(_query: Mapping[str, str]) -> Response:
        return json_response(_pod_list(board, settings.node_name))

    async def info(_query: Mapping[str, str]) -> Response:
        return json_response(_info(board, settings))

    async def take_down(query: Mapping[str, str]) -> Response:
        try:
            grace = _seconds(query.get("grace"))
        except ValueError as error:
            return text(f"{error}\n", status=400)
        down(grace)
        return json_response({"status": "stopping"}, status=202)

    return (
        Route(method="GET", path="/healthz", access=Access.READ, handler=healthz),
        Route(method="GET", path="/pods", access=Access.READ, handler=pods),
        Route(method="GET", path="/nsrun/info", access=Access.CONTROL, handler=info),
        Route(method="POST", path="/nsrun/down", access=Access.CONTROL, handler=take_down),
    )


def _seconds(given: str | None) -> float | None:
    """Raises ValueError."""
    if given is None:
        return None
    seconds = float(given)
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"grace must not be {given}")
    return seconds


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
