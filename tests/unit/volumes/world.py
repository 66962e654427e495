"""Volume services for tests, and shorter words for what every test asks of them."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

from nsrun.model.image import Image
from nsrun.model.node import Node
from nsrun.model.objects import Claim, ConfigMap, Objects, PersistentVolume, Secret
from nsrun.model.pod import ObjectMeta, Pod, PodSpec
from nsrun.model.running import PreparedVolume
from nsrun.model.security import PodSecurityContext
from nsrun.model.volume import Volume, VolumeSource
from nsrun.supervisor.ports import Volumes
from nsrun.support.layout import Layout
from nsrun.volumes.service import VolumeService
from tests.contracts.virtualclock import VirtualClock
from tests.unit.runtime.pods import container, pod

__all__ = ["MIB", "NODE", "claims", "mode", "objects", "pod_with", "prepare", "volume_service"]

MIB = 1 << 20
NODE = Node(
    name="node", addresses=("192.0.2.1",), allocatable={"memory": (1 << 30) * 1000, "cpu": 2000, "ephemeral-storage": 0}
)


def volume_service(layout: Layout, node: Node = NODE) -> VolumeService:
    return VolumeService(layout, node=node, clock=VirtualClock(), nfs_seconds=20.0)


async def prepare(
    service: Volumes, pod: Pod, objects: Objects | None = None, images: Mapping[str, Image] | None = None
) -> Mapping[str, PreparedVolume]:
    return await service.prepare(pod, objects or Objects(), images or {}, None)


def pod_with(
    source: VolumeSource,
    name: str = "data",
    *,
    uid: str = "uid-1",
    security: PodSecurityContext | None = None,
    labels: Mapping[str, str] | None = None,
) -> Pod:
    """A pod with one volume."""
    plain = pod(container(), uid=uid)
    return Pod(
        metadata=ObjectMeta(name="pod", namespace="default", uid=uid, labels=labels or {}),
        spec=PodSpec(
            containers=plain.spec.containers,
            volumes=(Volume(name=name, source=source),),
            security_context=security or PodSecurityContext(),
        ),
    )


def objects(
    *, config: Mapping[str, Mapping[str, bytes]] | None = None, secret: Mapping[str, Mapping[str, bytes]] | None = None
) -> Objects:
    """ConfigMaps and Secrets of the namespace "default", by name."""
    maps = {("default", n): ConfigMap(namespace="default", name=n, data=data) for n, data in (config or {}).items()}
    secrets = {("default", n): Secret(namespace="default", name=n, data=data) for n, data in (secret or {}).items()}
    return Objects(config_maps=maps, secrets=secrets)


def claims(*names: str, volumes: tuple[PersistentVolume, ...] = (), **fields: object) -> Objects:
    """Claims of the namespace "default", alike but for their names, and persistent volumes."""
    made = [Claim(namespace="default", name=name, **fields) for name in names]  # type: ignore[arg-type]
    return Objects(
        claims={("default", claim.name): claim for claim in made}, volumes={volume.name: volume for volume in volumes}
    )


def mode(path: Path | str) -> int:
    return stat.S_IMODE(Path(path).stat().st_mode)
