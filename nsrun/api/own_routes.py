"""What only nsrun serves, and only on its own socket: for its command line."""

from __future__ import annotations

from collections.abc import Callable

from nsrun import __version__
from nsrun.api.access import Access
from nsrun.api.requests import Request
from nsrun.api.responses import Response, json_response, text
from nsrun.api.routes import Route
from nsrun.settings import Settings
from nsrun.supervisor.board import StatusBoard

__all__ = ["own_routes"]


def own_routes(board: StatusBoard, settings: Settings, *, down: Callable[[float | None], None]) -> tuple[Route, ...]:
    """``down`` asks the daemon to remove every pod and to end; it is given the seconds that the pods may take, None for
    what each says itself."""

    async def info(_request: Request) -> Response:
        return json_response(_info(board, settings))

    async def take_down(request: Request) -> Response:
        try:
            grace = request.seconds("grace")
        except ValueError as error:
            return text(f"{error}\n", status=400)
        down(grace)
        return json_response({"status": "stopping"}, status=202)

    return (
        Route(method="GET", path="/nsrun/info", access=Access.CONTROL, handler=info),
        Route(method="POST", path="/nsrun/down", access=Access.CONTROL, handler=take_down),
    )


def _info(board: StatusBoard, settings: Settings) -> dict[str, object]:
    layout = settings.layout
    return {
        "version": __version__,
        "root": str(layout.root),
        "runDir": str(layout.run_dir),
        "logDir": str(layout.log_dir),
        "manifests": str(settings.manifests or ""),
        "problems": list(board.problems),
        "warnings": list(board.warnings),
    }
