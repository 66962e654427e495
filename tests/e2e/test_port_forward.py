"""``nsrun port-forward`` and ``nsrun netns``: in the pod's network, also while no daemon runs."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.lives import pod, shell
from tests.e2e.nsrunner import Nsrun
from tests.waiting import PATIENCE, eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

PORTS = {"ports": [{"name": "echo", "containerPort": 7000}]}


class Forwarding:
    """A running ``nsrun port-forward``."""

    def __init__(self, nsrun: Nsrun, output: Path, *arguments: str) -> None:
        self._output = output
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                nsrun.command("port-forward", *arguments), env=nsrun.environ(), stdout=file, stderr=subprocess.STDOUT
            )

    def said(self) -> list[str]:
        return self._output.read_text().splitlines()

    def ports(self, count: int) -> list[int]:
        """The local ports, once so many are told."""

        def told() -> list[int]:
            assert self.process.poll() is None, self.said()
            lines = [line for line in self.said() if line.startswith("Forwarding from ")]
            return [int(line.split()[2].rpartition(":")[2]) for line in lines] if len(lines) >= count else []

        return eventually(told)


@contextlib.contextmanager
def forwarding(nsrun: Nsrun, base: Path, *arguments: str) -> Iterator[Forwarding]:
    running = Forwarding(nsrun, base / "forward.out", *arguments)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()


ECHO = """
import socket, sys, threading
server = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=512, family=int(sys.argv[3]))
print("ready", flush=True)
def echo(connection):
    with connection:
        while data := connection.recv(65536):
            connection.sendall(data)
        connection.sendall(b"the end")
while True:
    threading.Thread(target=echo, args=(server.accept()[0],), daemon=True).start()
