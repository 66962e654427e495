"""What goes through nsrun-forward: bytes, ends, addresses."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import subprocess
import threading
from contextlib import ExitStack, closing
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from tests.native.forward_site import BRIDGE, HERE, HOST, NEIGHBOUR, OUTSIDE, TIMEOUT, Site, tcp, udp
from tests.waiting import PATIENCE, eventually, fewer

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

OTHER_HOST = "198.51.100.9"
AMOUNT = fewer(64, least=4) << 20  # bytes
RESET = struct.pack("ii", 1, 0)  # struct linger: close resets


def exchange(client: socket.socket, pod: socket.socket) -> None:
    client.sendall(b"question")
    assert pod.recv(100) == b"question"
    pod.sendall(b"answer")
    assert client.recv(100) == b"answer"


# --- addresses


def test_pods_see_their_clients(site: Site) -> None:
    site.forwarder().set([tcp(8080)])
    with site.listener() as server:
        for place, target, source in (
            (NEIGHBOUR, HOST, OUTSIDE),
            (NEIGHBOUR, OTHER_HOST, OUTSIDE),
            (HERE, HOST, HOST),
        ):
            client, pod = site.pair(server, (target, 8080), place)
            with client, pod:
                exchange(client, pod)
                assert pod.getpeername() == client.getsockname() == (source, client.getsockname()[1])
        for target in ("127.0.0.1", "127.1.2.3"):
            client, pod = site.pair(server, (target, 8080), HERE)
            with client, pod:
                exchange(client, pod)
                assert pod.getpeername()[0] == BRIDGE, "never a loopback address, which a pod would trust"


def test_low_ports_of_clients_are_kept(site: Site) -> None:
    site.forwarder().set([tcp(8080)])
    with site.listener() as server, site.endpoint(NEIGHBOUR) as client:
        client.bind(("", 700))
        client.connect((HOST, 8080))
        pod, peer = server.accept()
        with pod:
            assert peer == (OUTSIDE, 700)


def test_one_client_port_twice(site: Site) -> None:
    """Two ports of the host lead to one of the pod: only the address can be kept for both."""
    site.forwarder().set([tcp(8080), tcp(8081)])
    with site.listener() as server, ExitStack() as stack:
        peers = []
        for target in (8080, 8081):
            client = stack.enter_context(site.endpoint(NEIGHBOUR))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.bind(("", 7000))
            client.connect((HOST, target))
            pod, peer = server.accept()
            stack.enter_context(pod).settimeout(TIMEOUT)
            peers.append(peer)
            exchange(client, pod)
    assert peers[0] == (OUTSIDE, 7000)
    assert peers[1][0] == OUTSIDE
    assert peers[1][1] != 7000


def test_clients_that_claim_to_be_pods(site: Site) -> None:
    """An address of the pods' range is no client's: the pod would take it for one of its neighbours."""
    site.forwarder().set([tcp(8080)])
    subprocess.run(["ip", "addr", "add", "10.88.0.77/32", "dev", "lo"], check=True)
    with site.listener() as server, site.endpoint(HERE) as client:
        client.bind(("10.88.0.77", 0))
        client.connect((HOST, 8080))
        pod, peer = server.accept()
        pod.close()
    subprocess.run(["ip", "addr", "del", "10.88.0.77/32", "dev", "lo"], check=True)
    assert peer[0] == BRIDGE


def test_without_the_way_back(site: Site) -> None:
    told = site.forwarder(transparent=False).set([tcp(8080), udp(5353)])
    assert told == ()
    with site.listener() as server:
        client, pod = site.pair(server)
        with client, pod:
            exchange(client, pod)
            assert pod.getpeername()[0] == BRIDGE


def test_one_address_of_the_host(site: Site) -> None:
    site.forwarder().set([tcp(8080, host_ip=HOST), tcp(8080, 81, host_ip="127.0.0.1")])
    with site.listener() as server, site.listener(81) as other:
        for listening, target, place in ((server, HOST, NEIGHBOUR), (other, "127.0.0.1", HERE)):
            client, pod = site.pair(listening, (target, 8080), place)
            with client, pod:
                exchange(client, pod)
        with site.endpoint(NEIGHBOUR) as client, pytest.raises(ConnectionRefusedError):
            client.connect((OTHER_HOST, 8080))


# --- bytes


def send_random(end: socket.socket, sums: dict[str, str], name: str) -> None:
    digest = hashlib.blake2b()
    block = os.urandom(1 << 20)
    for number in range(AMOUNT >> 20):
        piece = block[number:] + block[:number]
        digest.update(piece)
        end.sendall(piece)
    end.shutdown(socket.SHUT_WR)
    sums[name] = digest.hexdigest()


def receive_all(end: socket.socket, sums: dict[str, str], name: str) -> None:
    digest, count = hashlib.blake2b(), 0
    while data := end.recv(1 << 18):
        digest.update(data)
        count += len(data)
    sums[name] = f"{digest.hexdigest()}" if count == AMOUNT else f"{count} bytes"


def test_both_ways_at_once(site: Site) -> None:
    site.forwarder().set([tcp(8080)])
    sums: dict[str, str] = {}
    with site.listener() as server:
        client, pod = site.pair(server)
        work = [
            threading.Thread(target=work, args=(end, sums, name))
            for work, end, name in (
                (send_random, client, "sent by the client"),
                (receive_all, pod, "got by the pod"),
                (send_random, pod, "sent by the pod"),
                (receive_all, client, "got by the client"),
            )
        ]
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()
        client.close()
        pod.close()
    assert sums["sent by the client"] == sums["got by the pod"]
    assert sums["sent by the pod"] == sums["got by the client"]
    eventually(lambda: site.status().connections == 0, what="the end of the connection")


def test_who_reads_slowly_holds_up_nobody(site: Site) -> None:
    site.forwarder().set([tcp(8080)])
    with site.listener() as server, ExitStack() as stack:
        for _ in range(40):
            client, pod = (stack.enter_context(closing(end)) for end in site.pair(server))
            client.setblocking(False)
            with pytest.raises(BlockingIOError):
                while True:
                    client.send(bytes(1 << 20))
        client, pod = site.pair(server)
        with client, pod:
            for _ in range(100):
                exchange(client, pod)
    eventually(lambda: site.status().connections == 0, what="the end of all connections")
    pipes = [fd for fd in os.scandir(f"/proc/{site.pid()}/fd") if os.readlink(fd.path).startswith("pipe:")]
    assert len(pipes) <= 2 * 16, "what it keeps of a user's pages is bounded"


def test_what_waits_is_all_delivered(site: Site) -> None:
    """Its sender has left long before it is read."""
    site.forwarder().set([tcp(8080)])
    with site.listener() as server:
        client, pod = site.pair(server)
        sent = 0
        client.setblocking(False)
        try:
            while True:
                sent += client.send(bytes(65536))
        except BlockingIOError:
            client.close()
        with pod:
            got = 0
            while data := pod.recv(1 << 20):
                got += len(data)
    assert got == sent


def test_many_at_once(site: Site) -> None:
    site.forwarder().set([tcp(8080)])
    count = fewer(200, least=50)
    with site.listener() as server, ExitStack() as stack:
        pairs = [[stack.enter_context(closing(end)) for end in site.pair(server)] for _ in range(count)]
        assert site.status().connections == count
        for number, (client, pod) in enumerate(pairs):
            client.sendall(b"%d" % number * 5000)
            pod.sendall(b"%d" % -number * 5000)
        for number, (client, pod) in enumerate(pairs):
            for end, expected in ((pod, b"%d" % number * 5000), (client, b"%d" % -number * 5000)):
                got = b""
                while len(got) < len(expected):
                    got += end.recv(1 << 16)
                assert got == expected
    eventually(lambda: site.status().connections == 0, what="the end of all connections")


# --- ends


@pytest.mark.parametrize("first", ["client", "pod"])
def test_half_closed(site: Site, first: str) -> None:
    """The end of what one says is passed on; the other goes on speaking."""
    site.forwarder().set([tcp(8080)])
    with site.listener() as server:
        client, pod = site.pair(server)
        near, far = (client, pod) if first == "client" else (pod, client)
        with client, pod:
            near.sendall(b"that is all")
            near.shutdown(socket.SHUT_WR)
            assert far.recv(100) == b"that is all"
            assert far.recv(100) == b""
            for _ in range(3):
                far.sendall(b"not for me")
                assert near.recv(100) == b"not for me"
            far.close()
            assert near.recv(100) == b""
    eventually(lambda: site.status().connections == 0, what="the end of the connection")


@pytest.mark.parametrize("first", ["client", "pod"])
def test_reset(site: Site, first: str) -> None:
    site.forwarder().set([tcp(8080)])
    with site.listener() as server:
        client, pod = site.pair(server)
        near, far = (client, pod) if first == "client" else (pod, client)
        with client, pod:
            exchange(client, pod)
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            near.close()
            with pytest.raises(ConnectionResetError):
                far.recv(100)
    eventually(lambda: site.status().connections == 0, what="the end of the connection")


def test_reset_after_the_end(site: Site) -> None:
    """Who has said all, and then will hear no more."""
    site.forwarder().set([tcp(8080)])
    with site.listener() as server:
        client, pod = site.pair(server)
        with client, pod:
            pod.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b""
            pod.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            pod.close()
            eventually(lambda: site.status().connections == 0, what="the end of the connection")


def test_nobody_listens_in_the_pod(site: Site) -> None:
    site.forwarder().set([tcp(8080)])
    with pytest.raises(ConnectionResetError), site.connect(NEIGHBOUR, (HOST, 8080)) as client:
        client.recv(1)


def test_clients_that_leave_at_once(site: Site) -> None:
    site.forwarder().set([tcp(8080)])
    with site.listener():
        for _ in range(50):
            client = site.connect(NEIGHBOUR, (HOST, 8080))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            client.close()
        eventually(lambda: site.status().connections == 0, what="the end of all connections")


def test_a_port_that_is_removed(site: Site) -> None:
    """Its connections end; those of a port that stays do not, and neither does its place in the queue."""
    forwarder = site.forwarder()
    forwarder.set([tcp(8080), tcp(8081, 81)])
    with site.listener() as server, site.listener(81) as other:
        gone, gone_pod = site.pair(server)
        kept, kept_pod = site.pair(other, (HOST, 8081))
        with gone, gone_pod, kept, kept_pod:
            assert forwarder.set([tcp(8081, 81), udp(8080)]) == ()
            for end in (gone, gone_pod):
                with pytest.raises(ConnectionResetError):
                    end.recv(1)
            with site.endpoint(NEIGHBOUR) as late, pytest.raises(ConnectionRefusedError):
                late.connect((HOST, 8080))
            exchange(kept, kept_pod)
    assert {str(port) for port in forwarder.ports()} == {"8080/UDP", "8081/TCP"}


def test_a_port_that_leads_elsewhere(site: Site) -> None:
    """Another pod has it now: the old one's connections end, and the port listens on."""
    forwarder = site.forwarder()
    forwarder.set([tcp(8080, 81)])
    with site.listener(81) as old, site.listener() as new:
        client, pod = site.pair(old)
        with client, pod:
            assert forwarder.set([tcp(8080)]) == ()
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        client, pod = site.pair(new)
        with client, pod:
            exchange(client, pod)


