"""A series of events → the JSON object of core/v1, as a kubelet's recorder writes it (client-go tools/record)."""

from __future__ import annotations

from typing import Any

from nsrun.model.status import Event, EventSeries
from nsrun.support.clock import rfc3339

__all__ = ["COMPONENT", "encode_event"]

Json = dict[str, Any]

COMPONENT = "nsrun"


def encode_event(series: EventSeries, *, node_name: str) -> Json:
    """A v1.Event. One that is about no pod is the node's, in the namespace ``default``."""
    event = series.event
    about = _about(event, node_name)
    first = rfc3339(event.time)
    return {
        "kind": "Event",
        "apiVersion": "v1",
        "metadata": {
            "name": f"{about['name']}.{int(event.time * 1e6):x}{series.number:05x}",
            "namespace": event.namespace or "default",
            "creationTimestamp": first,
        },
        "involvedObject": about,
        "reason": event.reason,
        "message": event.message,
        "source": {"component": COMPONENT, "host": node_name},
        "firstTimestamp": first,
        "lastTimestamp": rfc3339(series.last),
        "count": series.count,
        "type": str(event.type),
        "eventTime": None,
        "reportingComponent": COMPONENT,
        "reportingInstance": node_name,
    }


def _about(event: Event, node_name: str) -> Json:
    if not event.pod:
        return {"kind": "Node", "name": node_name, "apiVersion": "v1"}
    about: Json = {"kind": "Pod", "namespace": event.namespace, "name": event.pod, "uid": event.uid, "apiVersion": "v1"}
    if event.container:
        about["fieldPath"] = f"spec.{'initContainers' if event.init else 'containers'}{{{event.container}}}"
    return about
