"""What a kubelet tells about its pods: /healthz, /pods."""

from __future__ import annotations

from nsrun.api.access import Access
from nsrun.api.requests import Request
from nsrun.api.responses import Response, json_response, text
from nsrun.api.routes import Route
from nsrun.model.encode import encode_pod
from nsrun.supervisor.board import StatusBoard

__all__ = ["kubelet_routes"]


def kubelet_routes(board: StatusBoard, *, node_name: str) -> tuple[Route, ...]:
    """As ``pkg/kubelet/server/server.go`` has them."""

    async def healthz(_request: Request) -> Response:
        return text("ok")

    async def pods(_request: Request) -> Response:
        return json_response(_pod_list(board, node_name))

    return (
        Route(method="GET", path="/healthz", access=Access.READ, handler=healthz),
        Route(method="GET", path="/pods", access=Access.READ, handler=pods),
    )


def _pod_list(board: StatusBoard, node_name: str) -> dict[str, object]:
    """``items`` is null without pods, as the kubelet has it."""
    items = [encode_pod(pod, status, node_name=node_name) for pod, status in board.pods()]
    return {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items or None}
