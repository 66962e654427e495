"""nsrun-forward as a process: what it accepts on its socket, what it may do, and when it ends."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import stat
import subprocess
import sys
from contextlib import ExitStack, closing
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from nsrun.network.forwarder import Limits
from nsrun.support import forward as doorway
from nsrun.support.fds import Fd
from nsrun.support.forward import ANSWER_SIZE, Forward, abi, pack_configuration, pack_request, read_answer
from tests.native.forward_site import HERE, INSIDE, NEIGHBOUR, POD, PODS, TIMEOUT, Site, ask, tcp, udp
from tests.waiting import eventually

pytestmark = pytest.mark.root

NET_BIND_SERVICE, NET_RAW = 10, 13
KEY = Forward(
    protocol=abi.NS_FORWARD_TCP,
    host_address=IPv4Address("127.0.0.1"),
    host_port=8080,
    pod_address=IPv4Address(POD),
    pod_port=80,
)


def listening(port: int = 8080, address: str = "127.0.0.1", *, blocking: bool = False) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((address, port))
    made.listen()
    made.setblocking(blocking)
    return made


def spawn(site: Site) -> socket.socket:
    """A forwarder that nobody has configured yet."""
    with Fd.open(site.directory, os.O_RDONLY) as directory:
        doorway.spawn(str(site.program), directory.fileno(), "x")
    site.forwarder()  # it will stop it
    return site.control()


def configure(site: Site, line: socket.socket, pods: IPv4Network = PODS) -> int:
    request = pack_configuration(pods, transparent=True, connect=9, unanswered=9, answered=9)
    with Fd.open(f"/run/netns/{INSIDE}", os.O_RDONLY) as netns, Fd(os.pidfd_open(site.holder.pid)) as holder:
        return ask(line, request, netns.fileno(), holder.fileno()).error


def process_of(line: socket.socket) -> Path:
    return Path("/proc") / str(int.from_bytes(line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], "little"))


# --- requests


def test_requests_that_say_nothing(site: Site) -> None:
    with spawn(site) as line, listening() as fine:
        good = pack_request(abi.NS_FORWARD_LIST)
        add = pack_request(abi.NS_FORWARD_ADD, KEY)
        for request in (good[:-1], good + b"\0", b"x", bytes(len(good)), b"\xff" * len(good), bytes(5000)):
            assert ask(line, request).error in (errno.EINVAL, errno.EMSGSIZE), request
        assert ask(line, good, fine.fileno()).error == errno.EINVAL
        assert ask(line, add).error == errno.EINVAL
        assert ask(line, add, fine.fileno(), fine.fileno()).error == errno.EINVAL
        assert ask(line, add, *[fine.fileno()] * 5).error == errno.EMSGSIZE
        assert ask(line, add, fine.fileno()).error == errno.ENOTCONN, "not configured yet"
        configuration = pack_configuration(PODS, transparent=True, connect=9, unanswered=9, answered=9)
        assert ask(line, configuration).error == errno.EINVAL
        assert ask(line, good).flags == 0
        assert len(os.listdir(process_of(line) / "fd")) == 6, (
            "0 to 2, epoll, the socket and its one client: no descriptor stays"
        )


def test_one_descriptor_too_few_for_them(site: Site) -> None:
    """A message whose descriptors do not fit is refused, and costs none."""
    with spawn(site) as line, listening() as fine:
        assert configure(site, line) == 0
        before = len(os.listdir(process_of(line) / "fd"))
        for _ in range(50):
            assert ask(line, pack_request(abi.NS_FORWARD_ADD, KEY), *[fine.fileno()] * 9).error == errno.EMSGSIZE
        assert len(os.listdir(process_of(line) / "fd")) == before


@pytest.mark.parametrize(
    "wrong",
    [
        replace(KEY, protocol=0),
        replace(KEY, protocol=1),
        replace(KEY, host_port=0),
        replace(KEY, pod_port=0),
        replace(KEY, pod_address=IPv4Address(0)),
        replace(KEY, host_port=8081),
        replace(KEY, host_address=IPv4Address(0)),
        replace(KEY, host_address=IPv4Address("127.0.0.2")),
        replace(KEY, protocol=abi.NS_FORWARD_UDP),
    ],
)
def test_ports_that_are_not_what_they_say(site: Site, wrong: Forward) -> None:
    with spawn(site) as line, listening() as made:
        assert configure(site, line) == 0
        assert ask(line, pack_request(abi.NS_FORWARD_ADD, wrong), made.fileno()).error == errno.EINVAL
        assert ask(line, pack_request(abi.NS_FORWARD_LIST)).ports == frozenset()


def test_sockets_that_are_not_fit(site: Site) -> None:
    with spawn(site) as line, ExitStack() as stack:
        assert configure(site, line) == 0
        deaf = stack.enter_context(socket.socket())
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        deaf.setblocking(False)
        deaf.bind(("127.0.0.1", 8080))
        pipe = [stack.enter_context(Fd(number)) for number in os.pipe()]
        other = stack.enter_context(socket.socket(socket.AF_UNIX))
        for unfit in (deaf.fileno(), pipe[0].fileno(), other.fileno()):
            assert ask(line, pack_request(abi.NS_FORWARD_ADD, KEY), unfit).error == errno.EINVAL
        deaf.close()
        with listening(blocking=True) as blocking:
            assert ask(line, pack_request(abi.NS_FORWARD_ADD, KEY), blocking.fileno()).error == errno.EINVAL


def test_ports_come_and_go(site: Site) -> None:
    with spawn(site) as line:
        assert configure(site, line) == 0
        assert ask(line, pack_request(abi.NS_FORWARD_REMOVE, KEY)).error == errno.ENOENT
        with listening() as made:
            assert ask(line, pack_request(abi.NS_FORWARD_ADD, KEY), made.fileno()).error == 0
            assert ask(line, pack_request(abi.NS_FORWARD_ADD, KEY), made.fileno()).error == errno.EEXIST
            assert ask(line, pack_request(abi.NS_FORWARD_LIST)).ports == {KEY}
        with pytest.raises(OSError, match="in use"):
            listening()
        assert ask(line, pack_request(abi.NS_FORWARD_REMOVE, KEY)).error == 0
        listening().close()


def test_there_is_an_end_to_ports(site: Site) -> None:
    with spawn(site) as line:
        assert configure(site, line) == 0
        for number in range(abi.NS_FORWARD_PORTS_MAX):
            key = replace(KEY, host_port=10000 + number)
            with listening(key.host_port) as made:
                assert ask(line, pack_request(abi.NS_FORWARD_ADD, key), made.fileno()).error == 0
        with listening() as made:
            assert ask(line, pack_request(abi.NS_FORWARD_ADD, KEY), made.fileno()).error == errno.ENOSPC
            assert len(ask(line, pack_request(abi.NS_FORWARD_LIST)).ports) == abi.NS_FORWARD_PORTS_MAX
            gone = replace(KEY, host_port=10500)
            assert ask(line, pack_request(abi.NS_FORWARD_REMOVE, gone)).error == 0
            assert ask(line, pack_request(abi.NS_FORWARD_ADD, KEY), made.fileno()).error == 0


def test_configured_once(site: Site) -> None:
    with spawn(site) as line:
        assert configure(site, line, IPv4Network("10.88.0.0/24")) == 0
        assert configure(site, line) == errno.EALREADY
        flags = ask(line, pack_request(abi.NS_FORWARD_LIST)).flags
        assert flags == abi.NS_FORWARD_CONFIGURED | abi.NS_FORWARD_TRANSPARENT


def test_many_who_ask(site: Site) -> None:
    """There is room for eight; who leaves makes room."""
    with spawn(site) as first, ExitStack() as stack:
        lines = [first, *(stack.enter_context(site.control()) for _ in range(7))]
        for line in lines:
            assert ask(line, pack_request(abi.NS_FORWARD_LIST)).error == 0
        with site.control() as ninth:
            assert ninth.recv(1) == b""
        lines[-1].close()
        eventually(lambda: is_heard(site), what="room for another")


def is_heard(site: Site) -> bool:
    with site.control() as line:
        try:
            return ask(line, pack_request(abi.NS_FORWARD_LIST)).error == 0
        except (ConnectionResetError, BrokenPipeError):
            return False


# --- who may ask, and what it may do

STRANGER = """
import os, socket, sys
os.setgroups([]); os.setgid(4321); os.setuid(4321)
line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
try:
    line.connect("forward.sock")
    line.send(bytes.fromhex(sys.argv[1]))
    print("answer" if line.recv(100) else "dropped")
