"""What /proc says of processes, as figures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nsrun.runtime.figures_processes import ProcessUse, parse_rollup, parse_stat, read_process, summed

STAT = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 20 3 4 50 60 7 8 20 0 9 0 12345 1000000 300 18446744073709551615"
ROLLUP = """55d0c0000000-7ffd0000 ---p 00000000 00:00 0                          [rollup]
Rss:                9000 kB
Pss:                1500 kB
Pss_Dirty:           700 kB
Pss_Anon:            800 kB
Pss_File:            600 kB
Pss_Shmem:           100 kB
Swap:                 40 kB
SwapPss:              20 kB
Locked:                0 kB
"""


def test_times_and_faults_are_a_process_s_and_its_children_s() -> None:
    assert parse_stat(STAT) == {
        "page_faults": 120,
        "major_page_faults": 7,
        "user": (50 + 7) * 10_000_000,
        "system": (60 + 8) * 10_000_000,
        "threads": 9,
    }


@pytest.mark.parametrize("text", ["", "42 (a", "42 (a) S 1", "42 (a) S" + " x" * 30])
def test_what_is_no_stat_is_an_error(text: str) -> None:
    with pytest.raises((ValueError, IndexError)):
        parse_stat(text)


def test_shared_pages_count_in_parts() -> None:
    kb = 1024
    assert parse_rollup(ROLLUP) == {
        "memory": 1500 * kb,
        "anonymous": 800 * kb,
        "mapped_file": 600 * kb,
        "swap": 20 * kb,
    }
    assert parse_rollup("") == {}


def test_a_process_that_may_not_be_looked_into_has_its_resident_pages(tmp_path: Path) -> None:
    assert read_process(42, tmp_path) is None
    (tmp_path / "42").mkdir()
    (tmp_path / "42" / "stat").write_text(STAT)
    use = read_process(42, tmp_path)
    assert use is not None
    assert (use.memory, use.threads) == (0, 9)
    (tmp_path / "42" / "statm").write_text("1000 300 200 10 0 100 0\n")
    use = read_process(42, tmp_path)
    assert use is not None
    assert use.memory == 300 * os.sysconf("SC_PAGE_SIZE")
    (tmp_path / "42" / "smaps_rollup").write_text(ROLLUP)
    use = read_process(42, tmp_path)
    assert use is not None
    assert use.memory == 1500 << 10


def test_a_sum_says_nothing_that_only_a_cgroup_knows() -> None:
    uses = [ProcessUse(user=1, system=2, threads=3, memory=4, anonymous=1), ProcessUse(user=10, threads=1, memory=5)]
    used = summed(uses, time=1.0, monotonic=2.0)
    assert used.cpu is not None
    assert used.memory is not None
    assert (used.cpu.usage, used.cpu.user, used.cpu.system) == (13, 11, 2)
    assert (used.memory.usage, used.memory.rss, used.memory.working_set) == (9, 1, 9)
    assert (used.memory.cache, used.memory.kills, used.memory.highest, used.threads_limit) == (None, None, None, None)
    assert (used.processes, used.threads) == (2, 4)
    brief = summed(uses, time=1.0, monotonic=2.0, brief=True)
    assert (brief.processes, brief.threads) == (None, None)
