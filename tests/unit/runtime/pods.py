"""Pods with resources, for tests of what becomes of them."""

from __future__ import annotations

from collections.abc import Mapping

from nsrun.model.container import Container, PullPolicy
from nsrun.model.pod import ObjectMeta, Pod, PodSpec
from nsrun.model.resources import Quantity, ResourceRequirements
from nsrun.model.volume import Volume

__all__ = ["container", "pod"]


def quantities(values: Mapping[str, int]) -> dict[str, Quantity]:
    return {name: Quantity(milli=milli, text=f"{milli}m") for name, milli in values.items()}


def container(
    name: str = "web",
    *,
    requests: Mapping[str, int] | None = None,
    limits: Mapping[str, int] | None = None,
) -> Container:
    """Requests and limits in thousandths, by resource."""
    return Container(
        name=name,
        image="busybox",
        image_pull_policy=PullPolicy.NEVER,
        resources=ResourceRequirements(requests=quantities(requests or {}), limits=quantities(limits or {})),
    )


def pod(*containers: Container, uid: str = "uid-1", volumes: tuple[Volume, ...] = ()) -> Pod:
    return Pod(
        metadata=ObjectMeta(name="pod", namespace="default", uid=uid),
        spec=PodSpec(containers=containers or (container(),), volumes=volumes),
    )
