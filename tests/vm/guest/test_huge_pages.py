"""Huge pages end where a container's declaration does. Runs in the machine, whose memory is nobody else's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsrun.host.cgroups import CgroupMode
from nsrun.host.facts import probe
from nsrun.model.running import ContainerId
from nsrun.runtime.cgroup_open import open_cgroups
from nsrun.runtime.cgroups import Cgroups
from tests.system.cgroups.processes import running
from tests.unit.runtime.pods import container, pod
from tests.waiting import eventually

pytestmark = [
    pytest.mark.root,
    pytest.mark.xdist_group("huge_pages"),
    pytest.mark.skipif(probe().cgroups.mode is not CgroupMode.V2, reason="this machine is not pure cgroup v2"),
    pytest.mark.skipif(probe().cgroups.directory("hugetlb") is None, reason="no hugetlb controller here"),
]

WEB = ContainerId(uid="uid-1", name="web", attempt=0)
MIB = 1 << 20
PAGES = Path("/proc/sys/vm/nr_hugepages")

# Maps huge pages, touches each, and tells how it went.
MAP = """
import mmap, sys
size, told = int(sys.argv[1]), sys.argv[2]
try:
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)
    for page in range(0, size, 2 << 20):
        memory[page] = 1
    said = "mapped"
except OSError as error:
    said = error.strerror
open(told, "w").write(said + "\\n")
"""


@pytest.fixture(autouse=True)
def _pages() -> Iterator[None]:
    before = PAGES.read_text()
    PAGES.write_text("8")
    if int(PAGES.read_text()) < 8:
        pytest.skip("no memory in pieces of that size is free")
    yield
    PAGES.write_text(before)


@pytest.fixture
def cgroups(cgroup_root: str) -> Iterator[Cgroups]:
    made = open_cgroups(probe(), cgroup_root)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("declared", "size", "said"),
    [(4, 4, "mapped"), (4, 6, "Cannot allocate memory"), (0, 2, "Cannot allocate memory"), (8, 8, "mapped")],
)
def test_what_was_declared_can_be_had_and_no_more(
    cgroups: Cgroups, tmp_path: Path, declared: int, size: int, said: str
) -> None:
    web = container(limits={"hugepages-2Mi": declared * MIB * 1000} if declared else {})
    cgroups.create_pod(pod(web))
    told = tmp_path / "told"
    program = (sys.executable, "-I", "-S", "-c", MAP, str(size * MIB), str(told))
    with cgroups.create_container(pod(web), WEB, web) as made, running(made, *program):
        eventually(lambda: told.exists() and told.read_text().endswith("\n"), what="it has tried")
    assert told.read_text() == f"{said}\n"


def test_the_limit_of_the_pod_holds_for_all_of_it(cgroups: Cgroups, tmp_path: Path) -> None:
    """The cgroup of its own process has no limit; the one above has."""
    web = container(limits={"hugepages-2Mi": 4 * MIB * 1000})
    cgroups.create_pod(pod(web))
    told = tmp_path / "told"
    program = (sys.executable, "-I", "-S", "-c", MAP, str(6 * MIB), str(told))
    with cgroups.create_container(pod(web), WEB, None) as sandbox, running(sandbox, *program):
        eventually(lambda: told.exists() and told.read_text().endswith("\n"), what="it has tried")
    assert told.read_text() == "Cannot allocate memory\n"
