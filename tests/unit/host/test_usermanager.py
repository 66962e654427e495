"""What systemd's user manager is told and says: D-Bus over a socket, with a manager that a thread plays."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from jeepney import DBusAddress, Endianness, HeaderFields, Message, Parser, new_error, new_method_return, new_signal
from jeepney.io.blocking import prep_socket

from nsrun.host.rootless.usermanager import NO_SUCH_UNIT, ManagerError, UserManager, open_manager
from tests.waiting import PATIENCE

JOB = "/org/freedesktop/systemd1/job/7"
MANAGER = DBusAddress("/org/freedesktop/systemd1", interface="org.freedesktop.systemd1.Manager")
AUTH = f"\0AUTH EXTERNAL {str(os.geteuid()).encode().hex()}\r\n".encode()


def sent(message: Message) -> bytes:
    return bytes(message.serialise(serial=1))


def job_removed(job: str, result: str) -> bytes:
    return sent(new_signal(MANAGER, "JobRemoved", "uoss", (7, job, "nsrun.scope", result)))


Answers = Callable[[Message], bytes]
Play = Callable[[socket.socket], None]


def take(line: socket.socket) -> None:
    assert line.recv(len(AUTH), socket.MSG_WAITALL) == AUTH
    line.sendall(b"OK 0123456789abcdef\r\n")
    assert line.recv(7, socket.MSG_WAITALL) == b"BEGIN\r\n"


@contextmanager
def listening(runtime: Path, play: Play) -> Iterator[None]:
    """``play``: what is done with the one connection that comes. It ends when the other side hangs up."""
    (runtime / "systemd").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(runtime / "systemd" / "private"))
        listener.listen()
        listener.settimeout(30 * PATIENCE)

        def serve() -> None:
            line, _ = listener.accept()
            with line:
                play(line)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            thread.join()


def opening(runtime: Path, seconds: float = 0) -> UserManager:
    """``seconds``: for an answer, if it is to come sooner than usual; whoever is to be let in may take its time."""
    if seconds:
        return UserManager(prep_socket(str(runtime / "systemd" / "private"), timeout=30), seconds=seconds)
    opened = open_manager(str(runtime))
    assert opened is not None
    return opened


@contextmanager
def manager(runtime: Path, answers: Answers, *, hangs_up: bool = False, seconds: float = 0) -> Iterator[UserManager]:
    """``answers``: what is sent for each call. ``hangs_up``: after the first."""

    def play(line: socket.socket) -> None:
        take(line)
        parser = Parser()
        while data := line.recv(4096):
            for call in parser.feed(data):
                line.sendall(answers(call))
                if hangs_up:
                    return

    with listening(runtime, play), opening(runtime, seconds) as opened:
        yield opened


def test_a_scope_is_waited_for(tmp_path: Path) -> None:
    asked: list[Message] = []

    def answers(call: Message) -> bytes:
        asked.append(call)
        others = job_removed("/org/freedesktop/systemd1/job/6", "failed") + sent(new_signal(MANAGER, "UnitNew"))
        return others + sent(new_method_return(call, "o", (JOB,))) + others + job_removed(JOB, "done")

    with manager(tmp_path, answers) as opened:
        opened.start_scope("nsrun.scope", "nsrun's pods", [7, 8])
    (call,) = asked
    assert call.header.fields == {
        HeaderFields.path: "/org/freedesktop/systemd1",
        HeaderFields.interface: "org.freedesktop.systemd1.Manager",
        HeaderFields.member: "StartTransientUnit",
        HeaderFields.destination: "org.freedesktop.systemd1",
        HeaderFields.signature: "ssa(sv)a(sa(sv))",
    }
    properties = [("Description", ("s", "nsrun's pods")), ("Delegate", ("b", True)), ("PIDs", ("au", [7, 8]))]
    assert call.body == ("nsrun.scope", "fail", properties, [])


def test_a_scope_that_fails_is_told(tmp_path: Path) -> None:
    def answers(call: Message) -> bytes:
        return sent(new_method_return(call, "o", (JOB,))) + job_removed(JOB, "failed")

    with (
        manager(tmp_path, answers) as opened,
        pytest.raises(ManagerError, match=r"^starting nsrun\.scope: failed$"),
    ):
        opened.start_scope("nsrun.scope", "", [7])


def test_a_scope_without_a_job_is_told(tmp_path: Path) -> None:
    with (
        manager(tmp_path, lambda call: sent(new_method_return(call))) as opened,
        pytest.raises(ManagerError, match="names no job"),
    ):
        opened.start_scope("nsrun.scope", "", [7])


def test_processes_are_attached_one_call_after_the_other(tmp_path: Path) -> None:
    asked: list[tuple[int, object]] = []

    def answers(call: Message) -> bytes:
        """In the other byte order."""
        asked.append((call.header.serial, call.body))
        answer = new_method_return(call)
        answer.header.endianness = Endianness.big
        return sent(answer)

    with manager(tmp_path, answers) as opened:
        opened.attach("nsrun.scope", "/supervisor", [7])
        opened.attach("nsrun.scope", "/supervisor", [8])
    assert asked == [(1, ("nsrun.scope", "/supervisor", [7])), (2, ("nsrun.scope", "/supervisor", [8]))]


@pytest.mark.parametrize(
    ("signature", "body", "told"),
    [("s", ("Unit nsrun.scope() not loaded.",), r"Unit nsrun\.scope\(\) not loaded\."), (None, (), "no reason given")],
    ids=["reason", "none"],
)
def test_errors_have_their_names(tmp_path: Path, signature: str | None, body: tuple[str, ...], told: str) -> None:
    def answers(call: Message) -> bytes:
        return sent(new_error(call, NO_SUCH_UNIT, signature, body))

    with manager(tmp_path, answers) as opened, pytest.raises(ManagerError, match=f"^{told}$") as raised:
        opened.attach("nsrun.scope", "/supervisor", [7])
    assert raised.value.name == NO_SUCH_UNIT


def cut(call: Message) -> bytes:
    return sent(new_method_return(call, "s", ("done",)))[:-1]


def overlong(call: Message) -> bytes:
    return b"l\2\1\1" + struct.pack("<III", 1 << 30, 1, 0)


def endless(call: Message) -> bytes:
    """A header with a field that is an array, not empty, of empty structs."""
    field = b"\7\3a()\0\0\0" + struct.pack("<I", 8) + bytes(4 + 8)
    return b"l\2\1\1" + struct.pack("<III", 0, 1, len(field)) + field


def mistyped(call: Message) -> bytes:
    """A text that is longer than its message."""
    return sent(new_error(call, NO_SUCH_UNIT, "s", ("abcd",))).replace(b"\4\0\0\0abcd", b"\5\0\0\0abcd")


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        (lambda call: b"", "it hung up"),
        (cut, "it hung up"),
        (overlong, "its message is too long"),
        (lambda call: b"garbage" * 10, "its message is too long"),
        (lambda call: b"x" + bytes(15), "its message cannot be understood"),
        (lambda call: b"l\x09\1\1" + bytes(12), "its message cannot be understood"),
        (mistyped, "its message cannot be understood"),
        (endless, "its message cannot be understood"),
    ],
    ids=["nothing", "cut", "overlong", "garbage", "order", "kind", "mistyped", "endless"],
)
def test_what_is_no_answer_is_an_error(tmp_path: Path, answers: Answers, told: str) -> None:
    with manager(tmp_path, answers, hangs_up=True) as opened, pytest.raises(ManagerError, match=f"^{told}$"):
        opened.attach("nsrun.scope", "/supervisor", [7])


def test_a_body_that_nobody_reads_is_not_taken_apart(tmp_path: Path) -> None:
    def answers(call: Message) -> bytes:
        """First a signal with a variant: an array, not empty, of empty structs."""
        signal = sent(new_signal(MANAGER, "UnitNew", "v", (("at", [0]),)))
        head, body = signal[:-16], b"\3a()\0\0\0\0" + struct.pack("<I", 8) + bytes(4 + 8)
        assert struct.unpack_from("<I", signal, 4) == (16,)
        return head[:4] + struct.pack("<I", len(body)) + head[8:] + body + sent(new_method_return(call))

    with manager(tmp_path, answers) as opened:
        opened.attach("nsrun.scope", "/supervisor", [7])


def test_nobody_is_waited_for_for_ever(tmp_path: Path) -> None:
    silent = manager(tmp_path, lambda call: b"", seconds=0.2)
    with silent as opened, pytest.raises(ManagerError, match="it does not answer"):
        opened.attach("nsrun.scope", "/supervisor", [7])


def test_a_job_that_does_not_end_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    slow = manager(tmp_path, lambda call: sent(new_method_return(call, "o", (JOB,))), seconds=0.2)
    with slow as opened, pytest.raises(ManagerError, match="it does not answer"):
        opened.start_scope("nsrun.scope", "", [7])


def test_who_talks_of_something_else_for_ever_does_not_answer(tmp_path: Path) -> None:
    chatter = sent(new_signal(MANAGER, "UnitNew")) * 100

    def play(line: socket.socket) -> None:
        take(line)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while line.recv(4096):
                while True:
                    line.sendall(chatter)

    with (
        listening(tmp_path, play),
        opening(tmp_path, seconds=0.2) as opened,
        pytest.raises(ManagerError, match="it does not answer"),
    ):
        opened.attach("nsrun.scope", "/supervisor", [7])


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"REJECTED EXTERNAL\r\n", "it does not take this user"),
        (b"OK", "it does not authenticate anybody"),
        (b"", "it does not authenticate anybody"),
    ],
    ids=["refused", "cut", "nothing"],
)
def test_who_is_not_taken_is_told(tmp_path: Path, said: bytes, told: str) -> None:
    def play(line: socket.socket) -> None:
        """Nothing: before the user has said anything, too."""
        if said:
            assert line.recv(len(AUTH), socket.MSG_WAITALL) == AUTH
            line.sendall(said)

    with listening(tmp_path, play), pytest.raises(ManagerError, match=f"^{told}$"):
        open_manager(str(tmp_path))


def test_who_never_authenticates_does_not_answer(tmp_path: Path) -> None:
    def play(line: socket.socket) -> None:
        while line.recv(4096):
            pass

    with listening(tmp_path, play), pytest.raises(ManagerError, match="it does not answer"):
        open_manager(str(tmp_path), seconds=0.2)


def test_where_nobody_listens_there_is_no_manager(tmp_path: Path) -> None:
    assert open_manager(str(tmp_path)) is None
    (tmp_path / "systemd").mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "systemd" / "private"))
    assert open_manager(str(tmp_path)) is None


def test_who_says_nothing_does_not_load_jeepney() -> None:
    script = "import sys, nsrun.host.rootless.delegation\nprint('jeepney' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "False\n"
    )
