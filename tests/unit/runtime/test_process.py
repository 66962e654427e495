"""Processes by pidfd; memory that is sealed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from nsrun.runtime import process
from nsrun.runtime.launchplan import LaunchPlan
from nsrun.runtime.travel import Luggage, sealed_plan, sealed_program
from nsrun.support.fds import Fd


def test_a_peer_is_held_by_its_pidfd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "import socket,sys;s=socket.socket(socket.AF_UNIX);s.bind(sys.argv[1]);s.listen();print();input()"
    path = str(tmp_path / "socket")
    with subprocess.Popen([sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        for option in (process._SO_PEERPIDFD, 9999):  # also as on a kernel that does not know it
            monkeypatch.setattr(process, "_SO_PEERPIDFD", option)
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(path)
                pid, pidfd = process.peer_process(connection)
            assert pid == child.pid
            assert pidfd is not None
        assert pidfd is not None
        process.send_signal(pidfd, signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        process.send_signal(pidfd, signal.SIGKILL)
        pidfd.close()


def test_luggage() -> None:
    with Luggage() as luggage:
        fds = [Fd.open("/dev/null", os.O_RDONLY) for _ in range(2)]
        assert [luggage.add(fd) for fd in fds] == [0, 1]
        assert luggage.numbers() == [fd.fileno() for fd in fds]
        assert len(luggage) == 2
    assert all(fd.number == -1 for fd in fds)


def test_what_is_sealed_cannot_be_changed(tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(b"#!/bin/true")
    for fd in (sealed_plan(LaunchPlan(operations=(), new_namespaces=0)), sealed_program(tmp_path / "program")):
        for change in (lambda n: os.pwrite(n, b"x", 0), lambda n: os.ftruncate(n, 0), lambda n: os.ftruncate(n, 9999)):
            with pytest.raises(PermissionError):
                change(fd.fileno())
        again = os.open(f"/proc/self/fd/{fd.fileno()}", os.O_RDWR)
        with pytest.raises(PermissionError):
            os.write(again, b"x")
        os.close(again)
        fd.close()
