"""A small internet for the tests: this namespace is the host, ``outside`` is a machine on its uplink.

Sockets are made inside any of the namespaces, so a test holds both ends of a connection itself.
"""

from __future__ import annotations

import json
import socket
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from nsrun.model.container import Container, ContainerPort, PullPolicy
from nsrun.model.container import Protocol as PortProtocol
from nsrun.model.pod import ObjectMeta, Pod, PodSpec
from nsrun.model.running import Attachment
from nsrun.network.dns import ClusterDns
from nsrun.network.files import HostFiles
from nsrun.network.home import Home, JoinedHome
from nsrun.network.service import NetworkService
from nsrun.support import native
from nsrun.support.fds import Fd
from nsrun.support.layout import Layout

__all__ = ["CIDR", "GATEWAY", "HOST", "OUTSIDE", "World", "joined_home", "make_pod", "published", "run", "udp_frame"]

CIDR = IPv4Network("10.88.0.0/24")
GATEWAY = "10.88.0.1"
HOST = "198.51.100.1"
OUTSIDE = "198.51.100.2"
NETNS = Path("/run/netns")
TIMEOUT = 3.0
SILENCE = 0.25  # how long nothing must come before it counts as nothing


def run(command: str) -> str:
    """Runs a command; returns what it prints."""
    return subprocess.run(command.split(), check=True, capture_output=True, text=True).stdout


def published(
    host_port: int, port: int = 80, *, protocol: PortProtocol = PortProtocol.TCP, host_ip: str = ""
) -> ContainerPort:
    return ContainerPort(container_port=port, host_port=host_port, protocol=protocol, host_ip=host_ip)


def make_pod(name: str, *ports: ContainerPort, uid: str = "") -> Pod:
    container = Container(name="c", image="none", image_pull_policy=PullPolicy.NEVER, ports=ports)
    meta = ObjectMeta(name=name, namespace="default", uid=uid or f"uid-of-{name}")
    return Pod(metadata=meta, spec=PodSpec(containers=(container,)))


@dataclass
class World:
    """The host, its neighbour, and the service under test. ``place`` "" is the host, else a name in ``/run/netns``."""

    layout: Layout
    service: NetworkService
    pods: dict[str, Attachment] = field(default_factory=dict)

    async def attach(self, pod: Pod) -> Attachment:
        self.pods[pod.metadata.name] = attachment = await self.service.attach(pod)
        return attachment

    def another_service(self) -> NetworkService:
        """As after a restart: nothing but what is on the machine."""
        return make_service(self.layout)

    def endpoint(self, place: str, kind: int, *, family: int = socket.AF_INET, protocol: int = 0) -> socket.socket:
        if not place:
            made = socket.socket(family, kind, protocol)
        else:
            with Fd.open(NETNS / place, 0) as namespace:
                made = native.socket_in(namespace.fileno(), family, kind, protocol)
        made.settimeout(TIMEOUT)
        return made

    @contextmanager
    def listener(self, place: str, address: str, port: int, kind: int = socket.SOCK_STREAM) -> Iterator[socket.socket]:
        with closing(self.endpoint(place, kind)) as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((address, port))
            if kind == socket.SOCK_STREAM:
                server.listen()
            yield server

    def tcp(self, source: str, target: tuple[str, int], server: tuple[str, int]) -> str:
        """Connects from ``source`` to ``target`` while ``server`` (place, port) listens; a line goes each way.

        Returns the client's address as the server sees it. Raises TimeoutError when there is no way.
        """
        with self.listener(server[0], "0.0.0.0", server[1]) as listening:
            return self.tcp_to(source, target, listening)

    def tcp_to(self, source: str, target: tuple[str, int], listening: socket.socket) -> str:
        with closing(self.endpoint(source, socket.SOCK_STREAM)) as client:
            client.settimeout(TIMEOUT)
            client.connect(target)
            connection, peer = listening.accept()
            with connection:
                connection.settimeout(TIMEOUT)
                client.sendall(b"question")
                assert connection.recv(100) == b"question"
                connection.sendall(b"answer")
                assert client.recv(100) == b"answer"
            return str(peer[0])

    def udp(self, source: str, target: tuple[str, int], server: tuple[str, int]) -> str:
        """The same with one datagram each way; the answer must come from where the question went."""
        with (
            self.listener(server[0], "0.0.0.0", server[1], socket.SOCK_DGRAM) as listening,
            closing(self.endpoint(source, socket.SOCK_DGRAM)) as client,
        ):
            client.connect(target)
            client.send(b"question")
            data, peer = listening.recvfrom(100)
            assert data == b"question"
            listening.sendto(b"answer", peer)
            assert client.recv(100) == b"answer"
            return str(peer[0])

    def is_cut_off(self, source: str, target: tuple[str, int]) -> bool:
        """Whether a connection attempt gets no answer at all, not even a refusal."""
        with closing(self.endpoint(source, socket.SOCK_STREAM)) as client:
            client.settimeout(SILENCE)
            try:
                client.connect(target)
            except TimeoutError:
                return True
            except OSError:
                return False
            return False

    @contextmanager
    def wire(self, place: str, interface: str, ethertype: int) -> Iterator[socket.socket]:
        """A raw socket on an interface: sends and receives whole frames."""
        family, kind = socket.AF_PACKET, socket.SOCK_RAW
        with closing(self.endpoint(place, kind, family=family, protocol=socket.htons(ethertype))) as raw:
            raw.bind((interface, ethertype))
            yield raw

    def mac(self, place: str, interface: str) -> bytes:
        prefix = f"ip netns exec {place} " if place else ""
        shown = json.loads(run(f"{prefix}ip -j link show {interface}"))
        return bytes.fromhex(shown[0]["address"].replace(":", ""))

    def leftovers(self) -> list[str]:
        """What still belongs to pods: links, pins, leases, elements of the packet filter, neighbours, files."""
        links = [entry["ifname"] for entry in json.loads(run("ip -j link")) if entry["ifname"] != "nsrun0"]
        found = [f"link {name}" for name in links if name.startswith("nsr")]
        found += [f"pin {path.name}" for path in NETNS.iterdir() if path.name != "outside"] if NETNS.exists() else []
        for book in (self.layout.leases, self.layout.guests):
            found += [f"{book.name} {path.name}" for path in book.iterdir()] if book.exists() else []
        neighbours = run("ip neigh show nud permanent").splitlines()
        found += [f"neighbour {line}" for line in neighbours if "nsrun0" in line]
        found += [f"file {path}" for path in self.layout.pods.glob("*/*")]
        return found + [f"element of {name}" for name in _filled_sets()]


