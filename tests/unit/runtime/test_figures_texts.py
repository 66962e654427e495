"""What the kernel writes about a cgroup's use, read. The texts are the kernel's own."""

from __future__ import annotations

from collections.abc import Mapping

from nsrun.model.figures import CpuFigures, DeviceUse, MemoryFigures, Pressure, Usage, Waiting
from nsrun.runtime.figures_texts import (
    Files,
    parse_blkio,
    parse_io_stat,
    parse_pressure,
    read_v1,
    read_v2,
    together,
)

IO_STAT = """8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0
8:0 rbytes=90430464 wbytes=299008000 rios=8950 wios=1252 dbytes=50331648 dios=3021 cost.usage=7
"""
PRESSURE = """some avg10=1.50 avg60=0.25 avg300=0.00 total=12345
full avg10=0.50 avg60=0.00 avg300=0.00 total=999
"""
SERVICE_BYTES = """254:0 Read 4096
254:0 Write 1048576
254:0 Sync 1052672
254:0 Async 0
254:0 Discard 0
254:0 Total 1052672
7:0 Read 512
Total 1053184
"""
SERVICED = """254:0 Read 1
254:0 Write 16
254:0 Total 17
Total 17
"""


def test_devices_on_v2() -> None:
    assert parse_io_stat(IO_STAT) == (
        DeviceUse(device="8:16", read_bytes=1459200, written_bytes=314773504, reads=192, writes=353),
        DeviceUse(device="8:0", read_bytes=90430464, written_bytes=299008000, reads=8950, writes=1252),
    )
    assert parse_io_stat("") == ()


def test_devices_that_did_nothing_are_passed_over() -> None:
    """As kernels before 5.15 write them, on one line with the next; as later ones do, without any figure."""
    assert parse_io_stat("7:1 7:0 8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n259:0\n") == (
        DeviceUse(device="8:0", read_bytes=1, written_bytes=2, reads=3, writes=4),
    )


def test_devices_on_v1() -> None:
    assert parse_blkio(SERVICE_BYTES, SERVICED) == (
        DeviceUse(device="254:0", read_bytes=4096, written_bytes=1048576, reads=1, writes=16),
        DeviceUse(device="7:0", read_bytes=512),
    )
    assert parse_blkio("Total 0\n", "") == ()
    assert parse_blkio("", "8:0 Write 3\n") == (DeviceUse(device="8:0", writes=3),)


def test_pressure() -> None:
    assert parse_pressure(PRESSURE) == Pressure(
        some=Waiting(avg10=1.5, avg60=0.25, avg300=0.0, total=12345),
        full=Waiting(avg10=0.5, avg60=0.0, avg300=0.0, total=999),
    )


def test_pressure_of_an_older_kernel_and_of_none() -> None:
    """cpu.pressure has no ``full`` line before 5.13."""
    found = parse_pressure(PRESSURE.splitlines()[0])
    assert found is not None
    assert found.full is None
    assert parse_pressure("") is None
    assert parse_pressure("full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n") is None
    assert parse_pressure("some avg10=nothing\n") is None


# --- a cgroup as a whole

V2 = {
    "cpu.stat": """usage_usec 2412345
user_usec 1400000
system_usec 1012345
nice_usec 0
core_sched.force_idle_usec 0
nr_periods 120
nr_throttled 30
throttled_usec 1500000
nr_bursts 2
burst_usec 4000
""",
    "memory.current": "104857600\n",
    "memory.peak": "134217728\n",
    "memory.swap.current": "4096\n",
    "memory.events": "low 0\nhigh 0\nmax 12\noom 2\noom_kill 1\noom_group_kill 0\n",
    "memory.stat": """anon 52428800
file 41943040
kernel 6291456
kernel_stack 131072
pagetables 262144
sec_pagetables 0
percpu 1280
sock 0
vmalloc 0
shmem 0
zswap 0
file_mapped 8388608
file_dirty 0
file_writeback 0
inactive_anon 52420608
active_anon 8192
inactive_file 31457280
active_file 10485760
unevictable 0
slab 5000000
pgfault 40000
pgmajfault 17
workingset_refault_anon 0
""",
    "io.stat": IO_STAT,
    "pids.current": "7\n",
    "pids.max": "max\n",
    "cpu.pressure": PRESSURE,
    "memory.pressure": PRESSURE,
    "io.pressure": PRESSURE,
}
V1_CPU = {
    "cpu.stat": "nr_periods 120\nnr_throttled 30\nthrottled_time 1500000000\nnr_bursts 2\nburst_time 4000000\n",
}
V1_CPUACCT = {"cpuacct.usage": "2412345678\n", "cpuacct.stat": "user 140\nsystem 101\n"}
V1_MEMORY = {
    "memory.usage_in_bytes": "104857600\n",
    "memory.max_usage_in_bytes": "134217728\n",
    "memory.kmem.usage_in_bytes": "6291456\n",
    "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
    "memory.stat": """cache 0
rss 0
inactive_file 0
pgfault 3
hierarchical_memory_limit 9223372036854771712
total_cache 41943040
total_rss 52428800
total_mapped_file 8388608
total_swap 4096
total_pgfault 40000
total_pgmajfault 17
total_inactive_anon 52420608
total_active_anon 8192
total_inactive_file 31457280
total_active_file 10485760
""",
}
V1_PIDS = {"pids.current": "7\n", "pids.max": "64\n"}
V1_BLKIO = {
    "blkio.throttle.io_service_bytes_recursive": SERVICE_BYTES,
    "blkio.throttle.io_serviced_recursive": SERVICED,
}
MEMORY = MemoryFigures(
    usage=104857600,
    rss=52428800,
    cache=41943040,
    mapped_file=8388608,
    active_file=10485760,
    inactive_file=31457280,
    page_faults=40000,
    major_page_faults=17,
    kernel=6291456,
    highest=134217728,
    swap=4096,
    kills=1,
)
CPU = CpuFigures(
    usage=2412345000,
    user=1400000000,
    system=1012345000,
    periods=120,
    throttled_periods=30,
    throttled=1500000000,
    burst_periods=2,
    burst=4000000,
)
ALL_V2 = frozenset({"cpu", "memory", "pids", "io"})


