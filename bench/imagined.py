"""A daemon of which there is only the socket and the status board: pods that nobody runs, told as the real one tells
them. For what looks at many pods: ``python -m bench.imagined RUN_DIR COUNT`` serves until it is ended."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from nsrun.api.kubelet_routes import kubelet_routes
from nsrun.api.own_routes import own_routes
from nsrun.api.pod_list import PodList
from nsrun.api.server import ServerSettings, serve
from nsrun.model.decode import parse_manifest
from nsrun.model.pod import Pod
from nsrun.model.resources import QosClass
from nsrun.model.status import Condition, ContainerStatus, Phase, PodStatus, Running
from nsrun.settings import Settings
from nsrun.supervisor.board import StatusBoard
from nsrun.support.layout import Layout

__all__ = ["imagined_board", "serve_imagined"]

NODE = "bench"
STARTED = 1_767_225_600.0
CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")

MANIFEST = """\
apiVersion: v1
kind: Pod
metadata:
  name: web-{number}
  labels: {{app: web, number: "{number}"}}
spec:
  containers:
  - name: nginx
    image: docker.io/library/nginx:1.27
    ports: [{{containerPort: 80}}]
    resources: {{requests: {{cpu: 100m, memory: 64Mi}}, limits: {{memory: 128Mi}}}}
    livenessProbe: {{httpGet: {{path: /, port: 80}}}}
    volumeMounts: [{{name: logs, mountPath: /var/log/nginx}}]
  - name: log-truncator
    image: docker.io/library/busybox:1.36
    command: [sh, -c, "while sleep 3600; do : > /logs/access.log; done"]
    volumeMounts: [{{name: logs, mountPath: /logs}}]
  volumes: [{{name: logs, emptyDir: {{}}}}]
"""


def imagined_board(count: int) -> StatusBoard:
    """A board with ``count`` running pods of two containers."""
    board = StatusBoard()
    for number in range(count):
        text = MANIFEST.format(number=number)
        (placed,) = parse_manifest(text.encode(), file="web.yaml", node_name=NODE, origin=f"/{number}.yaml").pods
        board.put(placed.pod, _status(placed.pod, number))
    return board


def _status(pod: Pod, number: int) -> PodStatus:
    return PodStatus(
        phase=Phase.RUNNING,
        qos_class=QosClass.BURSTABLE,
        start_time=STARTED,
        host_ip="192.0.2.1",
        pod_ip=f"10.99.{number // 250}.{number % 250 + 2}",
        conditions=tuple(Condition(type=name, status="True", last_transition_time=STARTED) for name in CONDITIONS),
        container_statuses=tuple(
            ContainerStatus(
                name=container.name,
                image=container.image,
                state=Running(started_at=STARTED),
                ready=True,
                started=True,
                image_id=f"{container.image.partition(':')[0]}@sha256:{number:064x}",
                container_id=f"nsrun://{index:04x}{number:060x}",
            )
            for index, container in enumerate(pod.spec.containers)
        ),
    )


async def serve_imagined(run_dir: Path, count: int) -> None:
    """Serves them at the socket below ``run_dir``, until it is cancelled."""
    board, layout = imagined_board(count), Layout(run_dir=run_dir)
    settings = Settings(manifests=None, node_name=NODE, layout=layout)
    listed = PodList(board, node_name=NODE)
    routes = (*kubelet_routes(board, listed), *own_routes(board, settings, down=lambda _grace: None))
    where = ServerSettings(socket_path=layout.socket, address="127.0.0.1", read_only_port=0)
    async with serve(routes, where):
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(serve_imagined(Path(sys.argv[1]), int(sys.argv[2])))
