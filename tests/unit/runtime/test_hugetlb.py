"""Huge pages: what is declared, per container and per pod, and 0 for every size that is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nsrun.model.resources import ResourceRequirements
from nsrun.runtime.hugetlb import V1, V2, container_pages, offered_sizes, pod_pages, size_in_files
from nsrun.runtime.resources import Setting
from tests.unit.runtime.pods import container, pod, quantities

MIB = 1 << 20
GIB = 1 << 30
SIZES = (2 * MIB, GIB)


def written(settings: tuple[Setting, ...]) -> dict[str, str]:
    return {setting.file: setting.value for setting in settings}


def test_sizes_are_told_by_the_files_a_cgroup_has() -> None:
    v2 = ("cgroup.procs", "hugetlb.2MB.max", "hugetlb.2MB.rsvd.max", "hugetlb.1GB.max", "hugetlb.1GB.events.local")
    assert offered_sizes(v2) == {2 * MIB, GIB}
    assert offered_sizes(("hugetlb.64KB.limit_in_bytes", "hugetlb.64KB.rsvd.limit_in_bytes")) == {64 << 10}
    assert offered_sizes(("hugetlb.2MB.current", "memory.max", "hugetlb.xMB.max")) == frozenset()


@pytest.mark.parametrize(
    ("size", "text"), [(64 << 10, "64KB"), (2 * MIB, "2MB"), (512 * MIB, "512MB"), (GIB, "1GB"), (16 * GIB, "16GB")]
)
def test_sizes_are_written_as_the_kernel_does(size: int, text: str) -> None:
    assert size_in_files(size) == text
    assert offered_sizes((f"hugetlb.{text}.max",)) == {size}


def test_every_size_is_limited_to_nothing_unless_it_was_declared() -> None:
    assert written(container_pages(container(), SIZES, V2)) == {
        "hugetlb.2MB.max": "0",
        "hugetlb.2MB.rsvd.max": "0",
        "hugetlb.1GB.max": "0",
        "hugetlb.1GB.rsvd.max": "0",
    }
    web = container(limits={"hugepages-2Mi": 64 * MIB * 1000, "memory": 1000})
    assert written(container_pages(web, SIZES, V1)) == {
        "hugetlb.2MB.limit_in_bytes": str(64 * MIB),
        "hugetlb.2MB.rsvd.limit_in_bytes": str(64 * MIB),
        "hugetlb.1GB.limit_in_bytes": "0",
        "hugetlb.1GB.rsvd.limit_in_bytes": "0",
    }


def test_a_machine_without_huge_pages_is_asked_for_nothing() -> None:
    assert container_pages(container(), (), V2) == ()
    assert pod_pages(pod(), (), V1) == ()


def test_a_pod_may_use_what_its_containers_declare_together() -> None:
    whole = pod(
        container("a", limits={"hugepages-2Mi": 4 * MIB * 1000}),
        container("b", limits={"hugepages-2Mi": 6 * MIB * 1000, "hugepages-1Gi": GIB * 1000}),
        container("c"),
    )
    assert written(pod_pages(whole, SIZES, V2)) == {
        "hugetlb.2MB.max": str(10 * MIB),
        "hugetlb.2MB.rsvd.max": str(10 * MIB),
        "hugetlb.1GB.max": str(GIB),
        "hugetlb.1GB.rsvd.max": str(GIB),
    }


def test_the_same_size_in_another_spelling() -> None:
    web = container(limits={"hugepages-2048Ki": 2 * MIB * 1000})
    assert written(container_pages(web, (2 * MIB,), V2))["hugetlb.2MB.max"] == str(2 * MIB)


@pytest.mark.parametrize("name", ["hugepages-", "hugepages-big", "hugepages-0", "hugepages--2Mi"])
def test_what_is_no_size_limits_nothing(name: str) -> None:
    assert container_pages(container(limits={name: 1000}), (), V2) == ()


def test_only_what_was_declared_is_missed() -> None:
    """A declared size that the machine does not have is told, and once; ``rsvd`` came later and may be absent."""
    web = container(limits={"hugepages-4Mi": 8 * MIB * 1000})
    told = {setting.file: (setting.asked, setting.optional) for setting in container_pages(web, (2 * MIB,), V2)}
    assert told == {
        "hugetlb.2MB.max": ("", True),
        "hugetlb.2MB.rsvd.max": ("", True),
        "hugetlb.4MB.max": ('the limit of huge pages of 4MB of container "web"', False),
        "hugetlb.4MB.rsvd.max": ("", True),
    }
    (of_pod, _) = pod_pages(pod(web), (), V1)
    assert of_pod.asked == "the limit of huge pages of 4MB of the pod"


def test_init_containers_and_the_pods_own_word() -> None:
    """The larger of what runs together and what an init container needs; what is said of the pod as a whole wins."""
    main, init = (
        container("main", limits={"hugepages-2Mi": 4 * MIB * 1000}),
        container("init", limits={"hugepages-2Mi": 6 * MIB * 1000}),
    )
    one = pod(main)
    whole = replace(one, spec=replace(one.spec, init_containers=(init,)))
    assert written(pod_pages(whole, (2 * MIB,), V2))["hugetlb.2MB.max"] == str(6 * MIB)
    said = ResourceRequirements(limits=quantities({"hugepages-2Mi": 16 * MIB * 1000}))
    whole = replace(whole, spec=replace(whole.spec, resources=said))
    assert written(pod_pages(whole, (2 * MIB,), V2))["hugetlb.2MB.max"] == str(16 * MIB)