def files(texts: Mapping[str, str]) -> Files:
    return lambda name: texts.get(name, "")


def test_a_cgroup_on_v2() -> None:
    found = together([read_v2(files(V2), ALL_V2)], time=5.0, monotonic=1.0, processes=3)
    pressure = parse_pressure(PRESSURE)
    assert found == Usage(
        time=5.0,
        monotonic=1.0,
        cpu=CPU,
        memory=MEMORY,
        devices=parse_io_stat(IO_STAT),
        processes=3,
        threads=7,
        cpu_pressure=pressure,
        memory_pressure=pressure,
        io_pressure=pressure,
    )
    assert MEMORY.working_set == 104857600 - 31457280


def test_a_cgroup_on_v1_is_made_of_all_hierarchies() -> None:
    parts = [
        read_v1(files(V1_CPU), frozenset({"cpu"})),
        read_v1(files(V1_CPUACCT), frozenset({"cpuacct"})),
        read_v1(files(V1_MEMORY), frozenset({"memory"})),
        read_v1(files(V1_PIDS), frozenset({"pids"})),
        read_v1(files(V1_BLKIO), frozenset({"blkio"})),
        read_v1(files({}), frozenset()),
    ]
    found = together(parts, time=5.0, monotonic=1.0)
    assert found.cpu == CpuFigures(
        usage=2412345678,
        user=1400000000,
        system=1010000000,
        periods=120,
        throttled_periods=30,
        throttled=1500000000,
        burst_periods=2,
        burst=4000000,
    )
    assert found.memory == MEMORY
    assert (found.threads, found.threads_limit) == (7, 64)
    assert found.devices == parse_blkio(SERVICE_BYTES, SERVICED)
    assert found.cpu_pressure is None


def test_on_a_hybrid_machine_v1_counts_and_v2_tells_of_pressure() -> None:
    parts = [
        read_v2(files(V2), frozenset()),
        read_v1(files(V1_CPUACCT), frozenset({"cpuacct"})),
        read_v1(files(V1_MEMORY), frozenset({"memory"})),
    ]
    found = together(parts, time=5.0, monotonic=1.0)
    assert found.cpu is not None
    assert found.cpu.usage == 2412345678
    assert found.memory == MEMORY
    assert found.io_pressure == parse_pressure(PRESSURE)


def test_briefly_only_processor_time_and_memory() -> None:
    asked: list[str] = []

    def file(name: str) -> str:
        asked.append(name)
        return V2.get(name, "")

    found = together([read_v2(file, ALL_V2, brief=True)], time=5.0, monotonic=1.0)
    assert sorted(asked) == ["cpu.stat", "memory.current", "memory.stat", "memory.swap.current"]
    assert found.cpu == CPU
    assert found.memory is not None
    assert (found.memory.working_set, found.memory.highest, found.threads) == (73400320, None, None)
    parts = [
        read_v1(files(V1_CPU), frozenset({"cpu"}), brief=True),
        read_v1(files(V1_CPUACCT), frozenset({"cpuacct"}), brief=True),
        read_v1(files(V1_MEMORY), frozenset({"memory"}), brief=True),
    ]
    found = together(parts, time=5.0, monotonic=1.0)
    assert found.cpu == CpuFigures(usage=2412345678)
    assert found.memory is not None
    assert (found.memory.working_set, found.memory.kernel) == (73400320, None)


def test_what_is_not_there_is_not_known() -> None:
    for nothing in (read_v2(files({}), ALL_V2), read_v1(files({}), frozenset({"cpu", "cpuacct", "memory", "pids"}))):
        assert together([nothing], time=5.0, monotonic=1.0) == Usage(time=5.0, monotonic=1.0)
    odd = {"cpu.stat": "usage_usec many\nuser_usec\n", "memory.current": "-1\n"}
    assert together([read_v2(files(odd), ALL_V2)], time=5.0, monotonic=1.0).cpu is None


def test_an_older_kernel_tells_less() -> None:
    """No memory.peak before 5.19, no ``kernel`` in memory.stat before 5.18, no swap accounting."""
    texts = {**V2, "memory.peak": "", "memory.swap.current": "", "memory.stat": "anon 4096\nfile 0\n"}
    found = together([read_v2(files(texts), ALL_V2)], time=5.0, monotonic=1.0)
    assert found.memory == MemoryFigures(usage=104857600, rss=4096, kills=1)
