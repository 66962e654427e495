"""What a whole pod asks for: the rules of k8s.io/component-helpers/resource."""

from __future__ import annotations

import pytest

from nsrun.model.container import Container, PullPolicy, RestartPolicy
from nsrun.model.pod import ObjectMeta, Pod, PodSpec
from nsrun.model.quantity import parse_quantity
from nsrun.model.resources import QosClass, Quantity, ResourceRequirements
from nsrun.model.totals import pod_limit, pod_request, request

Amounts = dict[str, str]


def quantities(amounts: Amounts) -> dict[str, Quantity]:
    return {name: parse_quantity(text) for name, text in amounts.items()}


def resources(requests: Amounts | None = None, limits: Amounts | None = None) -> ResourceRequirements:
    return ResourceRequirements(requests=quantities(requests or {}), limits=quantities(limits or {}))


def one(said: ResourceRequirements, *, sidecar: bool = False) -> Container:
    policy = RestartPolicy.ALWAYS if sidecar else None
    return Container(name="c", image="i", image_pull_policy=PullPolicy.NEVER, resources=said, restart_policy=policy)


def pod(
    *containers: Container,
    init: tuple[Container, ...] = (),
    whole: ResourceRequirements | None = None,
    overhead: Amounts | None = None,
) -> Pod:
    spec = PodSpec(containers=containers, init_containers=init, resources=whole, overhead=quantities(overhead or {}))
    return Pod(metadata=ObjectMeta(name="p", namespace="n", uid="u"), spec=spec)


def cpu(amount: str, *, sidecar: bool = False) -> Container:
    return one(resources({"cpu": amount}, {"cpu": amount}), sidecar=sidecar)


@pytest.mark.parametrize(
    ("containers", "init", "expected"),
    [
        ((cpu("1"), cpu("2")), (), 3000),
        ((cpu("1"),), (cpu("2"),), 2000),
        ((cpu("3"),), (cpu("2"), cpu("1")), 3000),
        ((cpu("1"),), (cpu("2", sidecar=True),), 3000),
        # The init container runs beside the sidecar before it, and is the largest moment.
        ((cpu("1"),), (cpu("1", sidecar=True), cpu("5")), 6000),
        # A sidecar after it does not run yet.
        ((cpu("1"),), (cpu("5"), cpu("1", sidecar=True)), 5000),
        ((cpu("1"),), (cpu("1", sidecar=True), cpu("4"), cpu("6", sidecar=True)), 8000),
    ],
)
def test_init_containers_and_sidecars(
    containers: tuple[Container, ...], init: tuple[Container, ...], expected: int
) -> None:
    assert pod_request(pod(*containers, init=init), "cpu") == expected
    assert pod_limit(pod(*containers, init=init), "cpu") == expected


def test_a_pod_is_limited_when_all_of_it_is() -> None:
    free, limited = one(resources()), cpu("1")
    assert pod_limit(pod(free, limited), "cpu") is None
    assert pod_limit(pod(limited, init=(free,)), "cpu") is None
    assert pod_limit(pod(limited, limited), "cpu") == 2000
    huge = one(resources(limits={"hugepages-2Mi": "4Mi"}))
    assert pod_limit(pod(free, huge), "hugepages-2Mi") == (4 << 20) * 1000
    assert pod_limit(pod(free), "hugepages-2Mi") is None


def test_what_is_said_of_the_whole_counts_instead() -> None:
    whole = resources({"cpu": "2"}, {"memory": "1Gi"})
    said = pod(cpu("1"), one(resources()), whole=whole)
    assert pod_request(said, "cpu") == 2000
    assert pod_limit(said, "memory") == (1 << 30) * 1000
    assert pod_limit(said, "cpu") is None
    assert pod_request(said, "memory") == 0


def test_overhead_is_added() -> None:
    said = pod(cpu("1"), overhead={"cpu": "100m"})
    assert (pod_request(said, "cpu"), pod_limit(said, "cpu")) == (1100, 1100)
    assert pod_limit(pod(one(resources()), overhead={"cpu": "100m"}), "cpu") is None


def test_a_limit_is_a_request() -> None:
    assert request(one(resources(limits={"memory": "1Ki"})), "memory") == 1024000
    assert request(one(resources()), "memory") == 0
    assert request(one(resources({"cpu": "-1"})), "cpu") == 0


BOTH = {"cpu": "1", "memory": "1Gi"}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (pod(one(resources())), QosClass.BEST_EFFORT),
        (pod(one(resources({"cpu": "0"}))), QosClass.BEST_EFFORT),
        (pod(one(resources(BOTH, BOTH))), QosClass.GUARANTEED),
        (pod(one(resources({}, BOTH))), QosClass.GUARANTEED),
        (pod(one(resources(BOTH, BOTH)), init=(one(resources()),)), QosClass.BURSTABLE),
        (pod(one(resources(BOTH, BOTH)), init=(one(resources(BOTH, BOTH)),)), QosClass.GUARANTEED),
        (pod(one(resources()), init=(cpu("1", sidecar=True),)), QosClass.BURSTABLE),
        (pod(one(resources({"cpu": "500m"}, BOTH)), one(resources(BOTH, BOTH))), QosClass.BURSTABLE),
        (pod(one(resources()), whole=resources(BOTH, BOTH)), QosClass.GUARANTEED),
        (pod(one(resources(BOTH, BOTH)), whole=resources({"cpu": "2"})), QosClass.BURSTABLE),
        (pod(one(resources({"example.com/gpu": "1"}))), QosClass.BEST_EFFORT),
    ],
)
def test_qos(said: Pod, expected: QosClass) -> None:
    assert said.qos_class is expected