"""


@contextlib.contextmanager
def echoing(nsrun: Nsrun, name: str, address: str, port: int) -> Iterator[None]:
    """A server of the host's Python in the pod's network namespace, which answers at last when its input ends."""
    family = str(int(socket.AF_INET6 if ":" in address else socket.AF_INET))
    argv = nsrun.command("netns", name, "--", "python3", "-c", ECHO, address, str(port), family)
    server = subprocess.Popen(argv, env=nsrun.environ(), stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        yield
    finally:
        server.kill()
        server.wait()
        assert server.stdout is not None
        server.stdout.close()


def talk(address: tuple[str, int], data: bytes) -> bytes:
    """Sends it all, ends that direction, reads until the other ends."""
    with socket.create_connection(address, timeout=60 * PATIENCE) as connection, ThreadPoolExecutor(1) as sender:

        def send() -> None:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)

        sending = sender.submit(send)
        parts = []
        while part := connection.recv(1 << 16):
            parts.append(part)
        sending.result()
    return b"".join(parts)


def test_forwarding_to_a_pod(loaded: Nsrun, tmp_path: Path) -> None:
    loaded.start()
    loaded.apply("web.json", pod("web", shell("main", "exec sleep 1000", **PORTS)))
    loaded.ready("web")
    loaded.kill()  # neither needs the daemon
    with (
        echoing(loaded, "web", "127.0.0.1", 7000),
        echoing(loaded, "default/web", "::1", 7001),
        forwarding(loaded, tmp_path, "web", ":echo", "0:7001", ":7002", "--address", "127.0.0.1") as running,
    ):
        echo, six, nobody = running.ports(3)
        assert running.said()[0] == f"Forwarding from 127.0.0.1:{echo} -> 7000"
        data = os.urandom(5_000_000)
        assert talk(("127.0.0.1", echo), data) == data + b"the end"
        assert running.said()[3] == f"Handling connection for {echo}"
        assert talk(("127.0.0.1", six), b"x") == b"xthe end"
        with socket.create_connection(("127.0.0.1", nobody), timeout=20 * PATIENCE) as refused:
            assert refused.recv(1) == b""
        eventually(
            lambda: f"nsrun: cannot forward {nobody} -> 7002: connection refused (ECONNREFUSED)" in running.said()
        )
        with ThreadPoolExecutor(50) as crowd:
            answers = list(crowd.map(lambda n: talk(("127.0.0.1", echo), b"%d " % n * 10_000), range(200)))
        assert answers == [b"%d " % n * 10_000 + b"the end" for n in range(200)]
        fds = Path(f"/proc/{running.process.pid}/fd")
        eventually(lambda: len(list(fds.iterdir())) < 20, what="nothing of the connections is left")
        loaded.cli("down", "--time", "1")
        assert running.process.wait(30 * PATIENCE) == 1
        assert running.said()[-1] == "nsrun: lost connection to pod"


def test_addresses_and_what_is_refused(loaded: Nsrun, tmp_path: Path) -> None:
    loaded.start()
    loaded.apply("web.json", pod("web", shell("main", "exec sleep 1000")))
    loaded.apply("host.json", pod("host", shell("main", "exec sleep 1000"), hostNetwork=True))
    loaded.ready("web")
    loaded.ready("host")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        taken = loaded.cli("port-forward", "web", f"{port}:80", "--address", "127.0.0.1", check=False)
        assert (taken.returncode, taken.stderr) == (
            1,
            f"nsrun: cannot listen on 127.0.0.1:{port}: address already in use (EADDRINUSE)\n",
        )
        with forwarding(loaded, tmp_path, "host", f":{port}") as running:
            four, six = running.ports(2)
            assert four == six  # localhost is both families
            for address in ("127.0.0.1", "::1"):
                with socket.create_connection((address, four), timeout=20 * PATIENCE) as client:
                    inside, _ = listening.accept()
                    with inside:
                        inside.sendall(b"hello")
                    assert client.recv(10) == b"hello"
            running.process.send_signal(signal.SIGINT)
            assert running.process.wait(20 * PATIENCE) == 130
            assert running.said()[-2].startswith("Handling connection for ")
            assert running.said()[-1] == ""  # after the ^C of a terminal
    absent = loaded.cli("port-forward", "nobody", "80", check=False)
    assert (absent.returncode, absent.stderr.splitlines()[0]) == (1, 'nsrun: cannot find pod "nobody"')


def test_programs_in_the_network_of_a_pod_with_users_of_its_own(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("own.json", pod("own", shell("main", "exec sleep 1000"), hostUsers=False))
    loaded.ready("own")
    assert sorted(loaded.cli("netns", "own", "--", "ls", "/sys/class/net").stdout.split()) == ["eth0", "lo"]


def test_programs_in_the_network_of_a_pod(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("web.json", pod("web", shell("main", "exec sleep 1000"), dnsConfig={"searches": ["of.the.pod"]}))
    loaded.apply("host.json", pod("host", shell("main", "exec sleep 1000"), hostNetwork=True))
    address = loaded.ready("web")["status"]["podIP"]  # type: ignore[index]
    loaded.ready("host")
    loaded.kill()

    def inside(name: str, *words: str) -> subprocess.CompletedProcess[str]:
        return loaded.cli("netns", name, *words, check=False)

    mounts = Path("/proc/self/mountinfo").read_text()
    assert f"inet {address}/" in inside("web", "ip", "-o", "address", "show", "eth0").stdout
    assert sorted(inside("web", "--", "ls", "/sys/class/net").stdout.split()) == ["eth0", "lo"]
    assert "of.the.pod" in inside("web", "cat", "/etc/resolv.conf").stdout
    assert f"{address}\tweb" in inside("web", "cat", "/etc/hosts").stdout
    assert inside("web", "sh", "-c", "exit 7").returncode == 7
    assert inside("web", "--", "sh", "-c", "kill -TERM $$").returncode == -signal.SIGTERM
    assert inside("web", "grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status").stdout.split()[1::2] == ["0" * 16] * 2
    assert inside("web", "ls", "/proc/self/fd").stdout.split() == ["0", "1", "2", "3"]  # 3 is that directory
    missing = inside("web", "no-such-program", "-x")
    assert (missing.returncode, missing.stderr) == (
        127,
        'nsrun: cannot run "no-such-program -x": no such file or directory (ENOENT)\n',
    )
    assert inside("web", "/etc/passwd").returncode == 126
    assert inside("web").stdout == "default_web\n"
    assert inside("web").stdout.strip() in subprocess.run(["ip", "netns"], capture_output=True, text=True).stdout
    assert loaded.cli("netns", "--path", "web").stdout == "/run/netns/default_web\n"
    refused = inside("host", "true")
    assert refused.returncode == 1
    assert "it is in the host's network" in refused.stderr
    assert inside("web", "--").returncode == 2
    assert Path("/proc/self/mountinfo").read_text() == mounts  # of all that was mounted nothing came here
