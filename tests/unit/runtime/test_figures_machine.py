"""The machine's own figures, from what procfs says."""

from __future__ import annotations

from nsrun.model.figures import CpuFigures
from nsrun.runtime.figures_machine import machine_figures, own_usage, parse_cpu, parse_memory, read_machine_figures

STAT = """cpu  100 20 30 4000 500 6 7 8 90 0
cpu0 100 20 30 4000 500 6 7 8 90 0
ctxt 1
btime 1700000000
"""
MEMINFO = """MemTotal:        1000 kB
MemFree:          400 kB
Cached:           200 kB
SwapTotal:        100 kB
SwapFree:          30 kB
Active(file):      50 kB
Inactive(file):   120 kB
AnonPages:        150 kB
Mapped:            70 kB
KernelStack:        5 kB
Slab:              15 kB
HugePages_Total:    0
"""
VMSTAT = "pgfault 7\npgmajfault 3\noom_kill 2\n"
PRESSURE = "some avg10=1.00 avg60=0.00 avg300=0.00 total=5\n"


def test_processor_time() -> None:
    """What guests used is in what was used; idling and waiting for disks are not."""
    tick = 10_000_000
    assert parse_cpu(STAT) == CpuFigures(usage=171 * tick, user=120 * tick, system=43 * tick)
    assert parse_cpu("cpu  1 2 3 4\n") == CpuFigures(usage=6 * tick, user=3 * tick, system=3 * tick)
    assert parse_cpu("") is None


def test_memory() -> None:
    found = parse_memory(MEMINFO, VMSTAT)
    assert found is not None
    assert (found.usage, found.working_set) == (600 * 1024, 480 * 1024)
    assert (found.swap, found.kernel, found.rss) == (70 * 1024, 20 * 1024, 150 * 1024)
    assert (found.page_faults, found.major_page_faults, found.kills) == (7, 3, 2)
    assert parse_memory("", VMSTAT) is None


def test_all_of_it() -> None:
    files = {
        "stat": STAT,
        "meminfo": MEMINFO,
        "vmstat": VMSTAT,
        "loadavg": "0.1 0.2 0.3 5/140 999\n",
        "sys/kernel/pid_max": "32768\n",
        "pressure/cpu": PRESSURE,
    }
    found = machine_figures(files, time=1.0, monotonic=2.0)
    assert (found.boot, found.memory_total, found.swap_total) == (1_700_000_000, 1000 * 1024, 100 * 1024)
    assert (found.processes, found.processes_limit) == (140, 32768)
    assert found.usage.cpu_pressure is not None
    assert found.usage.io_pressure is None


def test_a_machine_that_tells_nothing() -> None:
    found = machine_figures({}, time=1.0, monotonic=2.0)
    assert (found.usage.cpu, found.usage.memory, found.boot, found.processes) == (None, None, 0.0, 0)


def test_this_machine_and_this_process() -> None:
    machine, own = read_machine_figures(), own_usage()
    assert machine.usage.cpu is not None
    assert machine.memory_total > 1 << 26
    assert own.cpu is not None
    assert own.memory is not None
    assert own.cpu.usage == own.cpu.user + own.cpu.system > 0
    assert 1 << 20 < own.memory.rss <= own.memory.usage
