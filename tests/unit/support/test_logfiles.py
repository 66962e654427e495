"""The files of a log, and its end."""

from __future__ import annotations

from pathlib import Path

from nsrun.support.logfiles import content_of, log_files, read_tail

STAMP = b"2026-01-02T03:04:05.000000000Z stdout F "
PART = b"2026-01-02T03:04:05.000000000Z stderr P "


def write(path: Path, *lines: bytes, stamp: bytes = STAMP) -> None:
    path.write_bytes(b"".join(stamp + line + b"\n" for line in lines))


def test_names_and_order(tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    assert log_files(tmp_path / "no" / "0.log") == []
    assert log_files(log) == []
    rotated = ["0.log.20260101-000001", "0.log.20251231-235959"]
    others = ["1.log", "1.log.20260101-000000", "0.log.tmp", "0.log.20260101-000001.tmp", "10.log.20260101-000001"]
    for name in (*rotated, *others):
        (tmp_path / name).touch()
    assert [path.name for path in log_files(log)] == sorted(rotated)
    log.touch()
    assert [path.name for path in log_files(log)] == [*sorted(rotated), "0.log"]


def test_content() -> None:
    assert content_of([STAMP + b"a", PART + b"b", STAMP + b"c", b"torn", STAMP]) == b"a\nbc\n\n"


def test_tail(tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    assert read_tail(log, 80, 2048) == b""
    write(log, *(b"%d" % n for n in range(200)))
    assert read_tail(log, 80, 2048).split() == [b"%d" % n for n in range(120, 200)]
    assert read_tail(log, 80, 10) == b"7\n198\n199\n"
    write(log, *(b"x" * 16000 for _ in range(50)), b"end")
    assert read_tail(log, 80, 2048) == b"x" * 2043 + b"\nend\n"


def test_tail_of_a_log_that_was_just_rotated(tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    write(tmp_path / "0.log.20260101-000000", b"1", b"2")
    write(tmp_path / "0.log.20260101-000001", b"3")
    write(log, b"4")
    assert read_tail(log, 3, 2048) == b"2\n3\n4\n"
    with log.open("ab") as file:
        file.write(STAMP + b"half")
    assert read_tail(log, 1, 2048) == b"4\n"
