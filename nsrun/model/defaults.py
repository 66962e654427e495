"""What a manifest leaves unsaid (k8s.io/kubernetes/pkg/apis/core/v1/defaults.go)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from nsrun.model import totals
from nsrun.model.container import Container, ContainerPort, PullPolicy, SecurityContext
from nsrun.model.pod import PodSpec
from nsrun.model.quantity import of_milli
from nsrun.model.resources import Quantity, ResourceRequirements
from nsrun.model.volume import EmptyDir, VolumeSource

__all__ = [
    "NAMESPACE",
    "TERMINATION_MESSAGE_PATH",
    "containers",
    "pod_resources",
    "probe",
    "pull_policy",
    "requests",
    "security_context",
    "volume_source",
]

NAMESPACE = "default"
TERMINATION_MESSAGE_PATH = "/dev/termination-log"


def pull_policy(image: str) -> PullPolicy:
    """Always for what may change under its name: the tag ``latest``, or neither tag nor digest."""
    name, _, digest = image.partition("@")
    _, colon, tag = name.rpartition("/")[2].partition(":")
    latest = tag == "latest" if colon else not digest
    return PullPolicy.ALWAYS if latest else PullPolicy.IF_NOT_PRESENT


def requests(asked: Mapping[str, Quantity], limits: Mapping[str, Quantity]) -> Mapping[str, Quantity]:
    """What is limited and not asked for is asked for up to its limit."""
    return {**limits, **asked}


def pod_resources(spec: PodSpec, said: ResourceRequirements) -> ResourceRequirements:
    """What a whole pod does not ask for: the sum of what its containers do, else its limit. Huge pages cannot be
    promised twice: of them, always the limit."""
    asked = dict(said.requests)
    written = [container.resources.requests for container in (*spec.containers, *spec.init_containers)]
    for name in sorted({name for one in written for name in one}):
        if name not in asked and name in totals.POD_LEVEL:
            like = next(one[name] for one in written if name in one)
            asked[name] = of_milli(totals.containers_request(spec, name), like=like)
    return replace(said, requests=requests(asked, said.limits))


def probe(times: Mapping[str, int]) -> Mapping[str, int]:
    """0 stands for what is not said, save for the delay."""
    return {name: value for name, value in times.items() if value != 0 or name == "termination_grace_period_seconds"}


def volume_source() -> VolumeSource:
    """A volume without a source is an emptyDir."""
    return EmptyDir()


def containers(own: Iterable[Container], pod: SecurityContext, *, host_network: bool) -> tuple[Container, ...]:
    """The containers with what the pod says for all of them."""
    return tuple(
        replace(
            container,
            security_context=security_context(container.security_context, pod),
            ports=tuple(host_port(port) for port in container.ports) if host_network else container.ports,
        )
        for container in own
    )


def host_port(port: ContainerPort) -> ContainerPort:
    """In the host's network a port of the container is one of the host."""
    return port if port.host_port else replace(port, host_port=port.container_port)


def security_context(own: SecurityContext, pod: SecurityContext) -> SecurityContext:
    """A container's user, group and runAsNonRoot where it names none: the pod's."""
    return replace(
        own,
        run_as_user=pod.run_as_user if own.run_as_user is None else own.run_as_user,
        run_as_group=pod.run_as_group if own.run_as_group is None else own.run_as_group,
        run_as_non_root=pod.run_as_non_root if own.run_as_non_root is None else own.run_as_non_root,
        seccomp_profile=own.seccomp_profile or pod.seccomp_profile,
        app_armor_profile=own.app_armor_profile or pod.app_armor_profile,
        se_linux_options=own.se_linux_options or pod.se_linux_options,
    )
