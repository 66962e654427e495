"""How a run ended: the shim's exit records and messages, wait statuses, reasons. Pure."""

from __future__ import annotations

import os
import re
import signal
from dataclasses import dataclass

from nsrun.model.running import Exit, ExitReason

__all__ = ["ExitRecord", "exit_code", "lost_exit", "parse_record", "parse_stop_signal", "to_exit"]

LOST = "the process that watched over the container is gone, and how the container ended is not known"

_FIELD = re.compile(rb"(pid|started_ns|exited_ns|wait_status|dropped) (-?[0-9]{1,20})")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitRecord:
    """An end as the shim tells it. Times in nanoseconds since the epoch; ``wait_status`` as waitpid(2) gives it;
    ``dropped``: log records that could not be written."""

    pid: int
    started_ns: int
    exited_ns: int
    wait_status: int
    dropped: int = 0


def parse_record(content: bytes) -> ExitRecord:
    """Takes the content of a file in ``exits/``. Raises ValueError when it is not one."""
    fields: dict[str, int] = {}
    for line in content.splitlines():
        match = _FIELD.fullmatch(line)
        if match:
            fields[match.group(1).decode()] = int(match.group(2))
    try:
        return ExitRecord(**fields)
    except TypeError as error:
        raise ValueError("not an exit record") from error


def exit_code(wait_status: int) -> int:
    """As a shell counts: 128 + signal for a killed process. ``wait_status`` as waitpid(2) gives it."""
    number = os.WTERMSIG(wait_status) if os.WIFSIGNALED(wait_status) else 0
    return 128 + number if number else os.WEXITSTATUS(wait_status)


def to_exit(record: ExitRecord, *, oom_killed: bool, message: str = "") -> Exit:
    """What a record means. OOMKilled wins over the code, as it does in the kubelet. ``message``: what the container
    says about it."""
    code = exit_code(record.wait_status)
    reason = ExitReason.COMPLETED if code == 0 else ExitReason.ERROR
    dropped = f"{record.dropped} records of the log are lost" if record.dropped else ""
    return Exit(
        code=code,
        reason=ExitReason.OOM_KILLED if oom_killed else reason,
        started_at=record.started_ns / 1e9,
        finished_at=record.exited_ns / 1e9,
        signal=os.WTERMSIG(record.wait_status) if os.WIFSIGNALED(record.wait_status) else 0,
        message=": ".join(part for part in (dropped, message) if part),
    )


def lost_exit(*, started_at: float, now: float) -> Exit:
    """The end of a run that nobody saw."""
    return Exit(code=137, reason=ExitReason.UNKNOWN, started_at=started_at, finished_at=now, message=LOST)


def parse_stop_signal(text: str) -> int:
    """An image's STOPSIGNAL (``SIGTERM``, ``TERM``, ``15``, ``SIGRTMIN+3``) → its number; SIGTERM for nothing, or for
    what is no signal: an image must not keep its container from being stopped."""
    text = text.strip().upper()
    if text.isascii() and text.isdigit():
        number = int(text) if len(text) <= 3 else 0
        return number if 0 < number <= signal.SIGRTMAX else signal.SIGTERM
    match = re.fullmatch(r"(?:SIG)?([A-Z]+[0-9]*)(?:([+-])([0-9]{1,2}))?", text)
    base = getattr(signal, f"SIG{match.group(1)}", None) if match else None
    if match is None or not isinstance(base, signal.Signals):
        return signal.SIGTERM
    if match.group(2) is None:
        return int(base)
    number = base + int(match.group(2) + match.group(3))
    real_time = base in (signal.SIGRTMIN, signal.SIGRTMAX) and signal.SIGRTMIN <= number <= signal.SIGRTMAX
    return number if real_time else signal.SIGTERM
