"""From quantities to cgroup files: the kubelet's figures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nsrun.model.resources import ResourceRequirements
from nsrun.runtime.resources import (
    Setting,
    container_v1,
    container_v2,
    container_weight,
    cpu_quota,
    cpu_shares,
    pod_v1,
    pod_v2,
    pod_weight,
    qos_v1,
    qos_v2,
    shares_of_weight,
    with_pod_limits,
)
from tests.unit.runtime.pods import container, pod, quantities

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("milli", "shares", "of_pod", "of_container"),
    [
        (0, 2, 1, 1),
        (1, 2, 1, 1),
        (2, 2, 1, 1),
        (3, 3, 1, 2),
        (10, 10, 1, 4),
        (100, 102, 4, 17),
        (250, 256, 10, 35),
        (500, 512, 20, 59),
        (1000, 1024, 39, 100),
        (2000, 2048, 79, 174),
        (4000, 4096, 157, 303),
        (256_000, 262144, 10000, 10000),
        (1_000_000, 262144, 10000, 10000),
    ],
)
def test_cpu_requests(milli: int, shares: int, of_pod: int, of_container: int) -> None:
    assert cpu_shares(milli) == shares
    assert pod_weight(shares) == of_pod
    assert container_weight(shares) == of_container


@pytest.mark.parametrize(
    ("milli", "quota"),
    [(1, 1000), (9, 1000), (10, 1000), (11, 1100), (100, 10_000), (1500, 150_000), (64_000, 6_400_000)],
)
def test_cpu_limits(milli: int, quota: int) -> None:
    assert cpu_quota(milli) == quota


def test_shares_can_be_told_from_a_weight() -> None:
    for weight in range(1, 10001):
        shares = shares_of_weight(weight)
        assert pod_weight(shares) == weight
        assert shares == 2 or pod_weight(shares - 1) == weight - 1


def written(settings: tuple[Setting, ...]) -> dict[str, str]:
    """What a fresh cgroup gets."""
    return {setting.file: setting.value for setting in settings if setting.value != setting.default}


BOUNDED = container(
    "a", requests={"cpu": 250, "memory": 64 * MIB * 1000}, limits={"cpu": 500, "memory": 128 * MIB * 1000}
)
LIMITED = container("b", limits={"cpu": 2000, "memory": 32 * MIB * 1000 + 1})
REQUESTING = container("c", requests={"cpu": 100, "memory": 16 * MIB * 1000})
UNSAID = container("d")


def test_containers_on_v1() -> None:
    assert written(container_v1(BOUNDED)) == {
        "cpu.shares": "256",
        "cpu.cfs_quota_us": "50000",
        "memory.limit_in_bytes": str(128 * MIB),
    }
    # A limit stands in for a request that is not there; a fraction of a byte is rounded up.
    assert written(container_v1(LIMITED)) == {
        "cpu.shares": "2048",
        "cpu.cfs_quota_us": "200000",
        "memory.limit_in_bytes": str(32 * MIB + 1),
    }
    assert written(container_v1(REQUESTING)) == {"cpu.shares": "102"}
    assert written(container_v1(UNSAID)) == {"cpu.shares": "2"}
    assert written(container_v1(container(requests={"cpu": 1000}))) == {}


def test_containers_on_v2() -> None:
    always = {"memory.swap.max": "0", "memory.oom.group": "1"}
    assert written(container_v2(BOUNDED)) == {
        "cpu.weight": "35",
        "cpu.max": "50000 100000",
        "memory.max": str(128 * MIB),
        **always,
    }
    assert written(container_v2(UNSAID)) == {"cpu.weight": "1", **always}
    assert written(container_v2(container(requests={"cpu": 1000}))) == always


def test_a_pod_has_the_sum_when_every_container_is_limited() -> None:
    both = pod(BOUNDED, LIMITED)
    assert written(pod_v1(both, 0)) == {
        "cpu.shares": str(2250 * 1024 // 1000),
        "cpu.cfs_quota_us": "250000",
        "memory.limit_in_bytes": str(160 * MIB + 1),
    }
    assert written(pod_v2(both, 0)) == {
        "cpu.weight": str(pod_weight(2304)),
        "cpu.max": "250000 100000",
        "memory.max": str(160 * MIB + 1),
    }


def test_a_pod_is_unlimited_when_one_container_is() -> None:
    assert written(pod_v1(pod(BOUNDED, REQUESTING), 0)) == {"cpu.shares": "358"}
    assert written(pod_v2(pod(BOUNDED, REQUESTING), 0)) == {"cpu.weight": "14"}
    assert written(pod_v1(pod(UNSAID), 0)) == {"cpu.shares": "2"}


def test_the_limit_of_processes_is_the_pod_s() -> None:
    assert written(pod_v1(pod(UNSAID), 512))["pids.max"] == "512"
    assert written(pod_v2(pod(UNSAID), 512))["pids.max"] == "512"
    assert "pids.max" not in {setting.file for setting in (*container_v1(BOUNDED), *container_v2(BOUNDED))}


def test_only_what_the_manifest_says_is_missed() -> None:
    asked = {setting.file: setting.asked for setting in (*container_v2(BOUNDED), *pod_v1(pod(UNSAID), 9))}
    assert asked == {
        "cpu.weight": 'the cpu request of container "a"',
        "cpu.max": 'the cpu limit of container "a"',
        "memory.max": 'the memory limit of container "a"',
        "memory.swap.max": "",
        "memory.oom.group": "",
        "cpu.shares": "",
        "cpu.cfs_quota_us": "",
        "memory.limit_in_bytes": "",
        "pids.max": "the limit of processes of the pod",
    }


def test_a_quantity_of_nothing_is_no_limit() -> None:
    assert written(container_v1(container(limits={"cpu": 0, "memory": 0}))) == {"cpu.shares": "2"}


def test_classes_have_the_share_of_their_pods() -> None:
    assert written(qos_v1(1382)) == {"cpu.shares": "1382"}
    assert written(qos_v2(1382)) == {"cpu.weight": str(pod_weight(1382))}


# One row for each way to say it: the container's own requests and limits, the pod's limits, and what the container's
# cgroup has then: shares and quota (v1), weight (v2), and memory.
SAID = [
    ({}, {}, {}, (2, None, 1, None)),
    ({"cpu": 250}, {}, {}, (256, None, 35, None)),
    ({"cpu": 250}, {"cpu": 500}, {}, (256, 50_000, 35, None)),
    ({}, {"cpu": 500}, {}, (512, 50_000, 59, None)),
    ({"memory": 64 * MIB * 1000}, {}, {}, (2, None, 1, None)),
    ({}, {"memory": 64 * MIB * 1000}, {}, (2, None, 1, 64 * MIB)),
    ({}, {}, {"cpu": 1000, "memory": 64 * MIB * 1000}, (1024, 100_000, 100, 64 * MIB)),
    ({"cpu": 250}, {}, {"cpu": 1000}, (256, 100_000, 35, None)),
    ({}, {"cpu": 500}, {"cpu": 1000, "memory": 64 * MIB * 1000}, (512, 50_000, 59, 64 * MIB)),
    ({}, {"memory": 32 * MIB * 1000}, {"memory": 64 * MIB * 1000}, (2, None, 1, 32 * MIB)),
    ({}, {"memory": 0}, {"memory": 64 * MIB * 1000}, (2, None, 1, 64 * MIB)),
]


@pytest.mark.parametrize(("requests", "limits", "of_pod", "figures"), SAID)
def test_figures_of_a_container(
    requests: dict[str, int],
    limits: dict[str, int],
    of_pod: dict[str, int],
    figures: tuple[int, int | None, int, int | None],
) -> None:
    one = container(requests=requests, limits=limits)
    whole = ResourceRequirements(limits=quantities(of_pod)) if of_pod else None
    owner = pod(one)
    limited = with_pod_limits(replace(owner, spec=replace(owner.spec, resources=whole)), one)
    shares, quota, weight, memory = figures
    assert {s.file: s.value for s in container_v1(limited)} == {
        "cpu.shares": str(shares),
        "cpu.cfs_quota_us": "-1" if quota is None else str(quota),
        "memory.limit_in_bytes": "-1" if memory is None else str(memory),
    }
    v2 = {s.file: s.value for s in container_v2(limited)}
    assert (v2["cpu.weight"], v2["memory.max"]) == (str(weight), "max" if memory is None else str(memory))
    assert v2["cpu.max"] == f"{'max' if quota is None else quota} 100000"


def test_a_pod_that_says_nothing_changes_nothing() -> None:
    one = container(limits={"cpu": 500})
    assert with_pod_limits(pod(one), one) is one
