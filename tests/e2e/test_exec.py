"""``nsrun exec`` and ``nsrun attach`` as a user has them: pipes, files, terminals, signals, ends, and no daemon."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.lives import pod, shell
from tests.e2e.nsrunner import Nsrun
from tests.waiting import PATIENCE, eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

FOREVER = "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done"


def run(nsrun: Nsrun, *words: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
    more.setdefault("stdin", subprocess.DEVNULL if "input" not in more else None)
    if "input" in more:
        del more["stdin"]
    return subprocess.run(
        nsrun.command(*words),
        env=nsrun.environ(),
        capture_output="stdout" not in more,
        check=False,
        timeout=60 * PATIENCE,
        **more,
    )


class Typist:
    """Somebody at a terminal in which the tool runs."""

    def __init__(self, nsrun: Nsrun, *words: str, size: tuple[int, int] = (33, 99)) -> None:
        self.master, self.slave = pty.openpty()
        termios.tcsetwinsize(self.slave, size)
        self.before = termios.tcgetattr(self.slave)
        self.seen = b""
        self.process = subprocess.Popen(
            nsrun.command(*words),
            env=nsrun.environ(),
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            preexec_fn=_own_terminal,
        )

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def sees(self, pattern: str) -> re.Match[bytes]:
        """Until that stands there, behind what was seen before."""
        end = time.monotonic() + 20 * PATIENCE
        while (match := re.search(pattern.encode(), self.seen)) is None:
            assert time.monotonic() < end, self.seen
            if select.select([self.master], [], [], 0.1)[0]:
                self.seen += os.read(self.master, 65536)
        self.seen = self.seen[match.end() :]
        return match

    def ends(self) -> int:
        """Its exit code; the terminal is as it was."""
        end = time.monotonic() + 20 * PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < end, self.seen
            if select.select([self.master], [], [], 0.05)[0]:
                self.seen += os.read(self.master, 65536)
        while select.select([self.master], [], [], 0)[0]:  # its last words
            self.seen += os.read(self.master, 65536)
        assert termios.tcgetattr(self.slave) == self.before
        return self.process.returncode

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


def _own_terminal() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextlib.contextmanager
def typist(nsrun: Nsrun, *words: str, size: tuple[int, int] = (33, 99)) -> Iterator[Typist]:
    one = Typist(nsrun, *words, size=size)
    try:
        yield one
    finally:
        one.close()


def processes(words: Sequence[str]) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes().split(b"\0")[:-1] == [word.encode() for word in words]:
                found.append(int(path.parent.name))
    return found


def test_commands(loaded: Nsrun, tmp_path: Path) -> None:
    loaded.start()
    loaded.apply("web.json", pod("web", shell("main", FOREVER), shell("other", FOREVER)))
    loaded.apply("one.json", pod("one", shell("main", FOREVER, securityContext={"runAsUser": 1000})))
    loaded.ready("web")
    loaded.ready("one")
    loaded.kill()

    # ends
    done = run(loaded, "exec", "one", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")
    assert run(loaded, "exec", "one", "--", "sh", "-c", "kill -9 $$").returncode == 137
    done = run(loaded, "exec", "one", "no-such")
    assert done.returncode == 127
    assert done.stderr.startswith(b'nsrun: cannot start "no-such" in container "main": cannot execute "no-such": no su')
    done = run(loaded, "exec", "one", "/etc")
    assert (done.returncode, b"permission denied" in done.stderr) == (126, True)

    # which one
    done = run(loaded, "exec", "web", "true")
    assert done.stderr == b'Defaulted container "main" out of: main, other\n'
    for words in ("-c other web", "-n default -c other web", "default/web -c other --"):
        done = run(loaded, "exec", *words.split(), "echo", "-c")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"-c\n", b"")
    for words, code, said in (
        ("none true", 1, b'cannot find pod "none"'),
        ("-n other web true", 1, b'cannot find pod "web"'),
        ("-c none web true", 1, b'cannot find container "none" in pod "web"'),
        ("web", 2, b"there is no command"),
    ):
        done = run(loaded, "exec", *words.split())
        assert (done.returncode, said in done.stderr) == (code, True), done

    # streams
    assert run(loaded, "exec", "one", "cat", input=b"unheard").stdout == b"", "without -i there is no input"
    assert run(loaded, "exec", "-i", "one", "sh", "-c", "cat; echo end", input=b"heard\n").stdout == b"heard\nend\n"
    done = run(loaded, "exec", "one", "sh", "-c", "for n in 0 1 2; do readlink /proc/self/fd/$n | cut -d: -f1; done")
    assert done.stdout == b"pipe\n" * 3, "nothing but pipes goes in"
    done = run(loaded, "exec", "one", "sh", "-c", "echo again > /dev/stdout")
    assert done.stdout == b"again\n", "by an account that did not open it"
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(1 << 20) * 100)
    with source.open("rb") as given, target.open("wb") as taken:
        assert run(loaded, "exec", "-i", "one", "cat", stdin=given, stdout=taken, stderr=None).returncode == 0
    assert hashlib.sha256(source.read_bytes()).digest() == hashlib.sha256(target.read_bytes()).digest()
    with target.open("wb") as taken:
        many = "i=0; while [ $i -lt 200 ]; do echo out$i; echo err$i >&2; i=$((i+1)); done"
        run(loaded, "exec", "one", "sh", "-c", many, stdout=taken, stderr=taken)
    assert target.read_text().split() == [f"{way}{n}" for n in range(200) for way in ("out", "err")], "in order"
    shown = "for n in 0 1; do readlink /proc/self/fd/$n; done"
    with source.open("rb") as given, target.open("wb") as taken:
        run(loaded, "exec", "-i", "one", "sh", "-c", shown, stdin=given, stdout=taken)
    assert {line.partition(":")[0] for line in target.read_text().split()} == {"pipe"}, "no file of the host's"
    with open("/dev/full", "wb") as full:
        done = run(loaded, "exec", "one", "echo", "x", stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, b"cannot write the output: no space left" in done.stderr) == (1, True)

    # signals
    for number, code in ((signal.SIGTERM, 42), (signal.SIGINT, 43), (signal.SIGUSR1, 44)):
        script = "trap 'exit 42' TERM; trap 'exit 43' INT; trap 'exit 44' USR1; echo up; while :; do sleep 0.1; done"
        asked = subprocess.Popen(
            loaded.command("exec", "one", "sh", "-c", script), env=loaded.environ(), stdout=subprocess.PIPE
        )
        assert asked.stdout is not None
        assert asked.stdout.readline() == b"up\n"
        asked.send_signal(number)
        assert asked.wait(20 * PATIENCE) == code
        asked.stdout.close()
    # … and the end of the tool itself
    asked = subprocess.Popen(loaded.command("exec", "one", "sleep", "7531"), env=loaded.environ())
    eventually(lambda: processes(["sleep", "7531"]))
    asked.kill()
    asked.wait()
    eventually(lambda: not processes(["sleep", "7531"]))


def test_terminals(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("one.json", pod("one", shell("main", FOREVER)))
    loaded.ready("one")

    with typist(loaded, "exec", "-it", "one", "--", "sh") as one:
        one.type(b"PS1='$ '; stty size; tty; echo $TERM\n")
        one.sees(r"33 99\r\n/dev/pts/0\r\nxterm\r\n\$ ")
        one.type(b"sh -c 'trap \"stty size; exit\" WINCH; echo up; while :; do sleep 0.05; done'\n")
        one.sees("up\r\n")
        termios.tcsetwinsize(one.slave, (20, 70))
        one.sees("20 70")
        one.type(b"sleep 9753\n")
        eventually(lambda: processes(["sleep", "9753"]))
        one.type(b"\x03")  # to the command, which has a terminal of its own
        eventually(lambda: not processes(["sleep", "9753"]))
        one.type(b"exit 6\n")
        assert one.ends() == 6
    with typist(
        loaded, "exec", "-i", "one", "sh", "-c", "tty; readlink /proc/self/fd/0; (: < /dev/tty) || echo none"
    ) as one:
        one.sees("not a tty\r\npipe:")  # CVE-2017-5226: nothing of the terminal here to type into
        one.sees("none")
        assert one.ends() == 0
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        with typist(loaded, "exec", "-it", "one", "sh", "-c", "echo up; exec sleep 9753") as one:
            one.sees("up")
            one.process.send_signal(number)
            assert one.ends() == 128 + number
            eventually(lambda: not processes(["sleep", "9753"]))
    with typist(loaded, "exec", "-it", "one", "sh", "-c", "echo up; exec sleep 9753") as one:
        one.sees("up")
        (shim,) = [pid for pid, _ in loaded.processes("nsrun-shim") if pid in processes(["nsrun-shim", "default/one"])]
        os.kill(shim, signal.SIGKILL)
        assert one.ends() == 1
        assert b"the pod's shim is gone" in one.seen

    loaded.ready("one")
    eventually(lambda: run(loaded, "exec", "one", "true").returncode == 0)
    done = run(loaded, "exec", "-it", "one", "sh", "-c", "tty; cat", input=b"x\n")
    assert done.stdout == b"not a tty\nx\n"
    assert done.stderr == b"nsrun: cannot give the command a terminal: standard input is none\n"
    assert run(loaded, "exec", "-t", "one", "tty").stdout == b"/dev/pts/0\r\n"


def test_attachments(loaded: Nsrun) -> None:
    talks = "while read x; do echo got $x; echo and $x >&2; [ $x = end ] && exit 5; done; echo ended; sleep 1000"
    loaded.start()
    loaded.apply("pipe.json", pod("pipe", shell("main", talks, stdin=True), restartPolicy="Never"))
    loaded.apply("once.json", pod("once", shell("main", talks, stdin=True, stdinOnce=True), restartPolicy="Never"))
    loaded.apply("tty.json", pod("tty", shell("main", talks, stdin=True, tty=True), restartPolicy="Never"))
    loaded.apply("deaf.json", pod("deaf", shell("main", FOREVER)))
    for name in ("pipe", "once", "tty", "deaf"):
        loaded.ready(name)
    loaded.kill()

    # input that goes on with whoever comes next
    watcher = subprocess.Popen(
        loaded.command("attach", "pipe"), env=loaded.environ(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    writer = subprocess.Popen(
        loaded.command("attach", "-i", "pipe"), env=loaded.environ(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert writer.stdin is not None
    assert writer.stdout is not None
    assert watcher.stdout is not None
    writer.stdin.write(b"hello\n")
    writer.stdin.flush()
    assert writer.stdout.readline() == b"got hello\n"
    writer.stdin.close()
    writer.send_signal(signal.SIGINT)
    assert writer.wait(20 * PATIENCE) == 130
    done = run(loaded, "attach", "-i", "pipe", input=b"more\nend\n")
    assert (done.returncode, done.stdout) == (5, b"got more\ngot end\n")
    assert done.stderr == b"and more\nand end\n"
    told = watcher.communicate(timeout=20 * PATIENCE)
    assert (watcher.returncode, told[0].splitlines()[-2:]) == (5, [b"got more", b"got end"])

    # input that ends with the first who had it
    writer = subprocess.Popen(
        loaded.command("attach", "-i", "once"), env=loaded.environ(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert writer.stdin is not None
    assert writer.stdout is not None
    writer.stdin.write(b"hello\n")
    writer.stdin.flush()
    assert writer.stdout.readline() == b"got hello\n"
    writer.stdin.close()
    assert writer.stdout.readline() == b"ended\n"
    writer.kill()
    writer.wait()
    watcher = subprocess.Popen(
        loaded.command("attach", "-i", "once"), env=loaded.environ(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert watcher.stderr is not None
    assert b"reads no input" in watcher.stderr.readline()
    watcher.terminate()
    assert watcher.wait(20 * PATIENCE) in (143, -signal.SIGTERM)

    # a terminal
    with typist(loaded, "attach", "-i", "tty", size=(11, 44)) as one:
        one.sees("try pressing enter")
        one.type(b"hello\r")
        one.sees("got hello\r\nand hello\r\n")
        done = run(loaded, "exec", "tty", "sh", "-c", "stty size < /dev/console")
        assert done.stdout == b"11 44\n"
        one.type(b"\x10x\x10\x11")
        assert one.ends() == 0
    with typist(loaded, "attach", "-i", "--detach-keys", "a,b", "tty") as one:
        one.sees("try pressing enter")
        one.type(b"\rend\r")
        one.sees("got end")
        assert one.ends() == 5

    done = run(loaded, "attach", "tty")
    assert (done.returncode, done.stderr) == (1, b'nsrun: cannot attach to container "main": it does not run\n')
    assert run(loaded, "attach", "--detach-keys", "ctrl-1", "deaf").returncode == 2
    with typist(loaded, "attach", "-i", "deaf") as one:
        one.sees("reads no input")
        one.type(b"\x03")
        assert one.ends() == 130