except (ConnectionResetError, BrokenPipeError):
    print("dropped")
except PermissionError:
    print("forbidden")
"""


def stranger(site: Site) -> str:
    stop = pack_request(abi.NS_FORWARD_STOP).hex()
    with Fd.open(site.directory, os.O_RDONLY) as place:
        command = [sys.executable, "-c", STRANGER, stop]
        run = subprocess.run(
            command, capture_output=True, text=True, check=True, preexec_fn=lambda: os.fchdir(place.fileno())
        )
    return run.stdout.strip()


def test_strangers_are_not_heard(site: Site) -> None:
    forwarder = site.forwarder()
    forwarder.start()
    path = site.directory / "forward.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stranger(site) == "forbidden"
    path.chmod(0o666)
    site.directory.chmod(0o755)
    assert stranger(site) == "dropped", "by its credentials, were it not for the mode"
    assert forwarder.is_alive


def test_it_keeps_what_it_needs(site: Site) -> None:
    site.forwarder().set([tcp(8080)])
    process = Path(f"/proc/{site.pid()}")
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
    kept = 1 << NET_BIND_SERVICE | 1 << NET_RAW
    for name in ("CapPrm", "CapEff", "CapBnd"):
        assert int(status[name], 16) == kept, name
    for name in ("CapInh", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert os.stat(process / "ns/net").st_ino == os.stat(f"/run/netns/{INSIDE}").st_ino
    limits = (process / "limits").read_text()
    assert [line.split()[-3:-1] for line in limits.splitlines() if "processes" in line] == [["0", "0"]]
    assert (process / "environ").read_bytes() == b""
    assert (process / "cmdline").read_bytes() == b"nsrun-forward\0host ports\0"


# --- its end


def has_ended(process: Fd) -> bool:
    poll = select.poll()
    poll.register(process.fileno(), select.POLLIN)
    return bool(poll.poll(TIMEOUT * 1000))


def test_it_ends_with_the_holder(site: Site) -> None:
    site.forwarder().set([tcp(8080)])
    with Fd(os.pidfd_open(site.pid())) as process:
        site.holder.kill()
        assert has_ended(process)
    (site.directory / "forward.sock").unlink()


def test_it_ignores_other_signals(site: Site) -> None:
    forwarder = site.forwarder()
    forwarder.start()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGUSR1):
        os.kill(site.pid(), number)
    assert site.status().error == 0
    forwarder.stop()
    assert not (site.directory / "forward.sock").exists()


def test_only_one_in_a_directory(site: Site) -> None:
    site.forwarder().start()
    with Fd.open(site.directory, os.O_RDONLY) as directory, pytest.raises(OSError) as caught:
        doorway.spawn(str(site.program), directory.fileno(), "x")
    assert caught.value.errno == errno.EADDRINUSE


# --- limits


SPAWN = """
import os, sys
from nsrun.support import forward
try:
    forward.spawn(sys.argv[1], os.open(sys.argv[2], os.O_RDONLY), "x")
