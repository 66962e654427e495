"""Two network namespaces for nsrun-forward: the host's, which is that of the test, with a neighbour on its uplink, and
the pods', with a bridge and one pod at it. Tests hold both ends of every connection."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from nsrun.model.container import Protocol
from nsrun.network.forwarder import ForwardedPort, Forwarder, Limits
from nsrun.network.nft import Nftables
from nsrun.network.transparent import SourceRouting
from nsrun.support import native
from nsrun.support.fds import Fd
from nsrun.support.forward import ANSWER_SIZE, Answer, abi, pack_request, read_answer
from tests.waiting import PATIENCE

PODS = IPv4Network("10.88.0.0/24")
BRIDGE = "10.88.0.1"
POD = "10.88.0.2"
HOST = "198.51.100.1"
OUTSIDE = "198.51.100.2"
TIMEOUT = 10.0 * PATIENCE

HERE, NEIGHBOUR, INSIDE, IN_POD = "", "outside", "inside", "pod"

_SET_UP = """
netns add outside
netns add inside
netns add pod
link add up0 type veth peer name out0 netns outside
addr add 198.51.100.1/24 dev up0
addr add 198.51.100.9/24 dev up0
link set up0 up
-n outside link set lo up
-n outside addr add 198.51.100.2/24 dev out0
-n outside link set out0 up
-n inside link set lo up
-n inside link add nsrun0 type bridge
-n inside addr add 10.88.0.1/24 dev nsrun0
-n inside link set nsrun0 up
-n inside link add port0 type veth peer name eth0 netns pod
-n inside link set port0 master nsrun0 up
-n pod link set lo up
-n pod addr add 10.88.0.2/24 dev eth0
-n pod link set eth0 up
-n pod route add default via 10.88.0.1
"""


def tcp(host_port: int, port: int = 80, host_ip: str | None = None) -> ForwardedPort:
    return _port(Protocol.TCP, host_port, port, host_ip)


def udp(host_port: int, port: int = 53, host_ip: str | None = None) -> ForwardedPort:
    return _port(Protocol.UDP, host_port, port, host_ip)


def _port(protocol: Protocol, host_port: int, port: int, host_ip: str | None) -> ForwardedPort:
    return ForwardedPort(
        protocol=protocol,
        host_ip=IPv4Address(host_ip) if host_ip is not None else None,
        host_port=host_port,
        pod_ip=IPv4Address(POD),
        pod_port=port,
    )


@dataclass
class Site:
    """The namespaces, and what has to end with them."""

    directory: Path
    program: Path
    holder: subprocess.Popen[bytes]
    made: list[Forwarder] = field(default_factory=list)

    def forwarder(self, *, transparent: bool = True, limits: Limits | None = None) -> Forwarder:
        """As a supervisor has it; another one for each that is asked for."""
        made = Forwarder(
            directory=self.directory,
            netns=Fd.open(f"/run/netns/{INSIDE}", os.O_RDONLY),
            holder=Fd(os.pidfd_open(self.holder.pid)),
            pods=PODS,
            transparent=transparent,
            limits=limits,
            program=self.program,
        )
        self.made.append(made)
        return made

    def endpoint(self, place: str, kind: int = socket.SOCK_STREAM) -> socket.socket:
        if not place:
            made = socket.socket(socket.AF_INET, kind)
        else:
            with Fd.open(f"/run/netns/{place}", os.O_RDONLY) as namespace:
                made = native.socket_in(namespace.fileno(), socket.AF_INET, kind)
        made.settimeout(TIMEOUT)
        return made

    def listener(
        self, port: int = 80, kind: int = socket.SOCK_STREAM, *, place: str = IN_POD, backlog: int = 512
    ) -> socket.socket:
        server = self.endpoint(place, kind)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("0.0.0.0", port))
        if kind == socket.SOCK_STREAM:
            server.listen(backlog)
        return server

    def connect(self, place: str, target: tuple[str, int]) -> socket.socket:
        client = self.endpoint(place)
        client.connect(target)
        return client

    def pair(
        self, server: socket.socket, target: tuple[str, int] = (HOST, 8080), place: str = NEIGHBOUR
    ) -> tuple[socket.socket, socket.socket]:
        """Both ends of a connection that goes through the forwarder: the client's, and the pod's."""
        client = self.connect(place, target)
        connection, _ = server.accept()
        connection.settimeout(TIMEOUT)
        return client, connection

    def inside(self, work: Callable[[], object]) -> None:
        """Runs it in a thread in the pods' namespace."""
        failures: list[BaseException] = []

        def joined() -> None:
            try:
                with Fd.open(f"/run/netns/{INSIDE}", os.O_RDONLY) as namespace:
                    native.setns(namespace.fileno(), native.CLONE_NEWNET)
                work()
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=joined)
        thread.start()
        thread.join()
        if failures:
            raise failures[0]

    def pid(self) -> int:
        """Of the forwarder that runs."""
        with self.control() as line:
            return int(struct.unpack("iII", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])

    def control(self) -> socket.socket:
        """A connection of one's own to the forwarder's socket."""
        line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        line.settimeout(TIMEOUT)
        with Fd.open(self.directory, os.O_PATH) as place:
            line.connect(f"/proc/self/fd/{place.fileno()}/forward.sock")  # the path may be longer than sun_path
        return line

    def status(self) -> Answer:
        with self.control() as line:
            return ask(line, pack_request(abi.NS_FORWARD_LIST))

    def routing(self) -> SourceRouting:
        return SourceRouting(nft=Nftables(), bridge="nsrun0")


def ask(line: socket.socket, request: bytes, *fds: int) -> Answer:
    socket.send_fds(line, [request], fds)
    return read_answer(line.recv(ANSWER_SIZE))


@contextmanager
def make_site(directory: Path, program: Path) -> Iterator[Site]:
    """Afterwards no forwarder runs, and the namespaces are gone."""
    for command in _SET_UP.strip().splitlines():
        subprocess.run(["ip", *command.split()], check=True)
    holder = subprocess.Popen(["sleep", "infinity"])
    site = Site(directory=directory, program=program, holder=holder)
    try:
        site.inside(lambda: site.routing().ensure())
        yield site
    finally:
        for forwarder in site.made:
            forwarder.stop()
        holder.kill()
        holder.wait()
        subprocess.run(["ip", "link", "del", "up0"], check=True)
        for name in (NEIGHBOUR, INSIDE, IN_POD):
            subprocess.run(["ip", "netns", "del", name], check=True)
    reports = [path.read_text() for path in directory.glob("sanitizer.*")]
    assert reports == []
    assert sorted(directory.iterdir()) == []
