"""Events as kubectl and its libraries know them."""

from __future__ import annotations

from dataclasses import replace

from nsrun.model.encode_event import encode_event
from nsrun.model.status import Event, EventSeries, EventType

EVENT = Event(
    time=1_700_000_000.25,
    type=EventType.WARNING,
    reason="BackOff",
    message="Back-off restarting failed container main in pod web_team(u)",
    namespace="team",
    pod="web",
    uid="u",
    container="main",
)
SERIES = EventSeries(event=EVENT, number=7, last=1_700_000_060.9, count=4)


def test_an_event_of_a_container() -> None:
    encoded = encode_event(SERIES, node_name="node")
    name = encoded["metadata"].pop("name")
    assert name.startswith("web.")
    assert encoded == {
        "kind": "Event",
        "apiVersion": "v1",
        "metadata": {"namespace": "team", "creationTimestamp": "2023-11-14T22:13:20Z"},
        "involvedObject": {
            "kind": "Pod",
            "namespace": "team",
            "name": "web",
            "uid": "u",
            "apiVersion": "v1",
            "fieldPath": "spec.containers{main}",
        },
        "reason": "BackOff",
        "message": EVENT.message,
        "source": {"component": "nsrun", "host": "node"},
        "firstTimestamp": "2023-11-14T22:13:20Z",
        "lastTimestamp": "2023-11-14T22:14:20Z",
        "count": 4,
        "type": "Warning",
        "eventTime": None,
        "reportingComponent": "nsrun",
        "reportingInstance": "node",
    }


def test_init_containers_pods_and_the_node() -> None:
    init = replace(SERIES, event=replace(EVENT, init=True))
    assert encode_event(init, node_name="node")["involvedObject"]["fieldPath"] == "spec.initContainers{main}"
    whole = replace(SERIES, event=replace(EVENT, container=""))
    assert "fieldPath" not in encode_event(whole, node_name="node")["involvedObject"]
    node = replace(SERIES, event=replace(EVENT, container="", pod="", namespace="", uid=""))
    encoded = encode_event(node, node_name="node")
    assert encoded["involvedObject"] == {"kind": "Node", "name": "node", "apiVersion": "v1"}
    assert encoded["metadata"]["namespace"] == "default"


def test_two_series_have_two_names() -> None:
    names = {encode_event(replace(SERIES, number=n), node_name="n")["metadata"]["name"] for n in range(3)}
    assert len(names) == 3