except OSError as error:
    print(error.errno)
"""


def spawn_with(site: Site, descriptors: int) -> str:
    """One that may have no more than so many; what went wrong with it."""
    command = [sys.executable, "-c", SPAWN, str(site.program), str(site.directory)]
    limited = ["prlimit", f"--nofile={descriptors}:{descriptors}", *command]
    return subprocess.run(limited, capture_output=True, text=True, check=True).stdout.strip()


def test_too_few_descriptors_to_start(site: Site) -> None:
    assert spawn_with(site, 100) == str(int(errno.EMFILE))


def test_a_flood_of_idle_connections(site: Site) -> None:
    """No port gets more than three quarters of the room; who comes later waits, and is served when others leave."""
    assert spawn_with(site, 400) == ""
    forwarder = site.forwarder()
    forwarder.set([tcp(8080), tcp(8081, 81)])
    most = site.status().connections_max
    share = most - most // 4
    with site.listener() as server, site.listener(81) as other, ExitStack() as stack:
        flood = [stack.enter_context(closing(site.connect(HERE, ("127.0.0.1", 8080)))) for _ in range(most + 5)]
        eventually(lambda: site.status().connections == share, what="a full share")
        client, pod = site.pair(other, ("127.0.0.1", 8081), HERE)
        with client, pod:
            client.sendall(b"through")
            assert pod.recv(100) == b"through"
        eventually(lambda: site.status().connections == share, what="the end of the other's connection")
        for waiting in flood[share:]:
            waiting.sendall(b"late")
        for connection in flood[:share]:
            connection.close()
        served = 0
        while served < len(flood) - share:
            late, _ = server.accept()
            late.settimeout(TIMEOUT)
            with late:
                served += late.recv(100) == b"late"
        assert served == len(flood) - share


def test_pods_that_do_not_answer(site: Site) -> None:
    """A connection that does not come about ends, and holds up nobody else."""
    forwarder = site.forwarder(limits=Limits(connect=1.0))
    forwarder.set([tcp(8080), tcp(8081, 81)])
    subprocess.run(["ip", "netns", "exec", "pod", "nft", "-f", "-"], input=SILENT, text=True, check=True)
    with site.listener(), site.listener(81) as other, ExitStack() as stack:
        stuck = [stack.enter_context(site.connect(NEIGHBOUR, ("198.51.100.1", 8080))) for _ in range(20)]
        assert stuck
        client, pod = site.pair(other, ("198.51.100.1", 8081))
        with client, pod:
            client.sendall(b"through")
            assert pod.recv(100) == b"through"
        for connection in stuck:
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
    eventually(lambda: site.status().connections == 0, what="the end of all connections")


SILENT = "table ip t { chain c { type filter hook input priority 0; tcp dport 80 drop; }; }"


def test_flows_are_bounded(site: Site) -> None:
    """Those that no pod answered make room; those that are answered stay."""
    assert spawn_with(site, 800) == ""
    forwarder = site.forwarder()
    forwarder.set([udp(5353)])
    most = site.status().flows_max
    assert most == 100
    with site.listener(53, socket.SOCK_DGRAM) as pod, ExitStack() as stack:
        clients = [stack.enter_context(site.endpoint(NEIGHBOUR, socket.SOCK_DGRAM)) for _ in range(most + 50)]
        for client in clients:
            client.connect(("198.51.100.1", 5353))
        clients[0].send(b"first")
        _, peer = pod.recvfrom(100)
        pod.sendto(b"yes", peer)
        assert clients[0].recv(100) == b"yes"
        for client in clients[1:]:
            client.send(b"flood")
            pod.recvfrom(100)
        assert site.status().flows == most
        pod.sendto(b"still", peer)
        assert clients[0].recv(100) == b"still"


def test_flows_are_forgotten(site: Site) -> None:
    forwarder = site.forwarder(limits=Limits(unanswered=0.2, answered=0.4))
    forwarder.set([udp(5353)])
    with site.listener(53, socket.SOCK_DGRAM) as pod, site.endpoint(NEIGHBOUR, socket.SOCK_DGRAM) as client:
        client.connect(("198.51.100.1", 5353))
        for _ in range(2):
            client.send(b"question")
            _, peer = pod.recvfrom(100)
            pod.sendto(b"answer", peer)
            assert client.recv(100) == b"answer"
            eventually(lambda: site.status().flows == 0, what="an end to the flow")


def test_answers_are_whole(site: Site) -> None:
    site.forwarder().set([tcp(8080)])
    with site.control() as line:
        line.send(pack_request(abi.NS_FORWARD_LIST))
        data = line.recv(ANSWER_SIZE)
    assert len(read_answer(data).ports) == 1
    for size in range(len(data)):
        with pytest.raises(ValueError, match="cut short"):
            read_answer(data[:size])
