"""Requests to start containers, for tests of what is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nsrun.model.container import Container, PullPolicy
from nsrun.model.image import Image, ImageConfig
from nsrun.model.pod import ObjectMeta, Pod, PodSpec
from nsrun.model.running import Attachment, ContainerId, ContainerRequest, PreparedVolume
from nsrun.runtime.ociconfig import Mount
from nsrun.runtime.surroundings import Machine, Surroundings

__all__ = ["ATTACHMENT", "MACHINE", "SURROUNDINGS", "pod_of", "request"]

ATTACHMENT = Attachment(netns="/run/netns/default_web", address="10.1.0.2", gateway="10.1.0.1", host_ip="192.0.2.1")
MACHINE = Machine(memory=8 << 30, masked=("/sys/devices/system/cpu/cpu0/thermal_throttle",))
SURROUNDINGS = Surroundings(
    pause_pid=77,
    rootfs="/run/nsrun/stage",
    cgroup_path="nsrun/poduid-1/main-0",
    cgroup_mounts=(Mount(destination="/sys/fs/cgroup", type="cgroup", source="cgroup", options=["ro"]),),
    etc={"/etc/hosts": "/var/lib/nsrun/pods/uid-1/etc-hosts"},
)


def pod_of(*containers: Container, name: str = "web", **spec: Any) -> Pod:
    """``spec``: more of its fields."""
    return Pod(
        metadata=ObjectMeta(name=name, namespace="default", uid="uid-1", annotations={"secret": "x"}),
        spec=PodSpec(containers=containers, **spec),
    )


def request(
    container: Container | None = None,
    *,
    image: ImageConfig | None = None,
    volumes: dict[str, str] | None = None,
    spec: Mapping[str, Any] | None = None,
    **fields: object,
) -> ContainerRequest:
    """``spec``: more fields of the pod; ``fields``: of the container, when none is given."""
    if container is None:
        settings: dict[str, object] = {"name": "main", "image": "i", "image_pull_policy": PullPolicy.NEVER, **fields}
        settings.setdefault("command", ("/bin/true",))
        container = Container(**settings)  # type: ignore[arg-type]
    return ContainerRequest(
        id=ContainerId(uid="uid-1", name=container.name, attempt=0),
        pod=pod_of(container, **(spec or {})),
        container=container,
        image=Image(
            reference="docker.io/library/i:latest",
            digest="sha256:d",
            config_digest="sha256:c",
            config=image or ImageConfig(),
            layers=("/layers/b", "/layers/a"),
            size=1,
            passwd=b"root:x:0:0::/root:/bin/sh\napp:x:1000:100::/home/app:/bin/sh\n",
            group=b"extra:x:200:app\n",
        ),
        attachment=ATTACHMENT,
        volumes={name: PreparedVolume(name=name, path=path) for name, path in (volumes or {}).items()},
    )
