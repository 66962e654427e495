"""Who dies first when the machine's memory runs out: the kubelet's oom_score_adj (pkg/kubelet/qos/policy.go). Pure."""

from __future__ import annotations

from nsrun.model.container import Container
from nsrun.model.pod import Pod
from nsrun.model.resources import QosClass
from nsrun.model.totals import containers_request, is_sidecar, request

__all__ = ["oom_score"]

_NODE_CRITICAL = "system-node-critical"
_LAST, _FIRST = -997, 1000
_BURSTABLE_LAST = 1000 + _LAST


def oom_score(pod: Pod, container: Container, memory: int) -> int:
    """Guaranteed and node-critical pods die last, best-effort ones first, and in between whoever asked for more memory
    is safer; what the pod as a whole asks for beyond its containers is theirs in equal parts. A sidecar never dies
    before the containers that it serves. ``memory``: the machine's, in bytes."""
    if pod.spec.priority_class_name == _NODE_CRITICAL or pod.qos_class is QosClass.GUARANTEED:
        return _LAST
    if pod.qos_class is QosClass.BEST_EFFORT:
        return _FIRST
    extra, memory = _beyond_containers(pod), max(memory, 1)
    score = 1000 - 1000 * (_bytes(container) + extra) // memory
    if is_sidecar(container) and any(init.name == container.name for init in pod.spec.init_containers):
        least = min(map(_bytes, pod.spec.containers), default=0)
        score = min(score, 1000 - 1000 * (least + extra) // memory)
    return min(max(score, _BURSTABLE_LAST), _FIRST - 1)


def _beyond_containers(pod: Pod) -> int:
    """Bytes for each container, of what only the pod asks for."""
    whole = pod.spec.resources.requests.get("memory") if pod.spec.resources is not None else None
    if whole is None or whole.milli <= 0:
        return 0
    left = whole.value - -(-containers_request(pod.spec, "memory") // 1000)
    return max(left, 0) // len(pod.all_containers)


def _bytes(container: Container) -> int:
    return -(-request(container, "memory") // 1000)
