"""What a kubelet tells about its pods: /healthz, /pods."""

from __future__ import annotations

from nsrun.api.access import Access
from nsrun.api.pod_list import PodList
from nsrun.api.requests import Request
from nsrun.api.responses import Response, text
from nsrun.api.routes import Route
from nsrun.supervisor.board import StatusBoard

__all__ = ["kubelet_routes"]


def kubelet_routes(board: StatusBoard, *, node_name: str) -> tuple[Route, ...]:
    """As ``pkg/kubelet/server/server.go`` has them."""
    listed = PodList(board, node_name=node_name)

    async def healthz(_request: Request) -> Response:
        return text("ok")

    async def pods(_request: Request) -> Response:
        return Response(status=200, content_type="application/json", body=listed.document())

    return (
        Route(method="GET", path="/healthz", access=Access.READ, handler=healthz),
        Route(method="GET", path="/pods", access=Access.READ, handler=pods),
    )
