"""What a kubelet tells about its pods, and what it would not do: /pods, /runningpods, /checkpoint."""

from __future__ import annotations

from nsrun.api.access import Access
from nsrun.api.pod_list import PodList
from nsrun.api.requests import Request
from nsrun.api.responses import Response, json_response, text
from nsrun.api.routes import Route
from nsrun.model.status import Running
from nsrun.supervisor.board import StatusBoard

__all__ = ["kubelet_routes"]


def kubelet_routes(board: StatusBoard, listed: PodList) -> tuple[Route, ...]:
    """As ``pkg/kubelet/server/server.go`` has them."""

    async def pods(_request: Request) -> Response:
        return Response(status=200, content_type="application/json", body=listed.document())

    async def running(_request: Request) -> Response:
        return json_response(_running_pods(board))

    async def checkpoint(_request: Request) -> Response:
        return text("404 page not found\n", status=404)

    return (
        Route(method="GET", path="/pods", access=Access.READ, handler=pods),
        Route(method="GET", path="/runningpods/", access=Access.READ, handler=running),
        Route(method="POST", path="/checkpoint/{namespace}/{pod}/{container}", access=Access.EXEC, handler=checkpoint),
    )


def _running_pods(board: StatusBoard) -> dict[str, object]:
    """Of each pod of which something runs only its name, and what runs (``pkg/kubelet/container/runtime.go``,
    ``ToAPIPod``)."""
    items = []
    for pod, status in board.pods():
        running = [
            {"name": container.name, "image": container.image, "resources": {}}
            for container in (*status.init_container_statuses, *status.container_statuses)
            if isinstance(container.state, Running)
        ]
        if running:
            metadata = {"name": pod.metadata.name, "namespace": pod.metadata.namespace, "uid": pod.uid}
            items.append({"metadata": metadata, "spec": {"containers": running}, "status": {}})
    return {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items or None}