# --- datagrams


def udp_exchange(client: socket.socket, pod: socket.socket, target: tuple[str, int]) -> tuple[str, int]:
    """The answer has to come from where the question went. Returns who asked, as the pod sees it."""
    client.sendto(b"question", target)
    data, peer = pod.recvfrom(100)
    assert data == b"question"
    pod.sendto(b"answer", peer)
    assert client.recvfrom(100) == (b"answer", target)
    return str(peer[0]), int(peer[1])


def test_datagrams(site: Site) -> None:
    site.forwarder().set([udp(5353)])
    with site.listener(53, socket.SOCK_DGRAM) as pod, site.endpoint(NEIGHBOUR, socket.SOCK_DGRAM) as client:
        client.bind(("", 6000))
        for _ in range(3):
            assert udp_exchange(client, pod, (HOST, 5353)) == (OUTSIDE, 6000)
        # The same port through another address of the host: the answer comes from there.
        address, port = udp_exchange(client, pod, (OTHER_HOST, 5353))
        assert (address, port != 6000) == (OUTSIDE, True)
        assert udp_exchange(client, pod, (HOST, 5353)) == (OUTSIDE, 6000)
        assert site.status().flows == 2
    with site.listener(53, socket.SOCK_DGRAM) as pod, site.endpoint(HERE, socket.SOCK_DGRAM) as client:
        assert udp_exchange(client, pod, ("127.0.0.1", 5353))[0] == BRIDGE
        assert udp_exchange(client, pod, (HOST, 5353))[0] == HOST


