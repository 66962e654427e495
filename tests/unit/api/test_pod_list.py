"""The list of all pods, and what of it is encoded again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from unittest.mock import patch

import pytest

from nsrun.api import pod_list
from nsrun.api.pod_list import PodList
from nsrun.model.decode import parse_manifest
from nsrun.model.encode import encode_pod
from nsrun.model.pod import Pod
from nsrun.model.resources import QosClass
from nsrun.model.status import Phase, PodStatus
from nsrun.supervisor.board import StatusBoard

STATUS = PodStatus(phase=Phase.RUNNING, qos_class=QosClass.BEST_EFFORT)


def pod(name: str) -> Pod:
    text = f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{containers: [{{name: c, image: busybox}}]}}"
    (placed,) = parse_manifest(text.encode(), file="a.yaml", node_name="n", origin=f"/{name}.yaml").pods
    return placed.pod


@pytest.fixture
def encoded() -> Iterator[list[str]]:
    """The names of the pods that are encoded."""
    names: list[str] = []

    def counted(pod: Pod, status: PodStatus, *, node_name: str) -> dict[str, object]:
        names.append(pod.name.name)
        return encode_pod(pod, status, node_name=node_name)

    with patch.object(pod_list, "encode_pod", counted):
        yield names


def test_no_pods_are_null() -> None:
    listed = PodList(StatusBoard(), node_name="n")
    assert json.loads(listed.document()) == {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": None}


def test_only_what_changed_is_encoded_again(encoded: list[str]) -> None:
    board, (a, b) = StatusBoard(), (pod("a"), pod("b"))
    listed = PodList(board, node_name="node")
    board.put(a, STATUS)
    board.put(b, STATUS)
    items = json.loads(listed.document())["items"]
    assert items == [encode_pod(one, STATUS, node_name="node") for one in (a, b)]
    board.put(a, replace(STATUS))
    assert json.loads(listed.document())["items"] == items
    assert encoded == [a.name.name, b.name.name]
    board.put(b, replace(STATUS, phase=Phase.FAILED))
    assert json.loads(listed.document())["items"][1]["status"]["phase"] == "Failed"
    assert encoded == [a.name.name, b.name.name, b.name.name]


def test_what_is_gone_is_forgotten(encoded: list[str]) -> None:
    board, a = StatusBoard(), pod("a")
    listed = PodList(board, node_name="n")
    board.put(a, STATUS)
    listed.document()
    board.remove(a.uid)
    assert json.loads(listed.document())["items"] is None
    board.put(a, STATUS)
    listed.document()
    assert encoded == [a.name.name] * 2
