"""What a whole pod asks for: the sums that its cgroup and its memory volumes are sized by."""

from __future__ import annotations

from nsrun.model.container import Container
from nsrun.model.pod import Pod

__all__ = ["pod_limit", "pod_request", "request"]


def request(container: Container, resource: str) -> int:
    """A container's request in thousandths of the unit: what it asks for, else its limit, else 0."""
    requirements = container.resources
    asked = requirements.requests.get(resource) or requirements.limits.get(resource)
    return max(asked.milli, 0) if asked is not None else 0


def pod_request(pod: Pod, resource: str) -> int:
    """The sum of the containers' requests, in thousandths of the unit."""
    return sum(request(container, resource) for container in pod.spec.containers)


def pod_limit(pod: Pod, resource: str) -> int | None:
    """The sum of the containers' limits in thousandths of the unit; None unless every container has one.

    One container without a limit may use all there is, so a sum of the others would be a limit nobody asked for.
    """
    limits = [container.resources.limits.get(resource) for container in pod.spec.containers]
    known = [limit.milli for limit in limits if limit is not None and limit.milli > 0]
    return sum(known) if known and len(known) == len(limits) else None
