"""Processes that are not our children: known by pid, start time and boot, held by pidfd.

A pid alone names somebody else as soon as its process is gone. The start time is read again after the pidfd is there:
from then on the pidfd keeps meaning the same process, whatever happens to the number.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from nsrun.support.fds import Fd

__all__ = ["ProcessIdentity", "boot_id", "open_process", "send_signal", "start_ticks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessIdentity:
    """``start_ticks``: field 22 of /proc/<pid>/stat."""

    pid: int
    start_ticks: int
    boot_id: str


def boot_id() -> str:
    """The kernel's name for this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since the boot; None when there is none of this pid."""
    try:
        content = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the name in parentheses, and may hold anything, parentheses too.
    return int(content[content.rindex(b")") + 2 :].split()[19])


def open_process(identity: ProcessIdentity, *, boot: str) -> Fd | None:
    """A pidfd of exactly this process, or None when it is gone."""
    if identity.boot_id != boot or identity.pid <= 0:
        return None
    try:
        pidfd = Fd(os.pidfd_open(identity.pid))
    except ProcessLookupError:
        return None
    if start_ticks(identity.pid) != identity.start_ticks:
        pidfd.close()
        return None
    return pidfd


def send_signal(pidfd: Fd, number: int) -> None:
    """Fine when the process has ended. Raises OSError."""
    try:
        signal.pidfd_send_signal(pidfd.fileno(), number)
    except ProcessLookupError:
        pass
