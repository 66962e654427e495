"""How runs end."""

from __future__ import annotations

import signal

import pytest

from nsrun.model.running import ExitReason
from nsrun.runtime.exits import ExitRecord, lost_exit, parse_record, parse_stop_signal, to_exit


def record(status: int, dropped: int = 0) -> ExitRecord:
    return ExitRecord(pid=5, started_ns=1_500_000_000, exited_ns=2_500_000_000, wait_status=status, dropped=dropped)


def test_records() -> None:
    text = b"pid 5\nstarted_ns 1500000000\nexited_ns 2500000000\nwait_status 256\ndropped 0\n"
    assert parse_record(text) == record(256)
    assert parse_record(text + b"something new\n") == record(256)


@pytest.mark.parametrize("content", [b"", b"pid 5\n", b"pid x\nstarted_ns 1\nexited_ns 1\nwait_status 1\n", b"\xff\0"])
def test_what_is_no_record(content: bytes) -> None:
    with pytest.raises(ValueError, match="not an exit record"):
        parse_record(content)


def test_exits() -> None:
    done = to_exit(record(0), oom_killed=False)
    assert (done.code, done.reason, done.started_at, done.finished_at) == (0, ExitReason.COMPLETED, 1.5, 2.5)
    assert to_exit(record(3 << 8), oom_killed=False).reason is ExitReason.ERROR
    killed = to_exit(record(signal.SIGKILL), oom_killed=False)
    assert (killed.code, killed.signal, killed.reason) == (137, 9, ExitReason.ERROR)
    assert to_exit(record(signal.SIGSEGV | 0x80), oom_killed=False).code == 139
    assert to_exit(record(0), oom_killed=True).reason is ExitReason.OOM_KILLED
    assert to_exit(record(0, dropped=2), oom_killed=False).message == "2 records of the log are lost"


def test_lost() -> None:
    lost = lost_exit(started_at=1.0, now=2.0)
    assert (lost.code, lost.reason, lost.started_at, lost.finished_at) == (137, ExitReason.UNKNOWN, 1.0, 2.0)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("", 15),
        ("SIGQUIT", 3),
        ("quit", 3),
        (" 9 ", 9),
        ("SIGUSR1", 10),
        ("SIGRTMIN+3", signal.SIGRTMIN + 3),
        ("RTMAX-1", signal.SIGRTMAX - 1),
        ("SIGRTMIN-1", 15),
        ("SIGTERM+1", 15),
        ("0", 15),
        ("65", 15),
        ("9999", 15),
        ("SIGNONSENSE", 15),
        ("SIG_IGN", 15),
        ("../x", 15),
        ("٣", 15),
    ],
)
def test_stop_signals(text: str, number: int) -> None:
    assert parse_stop_signal(text) == number
