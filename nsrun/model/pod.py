"""A pod, as its manifest describes it: decoded, defaulted and valid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from nsrun.model.container import Container
from nsrun.model.resources import QosClass, Quantity
from nsrun.model.volume import Volume
from nsrun.support.layout import PodName

__all__ = ["ObjectMeta", "Pod", "PodSpec", "RestartPolicy"]


class RestartPolicy(StrEnum):
    """When an exited container is started again."""

    ALWAYS = "Always"
    ON_FAILURE = "OnFailure"
    NEVER = "Never"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectMeta:
    """Who the pod is. ``uid`` is never empty here: the manifest's, or made from its content and origin."""

    name: str
    namespace: str
    uid: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSpec:
    """What the pod runs. Times in seconds."""

    containers: tuple[Container, ...]
    volumes: tuple[Volume, ...] = ()
    restart_policy: RestartPolicy = RestartPolicy.ALWAYS
    termination_grace_period_seconds: int = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A valid pod with every default filled in."""

    metadata: ObjectMeta
    spec: PodSpec

    @property
    def uid(self) -> str:
        return self.metadata.uid

    @property
    def name(self) -> PodName:
        return PodName(namespace=self.metadata.namespace, name=self.metadata.name)

    def container(self, name: str) -> Container:
        """Raises KeyError."""
        for container in self.spec.containers:
            if container.name == name:
                return container
        raise KeyError(name)

    @property
    def qos_class(self) -> QosClass:
        """Guaranteed when every container limits cpu and memory and asks for just that; BestEffort when none says
        anything (kubernetes.io: Pod Quality of Service Classes)."""
        said = False
        guaranteed = True
        for container in self.spec.containers:
            requests, limits = container.resources.requests, container.resources.limits
            for resource in ("cpu", "memory"):
                asked, limit = _positive(requests.get(resource)), _positive(limits.get(resource))
                said = said or asked is not None or limit is not None
                guaranteed = guaranteed and limit is not None and (asked is None or asked == limit)
        if not said:
            return QosClass.BEST_EFFORT
        return QosClass.GUARANTEED if guaranteed else QosClass.BURSTABLE


def _positive(quantity: Quantity | None) -> int | None:
    return quantity.milli if quantity is not None and quantity.milli > 0 else None
