"""Who dies first: the kubelet's figures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nsrun.model.container import Container, RestartPolicy
from nsrun.model.pod import Pod, PodSpec
from nsrun.model.resources import ResourceRequirements
from nsrun.runtime.oom import oom_score
from tests.unit.runtime.pods import container, pod, quantities

GIB = 1 << 30
MACHINE = 8 * GIB


def asking(name: str, gib: float) -> Container:
    return container(name, requests={"memory": int(gib * GIB * 1000)} if gib else None)


def with_spec(*containers: Container, **spec: object) -> Pod:
    one = pod(*containers)
    return replace(one, spec=PodSpec(containers=containers, **spec))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "score"),
    [
        (container(limits={"cpu": 1000, "memory": 1000 * GIB}), -997),
        (container(), 1000),
        (container(requests={"memory": 2 * GIB * 1000}), 750),
        (container(requests={"memory": 1000}), 999),
        (container(requests={"memory": 8 * GIB * 1000}), 3),
        (container(requests={"memory": 80 * GIB * 1000}), 3),
        (container(requests={"cpu": 100}), 999),
    ],
)
def test_by_class_and_request(one: Container, score: int) -> None:
    assert oom_score(pod(one), one, MACHINE) == score


def test_critical_pods_die_last() -> None:
    one = container()
    assert oom_score(with_spec(one, priority_class_name="system-node-critical"), one, MACHINE) == -997
    assert oom_score(with_spec(one, priority_class_name="system-cluster-critical"), one, MACHINE) == 1000


@pytest.mark.parametrize(("own", "expected"), [(0, 875), (0.5, 875), (4, 500)])
def test_a_sidecar_is_as_safe_as_the_least_of_the_containers(own: float, expected: int) -> None:
    sidecar = replace(asking("mesh", own), restart_policy=RestartPolicy.ALWAYS)
    one = with_spec(asking("a", 1), asking("b", 2), init_containers=(sidecar,))
    assert oom_score(one, sidecar, MACHINE) == expected


def test_a_sidecar_is_known_by_its_name() -> None:
    """What starts is a copy, with its variables filled in."""
    sidecar = replace(asking("mesh", 0), restart_policy=RestartPolicy.ALWAYS)
    one = with_spec(asking("a", 1), init_containers=(sidecar,))
    assert oom_score(one, replace(sidecar, working_dir="/x"), MACHINE) == 875


def test_an_init_container_has_its_own() -> None:
    init = asking("setup", 0)
    assert oom_score(with_spec(asking("a", 1), init_containers=(init,)), init, MACHINE) == 999


def test_what_the_pod_asks_for_beyond_its_containers_is_shared() -> None:
    whole = ResourceRequirements(requests=quantities({"memory": 4 * GIB * 1000}))
    a, b = asking("a", 2), asking("b", 0)
    one = with_spec(a, b, resources=whole)
    assert oom_score(one, a, MACHINE) == 1000 - 1000 * 3 // 8
    assert oom_score(one, b, MACHINE) == 875


def test_no_memory_at_all() -> None:
    one = asking("a", 1)
    assert oom_score(pod(one), one, 0) == 3
