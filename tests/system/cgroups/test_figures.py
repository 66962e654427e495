"""The figures that the kernel holds for a pod are those of the kubelet's formulas, on cgroup v1 and on v2.

The expected figures were worked out by hand from the formulas; nothing of the code under test takes part in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from nsrun.host.cgroups import CgroupMode
from nsrun.host.facts import HostFacts, probe
from nsrun.model.running import ContainerId
from nsrun.runtime.cgroup_open import open_cgroups
from nsrun.runtime.cgroups import Cgroups
from tests.unit.runtime.pods import container, pod

pytestmark = pytest.mark.root

WEB = ContainerId(uid="uid-1", name="web", attempt=0)
PIDS = 64


@dataclass(frozen=True, kw_only=True)
class Row:
    """Asked for, in thousandths; then what each set-up must hold. ``None``: no limit. ``pages``: MiB of huge pages."""

    cpu: int
    cpu_limit: int | None = None
    mib: int | None = None
    pages: int = 0
    shares: int
    pod_weight: int
    weight: int
    quota: int | None = None


TABLE = [
    Row(cpu=0, shares=2, pod_weight=1, weight=1),
    Row(cpu=1, shares=2, pod_weight=1, weight=1),
    Row(cpu=100, cpu_limit=200, mib=32, shares=102, pod_weight=4, weight=17, quota=20_000),
    Row(cpu=250, cpu_limit=500, mib=64, shares=256, pod_weight=10, weight=35, quota=50_000),
    Row(cpu=1000, cpu_limit=1000, mib=128, shares=1024, pod_weight=39, weight=100, quota=100_000),
    Row(cpu=4000, shares=4096, pod_weight=157, weight=303),
    Row(cpu=250, mib=64, pages=128, shares=256, pod_weight=10, weight=35),
    Row(cpu=5, cpu_limit=5, shares=5, pod_weight=1, weight=2, quota=1_000),
    Row(cpu=300_000, shares=262_144, pod_weight=10_000, weight=10_000),
]


@pytest.fixture(params=["as it is", "v1"])
def facts(request: pytest.FixtureRequest) -> HostFacts:
    facts = probe()
    if request.param == "v1":
        if facts.cgroups.mode is not CgroupMode.HYBRID:
            pytest.skip("this is what it is already, or there are no v1 controllers")
        return replace(facts, cgroups=replace(facts.cgroups, mode=CgroupMode.V1, unified=None))
    return facts


@pytest.fixture
def cgroups(facts: HostFacts, cgroup_root: str) -> Iterator[Cgroups]:
    made = open_cgroups(facts, cgroup_root, pids_limit=PIDS)
    yield made
    made.close()


def read(facts: HostFacts, path: str, controller: str, v1: str, v2: str) -> str:
    """What the kernel says, from the hierarchy that has the controller."""
    directory = facts.cgroups.directory(controller)
    assert directory is not None
    return Path(directory, path, v2 if facts.cgroups.mode is CgroupMode.V2 else v1).read_text().strip()


def held_pages(facts: HostFacts, path: str) -> dict[str, str]:
    """Every limit of huge pages that the kernel holds; a hybrid machine may have the controller in its v2 tree."""
    directory = Path(facts.cgroups.directory("hugetlb") or "/nowhere", path)
    files = [*directory.glob("hugetlb.*.max"), *directory.glob("hugetlb.*.limit_in_bytes")]
    return {file.name: file.read_text().strip() for file in files}


def expected_pages(facts: HostFacts, row: Row) -> dict[str, str]:
    """Of pages of 2 MiB what is declared, of all others none; nothing where there is no controller."""
    setup = facts.cgroups
    if (directory := setup.directory("hugetlb")) is None:
        return {}
    v2 = setup.unified is not None and directory == setup.unified.directory
    sizes = [p.name.removeprefix("hugepages-").removesuffix("kB") for p in Path("/sys/kernel/mm/hugepages").iterdir()]
    names = {"2048": "2MB", "1048576": "1GB"}
    return {
        f"hugetlb.{names[size]}.{kind}{'max' if v2 else 'limit_in_bytes'}": str(
            row.pages << 20 if size == "2048" else 0
        )
        for size in sizes
        for kind in ("", "rsvd.")
    }


def expected(row: Row, mode: CgroupMode, *, whole_pod: bool) -> dict[str, str]:
    if mode is CgroupMode.V2:
        return {
            "cpu": str(row.pod_weight if whole_pod else row.weight),
            "quota": "max 100000" if row.quota is None else f"{row.quota} 100000",
            "memory": "max" if row.mib is None else str(row.mib << 20),
        }
    return {
        "cpu": str(row.shares),
        "quota": "-1" if row.quota is None else str(row.quota),
        "memory": str((1 << 63) - 4096) if row.mib is None else str(row.mib << 20),
    }


def held(facts: HostFacts, path: str) -> dict[str, str]:
    return {
        "cpu": read(facts, path, "cpu", "cpu.shares", "cpu.weight"),
        "quota": read(facts, path, "cpu", "cpu.cfs_quota_us", "cpu.max"),
        "memory": read(facts, path, "memory", "memory.limit_in_bytes", "memory.max"),
    }


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.cpu}m-{row.cpu_limit}m-{row.mib}Mi-{row.pages}Mi")
def test_the_kernel_holds_the_figures_of_the_formulas(row: Row, facts: HostFacts, cgroups: Cgroups) -> None:
    limits = {
        "cpu": row.cpu_limit,
        "memory": None if row.mib is None else (row.mib << 20) * 1000,
        "hugepages-2Mi": (row.pages << 20) * 1000 if row.pages and facts.cgroups.directory("hugetlb") else None,
    }
    web = container(
        requests={"cpu": row.cpu} if row.cpu else {},
        limits={name: value for name, value in limits.items() if value is not None},
    )
    mode = facts.cgroups.mode
    path = cgroups.create_pod(pod(web))
    with cgroups.create_container(pod(web), WEB, web) as made:
        assert made.warnings == ()
        assert held(facts, made.path) == expected(row, mode, whole_pod=False)
        assert held(facts, path) == expected(row, mode, whole_pod=True)
        assert read(facts, path, "pids", "pids.max", "pids.max") == str(PIDS)
        assert held_pages(facts, made.path) == held_pages(facts, path) == expected_pages(facts, row)


def test_all_of_a_container_dies_when_its_memory_runs_out(facts: HostFacts, cgroups: Cgroups) -> None:
    if facts.cgroups.mode is not CgroupMode.V2:
        pytest.skip("cgroup v1 has no memory.oom.group")
    path = cgroups.create_pod(pod())
    with cgroups.create_container(pod(), WEB, container()) as made:
        assert read(facts, made.path, "memory", "", "memory.oom.group") == "1"
        assert read(facts, path, "memory", "", "memory.oom.group") == "0"
        swap = Path(facts.cgroups.directory("memory") or "", made.path, "memory.swap.max")
        assert not swap.exists() or swap.read_text().strip() == "0"
