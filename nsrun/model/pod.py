"""A pod, as its manifest describes it: decoded, defaulted and valid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from nsrun.model.container import Container, RestartPolicy
from nsrun.model.resources import QosClass, Quantity, ResourceRequirements
from nsrun.model.security import PodSecurityContext
from nsrun.model.volume import Volume
from nsrun.support.layout import PodName

__all__ = ["DnsConfig", "DnsPolicy", "HostAlias", "ObjectMeta", "Pod", "PodSpec", "RestartPolicy"]


class DnsPolicy(StrEnum):
    """Where a pod's name servers come from."""

    CLUSTER_FIRST = "ClusterFirst"
    CLUSTER_FIRST_WITH_HOST_NET = "ClusterFirstWithHostNet"
    DEFAULT = "Default"
    NONE = "None"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostAlias:
    """A line of /etc/hosts."""

    ip: str
    hostnames: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsConfig:
    """What is added to what the DNS policy gives. ``options``: name and value, None for an option without one."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[tuple[str, str | None], ...] = ()


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
    """What the pod runs. Times in seconds. ``hostname`` "": the pod's name. ``hostname_override`` and
    ``active_deadline_seconds`` None: not said. ``host_users`` False: a user namespace of its own.
    ``resources`` None: nothing is said about the pod as a whole. ``node_name``: this node's, filled in by the source.
    """

    containers: tuple[Container, ...]
    init_containers: tuple[Container, ...] = ()
    volumes: tuple[Volume, ...] = ()
    restart_policy: RestartPolicy = RestartPolicy.ALWAYS
    termination_grace_period_seconds: int = 30
    active_deadline_seconds: int | None = None
    node_name: str = ""
    service_account_name: str = ""
    hostname: str = ""
    hostname_override: str | None = None
    subdomain: str = ""
    set_hostname_as_fqdn: bool = False
    host_aliases: tuple[HostAlias, ...] = ()
    dns_policy: DnsPolicy = DnsPolicy.CLUSTER_FIRST
    dns_config: DnsConfig = field(default_factory=DnsConfig)
    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = False
    host_users: bool = True
    share_process_namespace: bool = False
    security_context: PodSecurityContext = field(default_factory=PodSecurityContext)
    resources: ResourceRequirements | None = None
    overhead: Mapping[str, Quantity] = field(default_factory=dict)
    priority_class_name: str = ""
    image_pull_secrets: tuple[str, ...] = ()
    readiness_gates: tuple[str, ...] = ()


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

    @property
    def all_containers(self) -> tuple[Container, ...]:
        """Init containers first, in the order of the manifest."""
        return (*self.spec.init_containers, *self.spec.containers)

    def container(self, name: str) -> Container:
        """An init container or a container. Raises KeyError."""
        for container in self.all_containers:
            if container.name == name:
                return container
        raise KeyError(name)

    @property
    def qos_class(self) -> QosClass:
        """Guaranteed when every container limits cpu and memory and asks for just that; BestEffort when none says
        anything; what is said of the pod as a whole counts instead (kubernetes.io: Pod Quality of Service Classes)."""
        whole = self.spec.resources
        said = False
        guaranteed = True
        for resources in (whole,) if whole is not None else (one.resources for one in self.all_containers):
            for resource in ("cpu", "memory"):
                asked, limit = _positive(resources.requests.get(resource)), _positive(resources.limits.get(resource))
                said = said or asked is not None or limit is not None
                guaranteed = guaranteed and limit is not None and (asked is None or asked == limit)
        if not said:
            return QosClass.BEST_EFFORT
        return QosClass.GUARANTEED if guaranteed else QosClass.BURSTABLE


def _positive(quantity: Quantity | None) -> int | None:
    return quantity.milli if quantity is not None and quantity.milli > 0 else None