def test_datagrams_of_every_size(site: Site) -> None:
    site.forwarder().set([udp(5353)])
    with site.listener(53, socket.SOCK_DGRAM) as pod, site.endpoint(HERE, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", 5353))
        for size in (0, 1, 1472, 1473, 9000, 65507):
            client.send(b"x" * size)
            data, peer = pod.recvfrom(70000)
            assert data == b"x" * size
            pod.sendto(data, peer)
            assert client.recv(70000) == data


def test_datagrams_that_nobody_wants(site: Site) -> None:
    """The pod's refusal is not told to the client, and does no harm to the next datagram."""
    site.forwarder().set([udp(5353)])
    with site.endpoint(NEIGHBOUR, socket.SOCK_DGRAM) as client:
        client.connect((HOST, 5353))
        for _ in range(5):
            client.send(b"nobody")
        eventually(lambda: site.status().flows == 1, what="the flow")
        with site.listener(53, socket.SOCK_DGRAM) as pod:
            client.send(b"somebody")
            data, peer = pod.recvfrom(100)
            assert (data, peer) == (b"somebody", client.getsockname())


def test_many_clients_of_datagrams(site: Site) -> None:
    site.forwarder().set([udp(5353)])
    with site.listener(53, socket.SOCK_DGRAM) as pod, ExitStack() as stack:
        clients = [stack.enter_context(site.endpoint(NEIGHBOUR, socket.SOCK_DGRAM)) for _ in range(100)]
        for client in clients:
            client.connect((HOST, 5353))
            client.send(b"%d" % client.getsockname()[1])
        for _ in clients:
            data, peer = pod.recvfrom(100)
            assert int(data) == peer[1]
            pod.sendto(data, peer)
        for client in clients:
            assert int(client.recv(100)) == client.getsockname()[1]


def test_a_port_of_datagrams_that_is_removed(site: Site) -> None:
    forwarder = site.forwarder()
    forwarder.set([udp(5353)])
    with site.listener(53, socket.SOCK_DGRAM) as pod, site.endpoint(NEIGHBOUR, socket.SOCK_DGRAM) as client:
        udp_exchange(client, pod, (HOST, 5353))
        forwarder.set([])
        assert site.status().flows == 0
        client.connect((HOST, 5353))
        client.settimeout(TIMEOUT / PATIENCE)
        with pytest.raises(ConnectionRefusedError):
            client.send(b"nobody")
            client.recv(1)


def test_a_pod_that_is_nowhere(site: Site) -> None:
    lost = IPv4Address("203.0.113.7")
    site.forwarder().set([replace(udp(5353), pod_ip=lost), replace(tcp(8080), pod_ip=lost), tcp(8081)])
    with site.endpoint(NEIGHBOUR, socket.SOCK_DGRAM) as client:
        client.sendto(b"lost", (HOST, 5353))
    with pytest.raises(ConnectionResetError), site.connect(NEIGHBOUR, (HOST, 8080)) as broken:
        broken.recv(1)
    with site.listener() as server:
        client, pod = site.pair(server, (HOST, 8081))
        with client, pod:
            exchange(client, pod)
    assert site.status().flows == 0
