from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from nsrun.host.facts import HostFacts, huge_pages
from nsrun.host.node import allocatable, capacity, disk_size
from tests.unit.host import machines

GI = 1 << 30


def facts(pages: dict[int, int] | None = None) -> HostFacts:
    """Four processors, 8 GiB."""
    return replace(machines.machine(machines.debian_12()), huge_pages=pages or {})


def test_capacity_is_all_there_is() -> None:
    found = capacity(facts({1 << 21: 32, 1 << 30: 1}), disk=100 * GI, pods=110)
    assert found == {
        "cpu": 4000,
        "memory": 8 * GI * 1000,
        "ephemeral-storage": 100 * GI * 1000,
        "hugepages-2Mi": 64 * (1 << 20) * 1000,
        "hugepages-1Gi": GI * 1000,
        "pods": 110_000,
    }


def test_pods_may_ask_for_what_is_not_kept() -> None:
    whole = capacity(facts({1 << 21: 512}), disk=100 * GI, pods=110)
    found = allocatable(whole, {"cpu": 500, "memory": GI * 1000})
    assert found["cpu"] == 3500
    assert found["memory"] == (8 * GI - 100 * (1 << 20) - GI - GI) * 1000
    assert found["ephemeral-storage"] == 90 * GI * 1000
    assert found["hugepages-2Mi"] == GI * 1000
    assert found["pods"] == 110_000


@given(
    st.dictionaries(st.sampled_from(["cpu", "memory", "ephemeral-storage"]), st.integers(0, 1 << 60)),
    st.integers(0, 1 << 50),
    st.integers(0, 1 << 20),
)
def test_never_more_than_there_is_and_never_less_than_nothing(reserved: dict[str, int], disk: int, pages: int) -> None:
    whole = capacity(facts({1 << 21: pages}), disk=disk, pods=1)
    found = allocatable(whole, reserved)
    assert found.keys() == whole.keys()
    assert all(0 <= found[name] <= whole[name] for name in whole)


def test_the_disk_is_that_of_the_nearest_directory(tmp_path: Path) -> None:
    here = os.statvfs(tmp_path)
    assert disk_size(tmp_path / "not" / "made" / "yet") == here.f_blocks * here.f_frsize


def test_huge_pages_are_counted_by_size(tmp_path: Path) -> None:
    for name, count in {"hugepages-2048kB": "16\n", "hugepages-1048576kB": "0\n", "hugepages-64kB": "many\n"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "nr_hugepages").write_text(count)
    assert huge_pages(tmp_path) == {1 << 21: 16, 1 << 30: 0}
    assert huge_pages(tmp_path / "none") == {}
