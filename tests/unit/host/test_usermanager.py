"""What systemd's user manager is told and says: D-Bus, against a manager made of the specification."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nsrun.host.rootless.usermanager import NO_SUCH_UNIT, ManagerError, Reader, UserManager, Writer, open_manager

JOB = "/org/freedesktop/systemd1/job/7"


def message(kind: int, fields: dict[int, tuple[str, str | int]], body: bytes = b"") -> bytes:
    """As a manager would send it."""
    head = Writer()
    for number in (ord("l"), kind, 1, 1):
        head.byte(number)
    head.number(len(body))
    head.number(1)
    with head.array(8):
        for field, (type_, value) in fields.items():
            head.align(8)
            head.byte(field)
            head.signature(type_)
            if isinstance(value, int):
                head.number(value)
            elif type_ == "g":
                head.signature(value)
            else:
                head.text(value)
    head.align(8)
    return bytes(head.data) + body


def texts(*values: str, first: int | None = None) -> bytes:
    body = Writer()
    if first is not None:
        body.number(first)
    for value in values:
        body.text(value)
    return bytes(body.data)


def answer(serial: int, body: bytes = b"") -> bytes:
    return message(2, {5: ("u", serial), 8: ("g", "o")}, body)


def error(serial: int, name: str, text: str) -> bytes:
    return message(3, {4: ("s", name), 5: ("u", serial), 8: ("g", "s")}, texts(text))


def job_removed(job: str, result: str) -> bytes:
    fields: dict[int, tuple[str, str | int]] = {3: ("s", "JobRemoved"), 8: ("g", "uoss")}
    return message(4, fields, texts(job, "nsrun.scope", result, first=7))


Answers = Callable[[int, bytes], bytes]


@contextmanager
def manager(answers: Answers) -> Iterator[UserManager]:
    """``answers``: to the serial and the body of each call."""
    ours, theirs = socket.socketpair()
    ours.settimeout(10)

    def serve() -> None:
        with theirs:
            assert theirs.recv(1) == b"\0"
            line = theirs.recv(100)
            assert line == f"AUTH EXTERNAL {str(os.geteuid()).encode().hex()}\r\n".encode()
            theirs.sendall(b"OK 0123456789abcdef\r\n")
            assert theirs.recv(7) == b"BEGIN\r\n"
            while start := theirs.recv(16, socket.MSG_WAITALL):
                body_size, serial, fields_size = struct.unpack("<4xIII", start)
                rest = theirs.recv(-(-fields_size // 8) * 8 + body_size, socket.MSG_WAITALL)
                theirs.sendall(answers(serial, rest))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with UserManager(ours) as opened:
            opened.authenticate()
            yield opened
    finally:
        thread.join()


def test_a_scope_is_waited_for() -> None:
    asked: list[bytes] = []

    def answers(serial: int, rest: bytes) -> bytes:
        asked.append(rest)
        others = job_removed("/org/freedesktop/systemd1/job/6", "failed") + message(4, {3: ("s", "UnitNew")})
        return others + answer(serial, texts(JOB)) + job_removed(JOB, "done")

    with manager(answers) as opened:
        opened.start_scope("nsrun.scope", "nsrun's pods", [7, 8])
    body = asked[0][asked[0].index(struct.pack("<I", 11) + b"nsrun.scope\0") :]
    reader = Reader(body)
    assert (reader.text(), reader.text()) == ("nsrun.scope", "fail")
    pids = struct.pack("<III", 8, 7, 8)
    end = body.index(pids) + len(pids)
    assert body[: body.index(pids)].endswith(b"PIDs\0\x02au\0\0\0\0")
    assert body[end:] == bytes(-end % 4) + bytes(4 + -(end + 4) % 8), "no other unit comes along"


def test_a_scope_that_fails_is_told() -> None:
    def answers(serial: int, rest: bytes) -> bytes:
        return answer(serial, texts(JOB)) + job_removed(JOB, "failed")

    with manager(answers) as opened, pytest.raises(ManagerError, match=r"starting nsrun\.scope: failed"):
        opened.start_scope("nsrun.scope", "", [7])


def test_errors_have_their_names() -> None:
    refused = manager(lambda serial, rest: error(serial, NO_SUCH_UNIT, "Unit nsrun.scope not loaded."))
    with refused as opened, pytest.raises(ManagerError, match="not loaded") as raised:
        opened.attach("nsrun.scope", "/supervisor", [7])
    assert raised.value.name == NO_SUCH_UNIT


@pytest.mark.parametrize(
    "said", [b"", b"l\2\1\1" + struct.pack("<III", 1 << 30, 1, 0), message(2, {5: ("u", 1)})[:-1], b"garbage" * 10]
)
def test_what_is_no_answer_is_an_error(said: bytes) -> None:
    ours, theirs = socket.socketpair()
    with theirs, UserManager(ours) as opened:
        theirs.sendall(said)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(ManagerError):
            opened.attach("nsrun.scope", "/supervisor", [7])


def test_who_is_not_taken_is_told() -> None:
    ours, theirs = socket.socketpair()
    with theirs, UserManager(ours) as opened:
        theirs.sendall(b"REJECTED EXTERNAL\r\n")
        with pytest.raises(ManagerError, match="does not take this user"):
            opened.authenticate()


def test_where_nobody_listens_there_is_no_manager(tmp_path: Path) -> None:
    assert open_manager(str(tmp_path)) is None
    (tmp_path / "systemd").mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "systemd" / "private"))
    assert open_manager(str(tmp_path)) is None
