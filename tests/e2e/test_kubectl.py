"""A real kubectl, through an API front, into pods: exec, attach, logs, port-forward; over whatever it speaks.

Debian's kubectl speaks SPDY. A newer one, where there is one, speaks WebSockets, and SPDY when it is told to.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import pty
import re
import shutil
import signal
import socket
import struct
import subprocess
import termios
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import REPO
from tests.e2e.cluster import GREETING, Cluster, cluster, serving
from tests.waiting import PATIENCE, eventually, fewer

__all__ = ["cluster"]

pytestmark = [pytest.mark.root, pytest.mark.network, pytest.mark.slow, pytest.mark.xdist_group("kubectl")]

UNPACKED = str(REPO / "build" / "kubectl" / "usr" / "bin" / "kubectl")  # by ./dev, where PATH has another one
NO_WEBSOCKETS = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false", "KUBECTL_PORT_FORWARD_WEBSOCKETS": "false"}
MEBIBYTE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Kubectl:
    """One kubectl. ``offers``: the WebSocket protocols that it asks for, by subresource; "" for SPDY."""

    cluster: Cluster
    program: str
    environment: Mapping[str, str]
    offers: Mapping[str, str]

    def start(self, *words: str, **streams: object) -> subprocess.Popen[bytes]:
        running: subprocess.Popen[bytes] = subprocess.Popen(
            [self.program, "--server", self.cluster.front.url, *words],
            env={"PATH": os.environ["PATH"], "HOME": str(self.cluster.home), "TERM": "dumb", **self.environment},
            **streams,  # type: ignore[call-overload]
        )
        return running

    def __call__(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        with self.start(*words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            out, err = running.communicate(stdin, timeout=120 * PATIENCE)
        return subprocess.CompletedProcess(words, running.returncode, out, err)

    def has_offered(self, subresource: str) -> bool:
        _, target, offered = self.cluster.front.asked[-1]
        assert target.partition("?")[0].endswith(f"/{subresource}")
        return offered.split(",")[0] == self.offers.get(subresource, "")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """``websockets``: whether it knows of them; ``environment``: and is told not to use them."""

    websockets: bool
    environment: Mapping[str, str]
    offers: Mapping[str, str]


KINDS = {
    "old": Kind(websockets=False, environment={}, offers={}),
    "websocket": Kind(
        websockets=True,
        environment={},
        offers={"exec": "v5.channel.k8s.io", "portforward": "SPDY/3.1+portforward.k8s.io"},
    ),
    "spdy": Kind(websockets=True, environment=NO_WEBSOCKETS, offers={}),
}


@functools.cache
def program(websockets: bool) -> str | None:
    """A kubectl that uses WebSockets by itself, as those since 1.31 do, or one that does not."""
    for path in (UNPACKED, shutil.which("kubectl")):
        if path is not None and Path(path).exists():
            told = subprocess.run([path, "version", "--client", "-o", "json"], capture_output=True, check=True)
            minor = re.sub(r"\D", "", json.loads(told.stdout)["clientVersion"]["minor"])
            if (int(minor) >= 31) == websockets:
                return path
    return None


@pytest.fixture(params=KINDS)
def kubectl(request: pytest.FixtureRequest, cluster: Cluster) -> Kubectl:
    kind = KINDS[request.param]
    found = program(kind.websockets)
    if found is None:
        pytest.skip("no such kubectl here")
    return Kubectl(cluster=cluster, program=found, environment=kind.environment, offers=kind.offers)


def test_output_input_and_exit_codes(kubectl: Kubectl) -> None:
    done = kubectl("exec", "web", "-c", "main", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.stdout, done.returncode) == (b"out\n", 7)
    assert done.stderr.splitlines() == [b"err", b"command terminated with exit code 7"]
    assert kubectl.has_offered("exec")

    done = kubectl("exec", "-i", "web", "-c", "main", "--", "sha256sum", stdin=b"half-closed")
    assert (done.stdout.split()[0].decode(), done.returncode) == (hashlib.sha256(b"half-closed").hexdigest(), 0)

    done = kubectl("exec", "-i", "web", "-c", "main", "--", "head", "-c", "5", stdin=b"x" * 3 * MEBIBYTE)
    assert (done.stdout, done.returncode) == (b"xxxxx", 0)

    done = kubectl("exec", "web", "-c", "main", "--", "sh", "-c", "sleep 1000 & echo left")
    assert (done.stdout, done.returncode) == (b"left\n", 0)

    done = kubectl("exec", "web", "-c", "main", "--", "/no/such/program")
    assert done.returncode == 1
    assert b"/no/such/program" in done.stderr

    done = kubectl("exec", "web", "-c", "nobody", "--", "true")
    assert done.returncode == 1
    assert b"nobody" in done.stderr


@pytest.mark.timeout(300)
def test_a_hundred_megabytes_there_and_back(kubectl: Kubectl, tmp_path: Path) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    with there.open("wb") as file:
        for _ in range(fewer(100, least=10)):
            file.write(os.urandom(MEBIBYTE))
    kubectl.cluster.forget_peak()
    before = kubectl.cluster.peak()
    with there.open("rb") as source, back.open("wb") as target:
        running = kubectl.start("exec", "-i", "web", "-c", "main", "--", "cat", stdin=source, stdout=target)
        assert running.wait(240 * PATIENCE) == 0
    assert _digest(back) == _digest(there)
    assert kubectl.cluster.peak() - before < 24 * MEBIBYTE


def test_copying_files(kubectl: Kubectl, tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(os.urandom(3 * MEBIBYTE))
    assert kubectl("cp", "-c", "main", str(tmp_path / "there"), "default/web:/tmp/copied").returncode == 0
    assert kubectl("cp", "-c", "main", "default/web:/tmp/copied", str(tmp_path / "back")).returncode == 0
    assert _digest(tmp_path / "back") == _digest(tmp_path / "there")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Terminal:
    """A terminal that kubectl runs in."""

    def __init__(self, kubectl: Kubectl, *words: str) -> None:
        self.master, slave = pty.openpty()
        self.said = b""
        self.size(24, 80)
        self.running = kubectl.start(*words, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)
        os.set_blocking(self.master, False)

    def size(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("=4H", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def reads(self, text: str) -> bool:
        with contextlib.suppress(OSError):
            while data := os.read(self.master, 4096):
                self.said += data
        return text.encode() in self.said

    def until(self, text: str) -> None:
        eventually(lambda: self.reads(text), what=f"{text!r} in {self.said!r}")


def test_a_terminal_with_its_size(kubectl: Kubectl) -> None:
    terminal = Terminal(kubectl, "exec", "-it", "web", "-c", "main", "--", "sh")
    try:
        terminal.until("/ #")
        terminal.type("test -t 0 && echo a$((1+1))tty; echo error >&2\r")
        terminal.until("a2tty\r\n")

        def sized(size: str) -> bool:
            terminal.type("stty size\r")
            return terminal.reads(size)

        eventually(lambda: sized("24 80"), every=0.2)
        terminal.size(51, 133)
        terminal.running.send_signal(signal.SIGWINCH)
        eventually(lambda: sized("51 133"), every=0.2)
        terminal.type("echo be''gun; sleep 1000\r")
        terminal.until("begun\r\n")
        terminal.type("\x03")
        terminal.type("exit 5\r")
        assert terminal.running.wait(30 * PATIENCE) == 5
    finally:
        terminal.running.kill()
        terminal.running.wait()
        os.close(terminal.master)


def test_a_command_ends_with_its_client(kubectl: Kubectl) -> None:
    seconds = str(900_000 + os.getpid())

    def runs() -> bool:
        return any(
            seconds.encode() in (path / "cmdline").read_bytes().split(b"\0")
            for path in Path("/proc").iterdir()
            if path.name.isdigit() and (path / "cmdline").exists()
        )

    running = kubectl.start("exec", "web", "-c", "main", "--", "sleep", seconds)
    eventually(runs)
    running.kill()
    running.wait()
    eventually(lambda: not runs())


def test_attaching_to_a_container(kubectl: Kubectl) -> None:
    line = f"from {os.urandom(8).hex()}"
    with kubectl.start(
        "attach", "-i", "web", "-c", "reader", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdin.write(f"{line}\n".encode())
        running.stdin.flush()
        assert running.stdout.readline() == f"got {line}\n".encode()
        said = iter(running.stderr.readline, b"")
        assert any(heard == f"heard {line}\n".encode() for heard in said)
        running.kill()
    log = kubectl("logs", "web", "-c", "reader").stdout.decode()
    assert f"got {line}\n" in log


def test_following_a_log(kubectl: Kubectl) -> None:
    with kubectl.start("logs", "-f", "--tail=1", "web", "-c", "main", stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        lines = [running.stdout.readline().decode() for _ in range(5)]
        running.kill()
    numbers = [int(line.removeprefix("tick ")) for line in lines]
    assert numbers == list(range(numbers[0], numbers[0] + 5))


@contextlib.contextmanager
def forwarding(kubectl: Kubectl, *ports: str) -> Iterator[tuple[list[tuple[str, int]], Path]]:
    """The local ends, in order, and a file with what kubectl says."""
    said = kubectl.cluster.home / "forwarding"
    with said.open("wb") as output:
        running = kubectl.start(
            "port-forward", "--address", "127.0.0.1", "web", *ports, stdout=output, stderr=subprocess.STDOUT
        )
    try:

        def local() -> list[tuple[str, int]]:
            found = re.findall(r"Forwarding from 127\.0\.0\.1:(\d+)", said.read_text())
            return [("127.0.0.1", int(port)) for port in found] if len(found) == len(ports) else []

        yield eventually(local), said
    finally:
        running.kill()
        running.wait()


def talk(address: tuple[str, int], data: bytes) -> bytes:
    """Sends it all, ends that direction, reads until the other ends."""
    with socket.create_connection(address, timeout=60 * PATIENCE) as connection, ThreadPoolExecutor(1) as sender:

        def send() -> None:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)

        sending = sender.submit(send)
        parts = list(iter(lambda: connection.recv(1 << 16), b""))
        sending.result()
    return b"".join(parts)


def test_forwarding_ports(kubectl: Kubectl) -> None:
    with (
        serving(7000),
        serving(7001),
        forwarding(kubectl, ":7000", ":7001", ":7002") as ((first, second, nobody), said),
    ):
        assert kubectl.has_offered("portforward")
        data = os.urandom(5 * MEBIBYTE)
        assert talk(first, data) == data + GREETING
        assert talk(second, b"x") == b"x" + GREETING
        with ThreadPoolExecutor(20) as crowd:
            answers = list(crowd.map(lambda n: talk(first, b"%d " % n * 5000), range(100)))
        assert answers == [b"%d " % n * 5000 + GREETING for n in range(100)]
        with (
            socket.create_connection(nobody, timeout=20 * PATIENCE) as refused,
            contextlib.suppress(ConnectionResetError),
        ):
            assert refused.recv(1) == b""
        eventually(lambda: "connection refused" in said.read_text())
