"""What a whole pod asks for and is limited to: what its cgroup and its memory volumes are sized by.

Init containers run before the others and one at a time, save for sidecars, which stay; so a pod needs the larger of
what its containers and sidecars need together, and what any init container needs beside the sidecars before it
(k8s.io/component-helpers/resource/helpers.go).
"""

from __future__ import annotations

from collections.abc import Callable

from nsrun.model.container import Container, RestartPolicy
from nsrun.model.pod import Pod, PodSpec
from nsrun.model.resources import Quantity

__all__ = ["POD_LEVEL", "containers_request", "is_sidecar", "pod_limit", "pod_request", "request"]

POD_LEVEL = frozenset({"cpu", "memory"})
"""Beside huge pages, what can be said of a pod as a whole."""


def is_sidecar(container: Container) -> bool:
    """Whether an init container stays while the others run."""
    return container.restart_policy is RestartPolicy.ALWAYS


def request(container: Container, resource: str) -> int:
    """A container's request in thousandths of the unit: what it asks for, else its limit, else 0."""
    requirements = container.resources
    return _milli(requirements.requests.get(resource) or requirements.limits.get(resource))


def containers_request(spec: PodSpec, resource: str) -> int:
    """What the containers need together, whatever is said of the pod as a whole."""
    return _needed(spec, lambda container: request(container, resource))


def pod_request(pod: Pod, resource: str) -> int:
    """The pod's request in thousandths of the unit: what is said of it as a whole, else what its containers need; with
    its overhead."""
    whole = pod.spec.resources.requests.get(resource) if pod.spec.resources is not None else None
    asked = containers_request(pod.spec, resource) if whole is None else _milli(whole)
    return asked + _milli(pod.spec.overhead.get(resource))


def pod_limit(pod: Pod, resource: str) -> int | None:
    """The pod's limit in thousandths of the unit, None when it has none.

    One container without a limit of cpu or memory may use all there is, so a sum of the others would be a limit nobody
    asked for. Of what nobody has without a limit (huge pages), and of disk, it is the sum of those that have one.
    """
    whole = pod.spec.resources.limits.get(resource) if pod.spec.resources is not None else None
    everyone = [_milli(container.resources.limits.get(resource)) for container in pod.all_containers]
    if whole is not None and _milli(whole):
        limit = _milli(whole)
    elif all(everyone) if resource in POD_LEVEL else any(everyone):
        limit = _needed(pod.spec, lambda container: _milli(container.resources.limits.get(resource)))
    else:
        return None
    return limit + _milli(pod.spec.overhead.get(resource))


def _needed(spec: PodSpec, of: Callable[[Container], int]) -> int:
    largest = sidecars = 0
    for container in spec.init_containers:
        if is_sidecar(container):
            sidecars += of(container)
            largest = max(largest, sidecars)
        else:
            largest = max(largest, sidecars + of(container))
    return max(sum(of(container) for container in spec.containers) + sidecars, largest)


def _milli(quantity: Quantity | None) -> int:
    return max(quantity.milli, 0) if quantity is not None else 0