def is_silent(receiver: socket.socket, wanted: bytes = b"") -> bool:
    """Whether nothing (that contains ``wanted``) arrives."""
    receiver.settimeout(SILENCE)
    try:
        while wanted not in receiver.recv(2000):
            pass
    except TimeoutError:
        return True
    return False


def udp_frame(*, to_mac: bytes, from_mac: bytes, source: str, target: str, port: int, payload: bytes) -> bytes:
    """An Ethernet frame with a UDP datagram (no UDP checksum: allowed in IPv4)."""
    datagram = struct.pack("!HHHH", 4000, port, 8 + len(payload), 0) + payload
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 7, 0, 64, socket.IPPROTO_UDP, 0)
    header += IPv4Address(source).packed + IPv4Address(target).packed
    header = header[:10] + struct.pack("!H", _checksum(header)) + header[12:]
    return to_mac + from_mac + b"\x08\x00" + header + datagram


@contextmanager
def joined_home() -> Iterator[JoinedHome]:
    """A network namespace apart, ``pods``, as the user's own is."""
    run("ip netns add pods")
    run("ip netns exec pods ip link set lo up")
    home = JoinedHome(Fd.open(NETNS / "pods", 0))
    try:
        yield home
    finally:
        home.close()
        run("ip netns del pods")


def make_service(layout: Layout, *, cluster_dns: tuple[str, ...] = (), home: Home | None = None) -> NetworkService:
    resolv_conf = layout.root / "host-resolv.conf"
    resolv_conf.parent.mkdir(parents=True, exist_ok=True)
    resolv_conf.write_text("nameserver 192.0.2.53\nsearch example.org\n")
    hosts = layout.root / "host-hosts"
    hosts.write_text("127.0.0.1\tlocalhost\n192.0.2.7\tthis-machine\n")
    return NetworkService(
        layout=layout,
        pod_cidr=CIDR,
        host_files=HostFiles(hosts=hosts, resolv_conf=resolv_conf),
        cluster_dns=ClusterDns(servers=cluster_dns),
        home=home,
    )


def make_uplink() -> None:
    """The neighbour, on a veth that plays the host's network card."""
    for command in (
        "ip netns add outside",
        "ip link add up0 type veth peer name out0 netns outside",
        f"ip addr add {HOST}/24 dev up0",
        "ip link set up0 up",
        "ip netns exec outside ip link set lo up",
        f"ip netns exec outside ip addr add {OUTSIDE}/24 dev out0",
        "ip netns exec outside ip link set out0 up",
        f"ip route add default via {OUTSIDE}",
    ):
        run(command)


def remove_uplink() -> None:
    run("ip link del up0")
    run("ip netns del outside")


def _checksum(header: bytes) -> int:
    total: int = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def _filled_sets() -> Sequence[str]:
    listing = json.loads(run("nft -j list ruleset"))["nftables"]
    found = [entry.get("map") or entry.get("set") for entry in listing]
    return [item["name"] for item in found if item and item.get("elem") and item["table"] == "nsrun0"]
