"""Who holds a user's namespaces: how it is recorded, and found again. Nothing that takes long to load.

The record is a line in the run directory: pid, start time in clock ticks since the boot (proc(5), ``/proc/PID/stat``)
and boot id. A pid alone may be somebody else's by now."""

from __future__ import annotations

import os

from nsrun.support.boot import boot_id
from nsrun.support.fds import Fd
from nsrun.support.record import Record

__all__ = ["Holder", "find", "format_record", "open_process", "parse_record", "record_path", "start_ticks"]


class Holder(Record):
    """A process, by pid, ``ticks`` and ``boot``."""

    __slots__ = ("boot", "pid", "ticks")

    def __init__(self, pid: int, ticks: int, boot: str) -> None:
        self.pid = pid
        self.ticks = ticks
        self.boot = boot


def record_path(run_dir: str) -> str:
    """Where the record is."""
    return f"{run_dir}/holder"


def format_record(holder: Holder) -> str:
    return f"{holder.pid} {holder.ticks} {holder.boot}\n"


def parse_record(text: str) -> Holder | None:
    """None when this is no record."""
    fields = text.split()
    if len(fields) != 3 or not all(field.isascii() and field.isdigit() for field in fields[:2]):
        return None
    return Holder(int(fields[0]), int(fields[1]), fields[2])


def find(run_dir: str) -> tuple[Holder, Fd] | None:
    """The holder that lives, and its pidfd. None: there is no record of one that does."""
    holder = parse_record(_read(record_path(run_dir)))
    if holder is None or holder.boot != boot_id():
        return None
    pidfd = open_process(holder)
    return None if pidfd is None else (holder, pidfd)


def open_process(holder: Holder) -> Fd | None:
    """Its pidfd; None when it is gone."""
    try:
        pidfd = Fd(os.pidfd_open(holder.pid))
    except OSError:
        return None
    # Looked at after the pidfd was made: if it is the process now, the pidfd is the process's.
    return pidfd if start_ticks(holder.pid) == holder.ticks else None


def start_ticks(pid: int) -> int | None:
    """When the process started; None when there is none, or it has ended (a zombie)."""
    # The name, in parentheses, may hold anything.
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(fields[19]) if len(fields) > 19 and fields[0] != "Z" else None


def _read(path: str) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, 4096).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(fd)
