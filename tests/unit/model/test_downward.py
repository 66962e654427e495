"""Fields of the pod, and requests and limits of its containers."""

from __future__ import annotations

import pytest

from nsrun.model.container import Container, PullPolicy
from nsrun.model.downward import (
    divisor_fault,
    env_field_fault,
    field_value,
    resource_fault,
    resource_value,
    volume_field_fault,
)
from nsrun.model.environment import ResourceFieldRef
from nsrun.model.node import Node
from nsrun.model.pod import ObjectMeta, Pod, PodSpec
from nsrun.model.quantity import parse_quantity
from nsrun.model.resources import ResourceRequirements
from nsrun.model.running import Attachment

NODE = Node(name="node", addresses=("192.0.2.1", "192.0.2.9", "2001:db8::1"), allocatable={"cpu": 3500, "memory": 7000})
ATTACHMENT = Attachment(netns="", address="10.99.0.2", gateway="10.99.0.1", host_ip="10.99.0.1")


def container(name: str, *, requests: dict[str, str] | None = None, limits: dict[str, str] | None = None) -> Container:
    resources = ResourceRequirements(
        requests={key: parse_quantity(text) for key, text in (requests or {}).items()},
        limits={key: parse_quantity(text) for key, text in (limits or {}).items()},
    )
    return Container(name=name, image="i", image_pull_policy=PullPolicy.NEVER, resources=resources)


MAIN = container("main", requests={"cpu": "250m"}, limits={"cpu": "1500m", "memory": "1Gi"})
POD = Pod(
    metadata=ObjectMeta(
        name="web",
        namespace="team",
        uid="u",
        labels={"b": "2", "a": 'x"y\\z'},
        annotations={"n/ote": "tab\tline\nbell\a\x7f\u00e9\u200b\U000e0001"},
    ),
    spec=PodSpec(containers=(MAIN, container("free")), service_account_name="robot"),
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("metadata.name", "web"),
        ("metadata.namespace", "team"),
        ("metadata.uid", "u"),
        ("metadata.labels['b']", "2"),
        ("metadata.labels['none']", ""),
        ("metadata.annotations['n/ote']", POD.metadata.annotations["n/ote"]),
        ("spec.nodeName", "node"),
        ("spec.serviceAccountName", "robot"),
        ("status.podIP", "10.99.0.2"),
        ("status.podIPs", "10.99.0.2"),
        ("status.hostIP", "10.99.0.1"),
        ("status.hostIPs", "10.99.0.1,2001:db8::1"),
    ],
)
def test_fields_for_variables(path: str, expected: str) -> None:
    assert env_field_fault(path) is None
    assert field_value(POD, path, node=NODE, attachment=ATTACHMENT) == expected


def test_addresses_that_are_not_known_yet() -> None:
    assert field_value(POD, "status.podIP", node=NODE, attachment=None) == ""
    assert field_value(POD, "status.hostIPs", node=NODE, attachment=None) == "192.0.2.1,2001:db8::1"
    assert field_value(POD, "status.hostIP", node=Node(name="node"), attachment=None) == ""


def test_maps_are_written_as_go_quotes_them() -> None:
    assert volume_field_fault("metadata.labels") is None
    assert field_value(POD, "metadata.labels", node=NODE, attachment=None) == 'a="x\\"y\\\\z"\nb="2"'
    shown = field_value(POD, "metadata.annotations", node=NODE, attachment=None)
    assert shown == 'n/ote="tab\\tline\\nbell\\a\\x7f\u00e9\\u200b\\U000e0001"'


@pytest.mark.parametrize("path", ["metadata.labels", "spec.containers", "status.phase", "metadata.labels[a]", ""])
def test_what_no_variable_can_be_made_of(path: str) -> None:
    assert (env_field_fault(path) or "").startswith("must be ")


@pytest.mark.parametrize("path", ["status.podIP", "spec.nodeName", "metadata"])
def test_what_no_file_can_be_made_of(path: str) -> None:
    assert (volume_field_fault(path) or "").startswith("must be ")


def test_subscripts_are_keys() -> None:
    assert env_field_fault("metadata.annotations['Upper/Case']") is None
    assert "the key must be" in (env_field_fault("metadata.labels['a b']") or "")


@pytest.mark.parametrize(
    ("resource", "divisor", "expected"),
    [
        ("limits.cpu", None, 2),
        ("limits.cpu", "1m", 1500),
        ("limits.cpu", "0", 2),
        ("requests.cpu", "1", 1),
        ("limits.memory", "1Mi", 1024),
        ("limits.memory", "1G", 2),
        ("requests.memory", "1", 0),
        ("limits.hugepages-2Mi", "1", 0),
    ],
)
def test_resources_are_rounded_up(resource: str, divisor: str | None, expected: int) -> None:
    unit = None if divisor is None else parse_quantity(divisor)
    assert resource_fault(resource) is None
    assert unit is None or divisor_fault(resource, unit) is None
    assert resource_value(POD, MAIN, ResourceFieldRef(resource=resource, divisor=unit), node=NODE) == expected


def test_what_is_not_limited_is_what_the_node_offers() -> None:
    free = POD.spec.containers[1]
    assert resource_value(POD, free, ResourceFieldRef(resource="limits.cpu"), node=NODE) == 4
    assert resource_value(POD, None, ResourceFieldRef(resource="limits.memory", container="free"), node=NODE) == 7
    whole = ResourceRequirements(limits={"cpu": parse_quantity("2")})
    limited = Pod(metadata=POD.metadata, spec=PodSpec(containers=(free,), resources=whole))
    assert resource_value(limited, free, ResourceFieldRef(resource="limits.cpu"), node=NODE) == 2
    with pytest.raises(KeyError):
        resource_value(POD, MAIN, ResourceFieldRef(resource="limits.cpu", container="none"), node=NODE)


@pytest.mark.parametrize("resource", ["cpu", "limits.gpu", "limits.", "limits.hugepages-", "wishes.cpu"])
def test_other_resources(resource: str) -> None:
    assert (resource_fault(resource) or "").startswith("must be ")


@pytest.mark.parametrize(("resource", "divisor"), [("limits.cpu", "2"), ("limits.cpu", "1Mi"), ("limits.memory", "1m")])
def test_other_divisors(resource: str, divisor: str) -> None:
    assert (divisor_fault(resource, parse_quantity(divisor)) or "").startswith("must be ")
