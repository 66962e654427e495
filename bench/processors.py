"""What the machine's processors did."""

from __future__ import annotations

import os
from pathlib import Path

from nsrun.runtime.figures_machine import parse_cpu

__all__ = ["busy_seconds", "cpu_seconds"]


def busy_seconds() -> float:
    """Of all processors since the boot."""
    found = parse_cpu(Path("/proc/stat").read_text())
    assert found is not None
    return (found.user + found.system) / 1e9


def cpu_seconds(pid: int) -> float:
    """Of a process (proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
