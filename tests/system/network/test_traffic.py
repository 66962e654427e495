"""Who reaches whom, by which address, and as whom they are seen."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import pytest

from nsrun.errors import NetworkError
from nsrun.model.container import Protocol
from tests.system.network.world import GATEWAY, HOST, OUTSIDE, World, make_pod, published, run

pytestmark = [pytest.mark.root, pytest.mark.network]

A, B, HERE = "default_a", "default_b", ""


@pytest.fixture(params=[0, 1], ids=["br_netfilter-off", "br_netfilter-on"])
def br_netfilter(request: pytest.FixtureRequest) -> None:
    """Hosts with Docker or kubeadm pass bridged frames through iptables' hooks; everything must work there too."""
    switch = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if not switch.exists():
        pytest.skip("this kernel has no br_netfilter")
    switch.write_text(str(request.param))


@pytest.mark.usefixtures("br_netfilter")
async def test_pods_reach_each_other_under_their_own_addresses(world: World) -> None:
    a, b = await world.attach(make_pod("a")), await world.attach(make_pod("b"))
    for _ in range(3):  # more than once: the first packets must not teach the pods a short cut (ICMP redirect)
        assert world.tcp(A, (b.address, 80), (B, 80)) == a.address
        assert world.udp(B, (a.address, 80), (A, 80)) == b.address
    assert "redirect" not in run(f"ip netns exec {A} ip route get {b.address}")


@pytest.mark.usefixtures("br_netfilter")
async def test_pod_and_host_reach_each_other(world: World) -> None:
    a = await world.attach(make_pod("a"))
    assert world.tcp(HERE, (a.address, 80), (A, 80)) == GATEWAY
    assert world.tcp(A, (HOST, 9000), (HERE, 9000)) == a.address
    assert world.tcp(A, (GATEWAY, 9000), (HERE, 9000)) == a.address


async def test_pod_reaches_itself_and_its_loopback(world: World) -> None:
    a = await world.attach(make_pod("a"))
    assert world.tcp(A, (a.address, 80), (A, 80)) == a.address
    assert world.tcp(A, ("127.0.0.1", 80), (A, 80)) == "127.0.0.1"


async def test_outside_sees_the_hosts_address(world: World) -> None:
    await world.attach(make_pod("a"))
    assert world.tcp(A, (OUTSIDE, 80), ("outside", 80)) == HOST
    assert world.udp(A, (OUTSIDE, 53), ("outside", 53)) == HOST


@pytest.mark.usefixtures("br_netfilter")
@pytest.mark.parametrize("protocol", list(Protocol))
async def test_a_host_port_is_reached_from_everywhere(world: World, protocol: Protocol) -> None:
    exchange = world.tcp if protocol is Protocol.TCP else world.udp
    a = await world.attach(make_pod("a", published(8080, 80, protocol=protocol)))
    b = await world.attach(make_pod("b"))
    server = (A, 80)
    assert exchange("outside", (HOST, 8080), server) == OUTSIDE
    assert exchange(HERE, ("127.0.0.1", 8080), server) == GATEWAY
    assert exchange(HERE, ("127.1.2.3", 8080), server) == GATEWAY
    assert exchange(HERE, (HOST, 8080), server) == HOST
    assert exchange(B, (HOST, 8080), server) == b.address
    assert exchange(B, (GATEWAY, 8080), server) == b.address
    assert exchange(A, (HOST, 8080), server) == GATEWAY  # its own: only so does the answer come back through the host
    assert exchange(HERE, (a.address, 80), server) == GATEWAY


async def test_a_host_port_says_nothing_about_other_protocols_and_hosts(world: World) -> None:
    await world.attach(make_pod("a", published(8080)))
    await world.attach(make_pod("b"))
    assert world.udp("outside", (HOST, 8080), (HERE, 8080)) == OUTSIDE
    assert world.tcp(B, (OUTSIDE, 8080), ("outside", 8080)) == HOST


