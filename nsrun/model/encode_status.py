"""A pod's status → the JSON object of core/v1, as the kubelet gives it."""

from __future__ import annotations

from typing import Any

from nsrun.model.status import Condition, ContainerState, ContainerStatus, PodStatus, Running, Terminated, Waiting
from nsrun.support.clock import rfc3339

__all__ = ["encode_deletion", "encode_status"]

Json = dict[str, Any]


def encode_status(status: PodStatus) -> Json:
    """A v1.PodStatus."""
    start = None if status.start_time is None else rfc3339(status.start_time)
    return {
        "phase": str(status.phase),
        **_said(message=status.message, reason=status.reason, startTime=start),
        "conditions": [_condition(condition) for condition in status.conditions],
        **_addresses(status.host_ip, "hostIP", "hostIPs"),
        **_addresses(status.pod_ip, "podIP", "podIPs"),
        **_said(initContainerStatuses=[_container_status(one) for one in status.init_container_statuses]),
        "containerStatuses": [_container_status(container) for container in status.container_statuses],
        "qosClass": str(status.qos_class),
    }


def encode_deletion(status: PodStatus) -> Json:
    """What the metadata of a pod on its way out have besides."""
    if status.deletion_time is None or status.deletion_grace is None:
        return {}
    return {
        "deletionTimestamp": rfc3339(status.deletion_time),
        "deletionGracePeriodSeconds": int(status.deletion_grace),
    }


def _said(**fields: object) -> Json:
    """The fields that say something: not None, not empty, not 0. An empty string, list or number is never written."""
    return {name: value for name, value in fields.items() if value}


def _addresses(address: str, one: str, many: str) -> Json:
    return {one: address, many: [{"ip": address}]} if address else {}


def _condition(condition: Condition) -> Json:
    return {
        "type": condition.type,
        "status": condition.status,
        "lastProbeTime": None,
        "lastTransitionTime": rfc3339(condition.last_transition_time),
        **_said(reason=condition.reason, message=condition.message),
    }


def _container_status(status: ContainerStatus) -> Json:
    return {
        "name": status.name,
        "state": _state(status.state),
        "lastState": _state(status.last_state) if status.last_state is not None else {},
        "ready": status.ready,
        "restartCount": status.restart_count,
        "image": status.image,
        "imageID": status.image_id,
        **_said(containerID=status.container_id),
        "started": status.started,
    }


def _state(state: ContainerState) -> Json:
    match state:
        case Waiting():
            return {"waiting": {"reason": state.reason, **_said(message=state.message)}}
        case Running():
            return {"running": {"startedAt": rfc3339(state.started_at)}}
        case Terminated():
            return {
                "terminated": {
                    "exitCode": state.exit_code,
                    **_said(signal=state.signal, reason=state.reason, message=state.message),
                    "startedAt": _time(state.started_at),
                    "finishedAt": _time(state.finished_at),
                    **_said(containerID=state.container_id),
                }
            }


def _time(seconds: float) -> str | None:
    """A time nobody knows (0) is null, as metav1.Time's zero."""
    return rfc3339(seconds) if seconds else None
