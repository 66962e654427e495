"""Whether a pod can be taken: what this machine never takes, and what it has no room for now. Pure.

The rules and the words are the kubelet's (pkg/kubelet/lifecycle/predicate.go, pkg/kubelet/sysctl/allowlist.go,
pkg/security/apparmor). Two things are better here: a pod that was turned away for want of room is looked at again
whenever something changes; and a pod that only waits for another to be gone is not called failed meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from nsrun.model.hostports import HostPort, find_conflict, host_ports
from nsrun.model.pod import Pod
from nsrun.model.security import ProfileType
from nsrun.model.sysctls import SysctlNamespace, allows, dotted, namespace_of
from nsrun.model.totals import pod_request
from nsrun.support.layout import PodName

__all__ = ["Admission", "Refusal", "Room"]

_NATIVE = ("cpu", "memory", "ephemeral-storage")
_HUGE = "hugepages-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a pod cannot be taken. ``reason``: one word for machines, ``message`` for people."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What this machine is and what its operator allows.

    ``allocatable``: thousandths of the unit by resource name; what is not named is not counted, but for huge pages, of
    which there are none then. ``unsafe_sysctls``: names, or beginnings of names with ``*``. ``app_armor``,
    ``se_linux``, ``user_namespaces``: whether the host has them.
    """

    allocatable: Mapping[str, int] = field(default_factory=dict)
    max_pods: int = 110
    unsafe_sysctls: tuple[str, ...] = ()
    app_armor: bool = True
    se_linux: bool = True
    user_namespaces: bool = True

    def forbids(self, pod: Pod) -> Refusal | None:
        """What no room in the world would help against."""
        return next(self._objections(pod), None)

    def room(self) -> Room:
        """All of it, empty."""
        return Room(self.allocatable, self.max_pods)

    def _objections(self, pod: Pod) -> Iterator[Refusal]:
        for sysctl in pod.spec.security_context.sysctls:
            problem = self._sysctl_problem(dotted(sysctl.name), pod)
            if problem is not None:
                yield Refusal(reason="SysctlForbidden", message=f"forbidden sysctl: {problem}")
        contexts = [pod.spec.security_context.shared, *(c.security_context for c in pod.all_containers)]
        profiles = [context.app_armor_profile for context in contexts]
        if not self.app_armor and any(p is not None and p.type is not ProfileType.UNCONFINED for p in profiles):
            message = "Cannot enforce AppArmor: AppArmor is not enabled on the host"
            yield Refusal(reason="AppArmor", message=message)
        if not self.se_linux and any(context.se_linux_options is not None for context in contexts):
            yield Refusal(reason="SELinux", message="Cannot enforce SELinux: SELinux is not enabled on the host")
        if not self.user_namespaces and not pod.spec.host_users:
            message = "hostUsers is false, and pods have no user namespaces here (nsrun doctor tells why)"
            yield Refusal(reason="UserNamespacesNotSupported", message=message)

    def _sysctl_problem(self, name: str, pod: Pod) -> str | None:
        if not allows(self.unsafe_sysctls, name):
            return f'"{name}" not allowlisted'
        namespace = namespace_of(name)
        if namespace is SysctlNamespace.NET and pod.spec.host_network:
            return f'"{name}" not allowed with host net enabled'
        if namespace is SysctlNamespace.IPC and pod.spec.host_ipc:
            return f'"{name}" not allowed with host ipc enabled'
        return None


class Room:
    """What is left of the machine, as pods are put into it one by one."""

    def __init__(self, allocatable: Mapping[str, int], max_pods: int) -> None:
        self._allocatable = allocatable
        self._max_pods = max_pods
        self._pods = 0
        self._used: dict[str, int] = {}
        self._ports: list[tuple[PodName, HostPort]] = []

    def copy(self) -> Room:
        """Another one, as full as this."""
        other = Room(self._allocatable, self._max_pods)
        other._pods, other._used, other._ports = self._pods, dict(self._used), list(self._ports)
        return other

    def take(self, pod: Pod, *, place: bool = True) -> None:
        """The pod is in, whether it fits or not. ``place``: it counts as one of the pods there may be."""
        self._pods += place
        for name in _resources(pod):
            self._used[name] = self._used.get(name, 0) + pod_request(pod, name)
        self.take_ports(pod)

    def take_ports(self, pod: Pod) -> None:
        """Nothing but its host ports: a pod that ended gives them up when it is out of the network, everything else at
        once."""
        self._ports += [(pod.name, port) for port in _ports(pod)]

    def lacks(self, pod: Pod) -> Refusal | None:
        """The first thing there is not enough of for this pod."""
        if self._pods >= self._max_pods:
            return _out_of("pods", requested=1, used=self._pods, capacity=self._max_pods)
        for name in _resources(pod):
            requested, used, capacity = pod_request(pod, name), self._used.get(name, 0), self._capacity(name)
            # Who asks for nothing gets in, however full it is.
            if requested and capacity is not None and requested > capacity - used:
                unit = 1 if name == "cpu" else 1000
                return _out_of(name, requested=-(-requested // unit), used=-(-used // unit), capacity=capacity // unit)
        return self._port_refusal(pod)

    def _capacity(self, name: str) -> int | None:
        return self._allocatable.get(name, 0 if name.startswith(_HUGE) else None)

    def _port_refusal(self, pod: Pod) -> Refusal | None:
        for port in _ports(pod):
            for owner, taken in self._ports:
                if find_conflict((port,), (taken,)) is not None:
                    message = (
                        "Predicate NodePorts failed: node didn't have free ports for the requested pod ports: "
                        f'{port} belongs to pod "{owner}"'
                    )
                    return Refusal(reason="NodePorts", message=message)
        return None


def _out_of(name: str, *, requested: int, used: int, capacity: int) -> Refusal:
    """InsufficientResourceError: cpu in thousandths, everything else in units."""
    return Refusal(
        reason=f"OutOf{name}",
        message=f"Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}",
    )


def _resources(pod: Pod) -> tuple[str, ...]:
    """What is counted of what it asks for. Extended resources are a cluster's to count: this machine has none."""
    requirements = [container.resources for container in pod.all_containers]
    if pod.spec.resources is not None:
        requirements.append(pod.spec.resources)
    names = {name for said in requirements for name in (*said.requests, *said.limits)}
    return (*_NATIVE, *sorted(name for name in names if name.startswith(_HUGE)))


def _ports(pod: Pod) -> tuple[HostPort, ...]:
    """A host IP that is no address is the network's to refuse."""
    try:
        return host_ports(pod)
    except ValueError:
        return ()
