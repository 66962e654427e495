"""What is known to have gone through a pod's interface is what its counters say."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from nsrun.model.figures import InterfaceFigures
from nsrun.network.counters import link_counters
from nsrun.support import native
from nsrun.support.fds import Fd
from tests.system.network.world import GATEWAY, World, make_pod, run

pytestmark = [pytest.mark.root, pytest.mark.network]

DATAGRAMS, OCTETS = 200, 1000
HEADERS = 14 + 20 + 8  # Ethernet, IP, UDP


async def test_what_a_pod_sends_and_receives_is_counted_from_its_side(world: World) -> None:
    pod = make_pod("a")
    await world.attach(pod)
    before = (await world.service.figures({pod.uid})).pods[pod.uid][0]
    with (
        Fd.open("/run/netns/default_a", os.O_RDONLY) as namespace,
        native.socket_in(namespace.fileno(), socket.AF_INET, socket.SOCK_DGRAM) as inside,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside,
    ):
        outside.bind((GATEWAY, 0))
        outside.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        inside.connect(outside.getsockname())
        for _ in range(DATAGRAMS):
            inside.send(bytes(OCTETS))
        _, peer = outside.recvfrom(OCTETS)
        for _ in range(DATAGRAMS // 10):
            outside.sendto(bytes(OCTETS), peer)
        after = (await world.service.figures({pod.uid})).pods[pod.uid][0]
    sent, received = DATAGRAMS * (OCTETS + HEADERS), DATAGRAMS // 10 * (OCTETS + HEADERS)
    assert sent <= after.sent_bytes - before.sent_bytes <= sent + 1000
    assert received <= after.received_bytes - before.received_bytes <= received + 1000
    assert DATAGRAMS <= after.sent_packets - before.sent_packets <= DATAGRAMS + 10


async def test_the_pod_itself_reads_the_same(world: World) -> None:
    pod = make_pod("a")
    await world.attach(pod)
    world.tcp("default_a", (GATEWAY, 9000), ("", 9000))

    def inside() -> InterfaceFigures:
        fields = run("ip netns exec default_a grep eth0: /proc/net/dev").split(":")[1].split()
        numbers = [int(field) for field in fields]
        return InterfaceFigures(
            name="eth0",
            received_bytes=numbers[0],
            received_packets=numbers[1],
            received_errors=numbers[2],
            sent_bytes=numbers[8],
            sent_packets=numbers[9],
            sent_errors=numbers[10],
        )

    service = world.service
    told = [(await service.figures({pod.uid})).pods[pod.uid][0], inside()]
    assert told[1].received_bytes > 0
    assert told[0].sent_packets <= told[1].sent_packets <= told[0].sent_packets + 2
    assert told[0].received_bytes <= told[1].received_bytes <= told[0].received_bytes + 200


async def test_the_machines_own_interfaces_are_told_without_those_of_pods(world: World) -> None:
    await world.attach(make_pod("a"))
    names = {link.name for link in (await world.service.figures(())).host}
    assert not any(name.startswith(("lo", "nsr", "veth")) for name in names)


def test_every_interface_is_there() -> None:
    lines = Path("/proc/self/net/dev").read_text().splitlines()[2:]
    assert set(link_counters()) == {line.partition(":")[0].strip() for line in lines}
