"""What processes are known to use is what the figures say, on whatever set-up this machine has. Bounds, not equality:
the shell that started them, and the kernel's own bookkeeping, count too."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nsrun.host.cgroups import CgroupMode
from nsrun.host.facts import HostFacts, probe
from nsrun.model.figures import CpuFigures, MemoryFigures, Usage
from nsrun.model.running import ContainerId, RunningContainer
from nsrun.runtime.cgroup_open import open_cgroups
from nsrun.runtime.cgroups import Cgroups
from nsrun.runtime.figures import Running, look
from tests.system.cgroups.processes import running
from tests.unit.runtime.pods import container, pod
from tests.waiting import eventually

pytestmark = pytest.mark.root

MIB = 1 << 20
SECOND = 1_000_000_000
WEB = ContainerId(uid="uid-1", name="web", attempt=0)

BURN = """import time
begin = time.process_time()
while time.process_time() < begin + 1:
    pass
print("done", flush=True)
time.sleep(1000)
"""
HOLD = f"import time\nheld = bytearray(b'x') * {64 * MIB}\nprint('done', flush=True)\ntime.sleep(1000)"
THREADS = "import threading, time\nfor _ in range(9): threading.Thread(target=time.sleep, args=(1000,)).start()"
CACHE = "import sys, time\nopen(sys.argv[1], 'wb').write(bytes(16 << 20))\nprint('done', flush=True)\ntime.sleep(1000)"


@pytest.fixture(params=["as it is", "v1"])
def facts(request: pytest.FixtureRequest) -> HostFacts:
    facts = probe()
    if request.param == "v1":
        if facts.cgroups.mode is CgroupMode.V2:
            pytest.skip("this machine has no v1 controllers")
        return replace(facts, cgroups=replace(facts.cgroups, mode=CgroupMode.V1, unified=None))
    return facts


@pytest.fixture
def opened(facts: HostFacts, cgroup_root: str) -> Iterator[Cgroups]:
    made = open_cgroups(facts, cgroup_root, pids_limit=64)
    yield made
    made.close()


def python(code: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-c", code, *arguments)


def usage(cgroups: Cgroups) -> tuple[Usage, Usage]:
    """Of the pod, and of its one container."""
    found = cgroups.usage({WEB.uid: [WEB]})[WEB.uid]
    return found.whole, found.containers[WEB]


def cpu(usage: Usage) -> CpuFigures:
    assert usage.cpu is not None
    return usage.cpu


def inactive(found: MemoryFigures) -> int:
    """What was not used for long."""
    assert found.inactive_file is not None
    return found.inactive_file


def memory(usage: Usage) -> MemoryFigures:
    assert usage.memory is not None
    return usage.memory


def test_a_second_of_processor_time(opened: Cgroups) -> None:
    with opened.create_container(pod(), WEB, container()) as made, running(made, *python(BURN)):
        eventually(lambda: cpu(usage(opened)[1]).usage >= SECOND, what="it has used a second")
        _, own = usage(opened)
        whole, _ = usage(opened)  # read after it: the process goes on meanwhile
        assert SECOND <= cpu(own).usage <= 1.5 * SECOND
        # The kernel samples on which side of the system call the time was spent.
        assert cpu(own).user + cpu(own).system == pytest.approx(cpu(own).usage, rel=0.2)
        assert cpu(own).usage <= cpu(whole).usage <= 1.5 * SECOND
        assert cpu(opened.whole_usage()).usage >= SECOND


def test_a_quota_throttles(opened: Cgroups) -> None:
    web = container(limits={"cpu": 100})
    with opened.create_container(pod(web), WEB, web) as made, running(made, *python(BURN)):
        eventually(lambda: cpu(usage(opened)[1]).throttled_periods >= 3, what="it is throttled")
        found = cpu(usage(opened)[1])
        assert found.periods >= found.throttled_periods
        assert found.throttled > 0


def test_memory_of_its_own_and_of_the_page_cache(opened: Cgroups, tmp_path: Path) -> None:
    with opened.create_container(pod(), WEB, container()) as made, running(made, *python(HOLD)):
        eventually(lambda: memory(usage(opened)[1]).rss >= 64 * MIB, what="it holds 64 MiB")
        whole, own = (memory(found) for found in usage(opened))
        assert 64 * MIB <= own.rss <= 80 * MIB
        assert own.rss <= own.usage
        assert own.usage - inactive(own) == own.working_set
        assert own.page_faults > 64 * MIB // 4096 // 512  # huge pages are one fault each
        assert own.highest is None or own.highest >= own.usage
        assert whole.usage >= 64 * MIB


def test_what_is_in_the_page_cache_is_not_in_the_working_set(opened: Cgroups, tmp_path: Path) -> None:
    if os.major(tmp_path.stat().st_dev) == 0:
        pytest.skip("temporary files are in memory here")
    write = python(CACHE, str(tmp_path / "file"))
    with opened.create_container(pod(), WEB, container()) as made, running(made, *write):
        # The kernel tells of pages in batches of some dozens.
        eventually(lambda: (memory(usage(opened)[1]).cache or 0) >= 15 * MIB, what="its file is in the cache")
        found = memory(usage(opened)[1])
        assert found.usage >= 16 * MIB
        assert found.working_set <= found.usage - inactive(found)
        assert inactive(found) + (found.active_file or 0) >= 15 * MIB


def test_processes_and_threads(opened: Cgroups) -> None:
    with opened.create_container(pod(), WEB, container()) as made, running(made, *python(THREADS)):
        eventually(lambda: usage(opened)[1].threads == 10, what="it has ten threads")
        whole, own = usage(opened)
        assert own.processes == 1
        assert (whole.threads, whole.threads_limit) == (10, 64)


def test_what_a_container_writes_is_counted(facts: HostFacts, opened: Cgroups, tmp_path: Path) -> None:
    """Past the page cache: what is written back later is nobody's on cgroup v1."""
    if facts.cgroups.directory("io") is None:
        if facts.cgroups.directory("blkio") is None:
            pytest.skip("this machine counts no use of devices")
        if (facts.kernel.major, facts.kernel.minor) >= (6, 10):
            pytest.skip("from Linux 6.10 on, v1 counts for devices that have a limit only")
    if os.major(tmp_path.stat().st_dev) == 0:
        pytest.skip("temporary files are on no block device here")
    write = ("dd", "if=/dev/zero", f"of={tmp_path}/file", "bs=64k", "count=16", "oflag=direct", "status=none")
    with opened.create_container(pod(), WEB, container()) as made, running(made, *write):

        def written(of: Usage) -> int:
            return sum(device.written_bytes for device in of.devices)

        eventually(lambda: written(usage(opened)[1]) >= MIB, what="its writes are counted")
        whole, own = usage(opened)
        assert written(whole) >= MIB
        assert sum(device.writes for device in own.devices) >= 16