async def test_a_host_ip_narrows_a_host_port(world: World) -> None:
    await world.attach(make_pod("a", published(8080, host_ip=HOST)))
    await world.attach(make_pod("b", published(8080, host_ip="127.0.0.1")))
    assert world.tcp("outside", (HOST, 8080), (A, 80)) == OUTSIDE
    assert world.tcp(HERE, ("127.0.0.1", 8080), (B, 80)) == GATEWAY


async def test_a_taken_host_port_names_the_pod_that_has_it(world: World) -> None:
    await world.attach(make_pod("a", published(8080)))
    with pytest.raises(NetworkError, match=r'host port 127.0.0.1:8080/TCP for pod "default/b": pod "default/a" has it'):
        await world.attach(make_pod("b", published(8080, host_ip="127.0.0.1")))
    await world.attach(make_pod("b", published(8080, protocol=Protocol.UDP)))


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
async def test_a_port_that_the_host_serves_is_not_taken_away_from_it(world: World, family: int) -> None:
    with socket.socket(family) as served:
        served.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what was connected a moment ago is no server
        served.bind(("", 8080))
        served.listen()
        with pytest.raises(NetworkError, match=r"host port \*:8080/TCP .* a program of this host serves it"):
            await world.attach(make_pod("a", published(8080)))
    assert world.leftovers() == []
    await world.attach(make_pod("a", published(8080)))


async def test_a_flow_that_was_there_before_the_pod_finds_it(world: World) -> None:
    """UDP clients that never pause: what the kernel remembers of their flow must not outlive the pod it led to."""
    pod, target = make_pod("a", published(5140, protocol=Protocol.UDP)), (HOST, 5140)
    with world.endpoint("outside", socket.SOCK_DGRAM) as client:
        client.bind(("", 5000))
        client.sendto(b"nobody", target)
        for _ in range(2):  # the second is another pod, at another address
            await world.attach(pod)
            with world.listener(A, "0.0.0.0", 80, socket.SOCK_DGRAM) as server:
                client.sendto(b"here", target)
                assert server.recv(100) == b"here"
            await world.service.detach(pod.name, pod.uid)


async def test_a_detached_pod_is_cut_off_though_its_processes_live(world: World) -> None:
    pod = make_pod("a", published(8080))
    a = await world.attach(pod)
    with world.listener(A, "0.0.0.0", 80):  # holds the namespace, as a container would
        await world.service.detach(pod.name, pod.uid)
        assert world.leftovers() == []
        assert world.is_cut_off(HERE, (a.address, 80))
        with pytest.raises(OSError) as caught:
            world.tcp("outside", (HOST, 8080), ("outside", 80))
        assert caught.value.errno == errno.ECONNREFUSED


async def test_ip_netns_knows_the_pod(world: World) -> None:
    await world.attach(make_pod("a"))
    assert A in run("ip netns list")
    shown = run(f"ip netns exec {A} ip -br addr show eth0").split()
    assert shown[1:3] == ["UP", "10.88.0.2/32"]
    assert "127.0.0.1/8" in run(f"ip netns exec {A} ip -br addr show lo")


async def test_traffic_passes_a_docker_like_forward_policy(world: World) -> None:
    run("iptables -P FORWARD DROP")
    try:
        await world.another_service().start()
        await world.attach(make_pod("a", published(8080)))
        assert world.tcp(A, (OUTSIDE, 80), ("outside", 80)) == HOST
        assert world.tcp("outside", (HOST, 8080), (A, 80)) == OUTSIDE
        await world.another_service().start()
        assert run("iptables -S FORWARD").count("nsrun") == 4  # two rules, each with name and comment: none doubled
    finally:
        run("iptables -P FORWARD ACCEPT")


async def test_a_ruleset_of_the_administrators_own_is_reported(world: World) -> None:
    run("nft add table inet mine")
    run("nft add chain inet mine through { type filter hook forward priority 0; policy drop; }")
    try:
        (warning,) = await world.another_service().start()
        assert '"inet mine through"' in warning
    finally:
        run("nft delete table inet mine")
