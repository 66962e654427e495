"""Pods and statuses as JSON, and pods back."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from nsrun.errors import ManifestError
from nsrun.model.decode import decode_pod, parse_manifest
from nsrun.model.encode import encode_pod
from nsrun.model.encode_status import encode_status
from nsrun.model.pod import Pod
from nsrun.model.resources import QosClass
from nsrun.model.status import (
    Condition,
    ContainerStatus,
    Phase,
    PodStatus,
    Running,
    Terminated,
    Waiting,
)
from tests.unit.model.pods import pods
from tests.waiting import fewer


@settings(max_examples=fewer(100), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pods())
def test_a_pod_is_read_back_equal(pod: Pod) -> None:
    assert decode_pod(json.loads(json.dumps(encode_pod(pod)))) == pod
    elsewhere = decode_pod(encode_pod(pod, node_name="node", seen="2026-01-01T00:00:00Z"))
    assert elsewhere.spec == replace(pod.spec, node_name="node")


@settings(max_examples=fewer(50), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pods())
def test_a_pod_survives_yaml_and_json_text(pod: Pod) -> None:
    # In quotes, because PyYAML does not know that Kubernetes takes a bare ``n`` for a boolean.
    for text in (yaml.safe_dump(encode_pod(pod), default_style='"'), json.dumps(encode_pod(pod))):
        manifest = parse_manifest(text.encode(), file="f", node_name="n", origin="/f")
        assert manifest.problems == ()
        (placed,) = manifest.pods
        assert (placed.pod.spec, placed.pod.uid) == (replace(pod.spec, node_name="n"), pod.uid)


def test_what_is_no_pod_is_refused_with_every_problem() -> None:
    with pytest.raises(ManifestError) as caught:
        decode_pod({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "X"}, "spec": {"containers": []}})
    assert [line.partition(":")[0] for line in caught.value.problems] == ["pod", "pod"]
    with pytest.raises(TypeError):
        decode_pod({"kind": object()})


def test_the_node_and_when_it_was_seen_are_added() -> None:
    manifest = parse_manifest(
        b"{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: b, image: c}]}}",
        file="f",
        node_name="n",
        origin="/f",
    )
    document = encode_pod(manifest.pods[0].pod, node_name="node", seen="2026-01-01T00:00:00Z")
    assert document["spec"]["nodeName"] == "node"
    annotations = document["metadata"]["annotations"]
    assert annotations["kubernetes.io/config.seen"] == "2026-01-01T00:00:00Z"
    assert annotations["kubernetes.io/config.source"] == "file"
    assert annotations["kubernetes.io/config.hash"] == document["metadata"]["uid"]


def test_statuses_look_as_the_kubelet_gives_them() -> None:
    ended = Terminated(
        exit_code=137,
        reason="OOMKilled",
        started_at=1.0,
        finished_at=1.9,
        container_id="nsrun://1",
        signal=9,
        message="out of memory",
    )
    status = PodStatus(
        phase=Phase.RUNNING,
        qos_class=QosClass.BURSTABLE,
        start_time=0.0,
        host_ip="10.99.0.1",
        pod_ip="10.99.0.2",
        conditions=(
            Condition(type="Ready", status="False", last_transition_time=0.0, reason="ContainersNotReady", message="m"),
            Condition(type="PodScheduled", status="True", last_transition_time=0.0),
        ),
        container_statuses=(
            ContainerStatus(
                name="a",
                image="docker.io/library/a:latest",
                state=Running(started_at=2.0),
                last_state=ended,
                ready=True,
                started=True,
                restart_count=1,
                image_id="docker.io/library/a@sha256:0",
                container_id="nsrun://2",
            ),
            ContainerStatus(name="b", image="b", state=Waiting(reason="ErrImagePull", message="cannot pull")),
        ),
    )
    assert encode_status(status) == {
        "phase": "Running",
        "startTime": "1970-01-01T00:00:00Z",
        "conditions": [
            {
                "type": "Ready",
                "status": "False",
                "lastProbeTime": None,
                "lastTransitionTime": "1970-01-01T00:00:00Z",
                "reason": "ContainersNotReady",
                "message": "m",
            },
            {
                "type": "PodScheduled",
                "status": "True",
                "lastProbeTime": None,
                "lastTransitionTime": "1970-01-01T00:00:00Z",
            },
        ],
        "hostIP": "10.99.0.1",
        "hostIPs": [{"ip": "10.99.0.1"}],
        "podIP": "10.99.0.2",
        "podIPs": [{"ip": "10.99.0.2"}],
        "containerStatuses": [
            {
                "name": "a",
                "state": {"running": {"startedAt": "1970-01-01T00:00:02Z"}},
                "lastState": {
                    "terminated": {
                        "exitCode": 137,
                        "signal": 9,
                        "reason": "OOMKilled",
                        "message": "out of memory",
                        "startedAt": "1970-01-01T00:00:01Z",
                        "finishedAt": "1970-01-01T00:00:01Z",
                        "containerID": "nsrun://1",
                    }
                },
                "ready": True,
                "restartCount": 1,
                "image": "docker.io/library/a:latest",
                "imageID": "docker.io/library/a@sha256:0",
                "containerID": "nsrun://2",
                "started": True,
            },
            {
                "name": "b",
                "state": {"waiting": {"reason": "ErrImagePull", "message": "cannot pull"}},
                "lastState": {},
                "ready": False,
                "restartCount": 0,
                "image": "b",
                "imageID": "",
                "started": False,
            },
        ],
        "qosClass": "Burstable",
    }


@settings(max_examples=fewer(20), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pods())
def test_a_status_does_not_disturb_the_reading(pod: Pod) -> None:
    status = PodStatus(phase=Phase.PENDING, qos_class=pod.qos_class)
    assert decode_pod(encode_pod(pod, status)) == pod