def test_pressure_is_told_where_there_is_a_v2_hierarchy(facts: HostFacts, opened: Cgroups) -> None:
    if facts.cgroups.unified is None or not Path("/proc/pressure/cpu").exists():
        pytest.skip("this machine does not tell of pressure")
    with opened.create_container(pod(), WEB, container()) as made, running(made, "sleep", "1000"):
        found = usage(opened)[1]
        told = (found.cpu_pressure, found.memory_pressure, found.io_pressure)
        assert all(pressure is not None for pressure in told)


def test_a_look_at_everything(opened: Cgroups) -> None:
    """Who is gone is not in it; the machine uses at least what nsrun does."""
    run = RunningContainer(id=WEB, hash="abc", pid=1, started_at=5.0)
    gone = replace(run, id=replace(WEB, name="gone"))
    with opened.create_container(pod(), WEB, container()) as made, running(made, "sleep", "1000"):
        wanted = {"uid-1": Running(started_at=4.0, containers=(run, gone)), "uid-2": Running(started_at=4.0)}
        found = look(opened, wanted, brief=False)
    assert set(found.pods) == {"uid-1"}
    seen = found.pods["uid-1"]
    assert (set(seen.containers), seen.started_at, seen.containers["web"].hash) == ({"web"}, 4.0, "abc")
    assert seen.path.endswith("/poduid-1")
    assert cpu(found.machine.usage).usage > cpu(found.own).usage > 0
    assert found.machine.memory_total > memory(found.machine.usage).usage > memory(found.own).usage > MIB
    assert found.machine.processes_limit > found.machine.processes > 1
    assert memory(found.own).rss > 0
    assert found.machine.boot > 1_000_000_000
