"""What a neighbour on the host's network, or a pod with raw sockets, must not get by with.

Each test ends by taking the defence out and seeing the attack succeed: so it is known that the attack is a real one.
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import pytest

from nsrun.network.podnet import link_name
from tests.system.network.world import (
    GATEWAY,
    HOST,
    OUTSIDE,
    World,
    is_silent,
    make_pod,
    published,
    run,
    udp_frame,
)

pytestmark = [pytest.mark.root, pytest.mark.network]

A, B, HERE = "default_a", "default_b", ""
IPV4, ARP, IPV6 = 0x0800, 0x0806, 0x86DD
MARK = b"let me in"


def sysctl(name: str, value: int) -> None:
    Path("/proc/sys", name).write_text(str(value))


def ports() -> list[str]:
    """The bridge's ports."""
    return [line.split("@")[0] for line in run("ip -br link show master nsrun0").splitlines()]


def sends_to_host(world: World, place: str, interface: str, *, source: str, target: str, to_mac: bytes) -> bytes:
    return udp_frame(
        to_mac=to_mac, from_mac=world.mac(place, interface), source=source, target=target, port=7000, payload=MARK
    )


async def test_a_neighbour_cannot_route_to_pods(world: World) -> None:
    """CVE-2025-54410 and Docker's of old: published on loopback only, or not at all, yet reachable by a route."""
    a = await world.attach(make_pod("a", published(8080, host_ip="127.0.0.1")))
    run(f"ip netns exec outside ip route add 10.88.0.0/24 via {HOST}")
    with world.listener(A, "0.0.0.0", 80) as server:
        assert world.is_cut_off("outside", (a.address, 80))
        assert world.tcp_to(HERE, ("127.0.0.1", 8080), server) == GATEWAY
        run("nft flush chain ip nsrun0 forward")
        assert world.tcp_to("outside", (a.address, 80), server) == OUTSIDE


async def test_a_neighbour_cannot_reach_loopback(world: World) -> None:
    """CVE-2020-8558, with some other program having set route_localnet everywhere."""
    await world.attach(make_pod("a", published(7001, host_ip="127.0.0.1")))
    sysctl("net/ipv4/conf/up0/route_localnet", 1)
    to_mac = world.mac(HERE, "up0")
    with (
        world.listener(HERE, "127.0.0.1", 7000, socket.SOCK_DGRAM) as private,
        world.wire("outside", "out0", IPV4) as wire,
    ):
        frame = sends_to_host(world, "outside", "out0", source=OUTSIDE, target="127.0.0.1", to_mac=to_mac)
        wire.send(frame)
        assert is_silent(private)
        run("nft flush chain ip nsrun0 raw")
        wire.send(frame)
        assert not is_silent(private)


async def test_a_neighbour_cannot_pose_as_loopback(world: World) -> None:
    """A service that trusts 127.0.0.1 must not see it come in from a wire."""
    sysctl("net/ipv4/conf/up0/route_localnet", 1)
    sysctl("net/ipv4/conf/all/rp_filter", 0)
    sysctl("net/ipv4/conf/up0/rp_filter", 0)
    sysctl("net/ipv4/conf/up0/accept_local", 1)
    to_mac = world.mac(HERE, "up0")
    with (
        world.listener(HERE, "0.0.0.0", 7000, socket.SOCK_DGRAM) as trusting,
        world.wire("outside", "out0", IPV4) as wire,
    ):
        frame = sends_to_host(world, "outside", "out0", source="127.0.0.1", target=HOST, to_mac=to_mac)
        wire.send(frame)
        assert is_silent(trusting)
        run("nft flush chain ip nsrun0 raw")
        wire.send(frame)
        assert not is_silent(trusting)


async def test_a_pod_cannot_reach_the_hosts_loopback(world: World) -> None:
    """The bridge has route_localnet: the price of 127.0.0.1:<host port>. Pods must not profit from it."""
    a = await world.attach(make_pod("a", published(8080)))
    with (
        world.listener(HERE, "127.0.0.1", 7000, socket.SOCK_DGRAM) as private,
        world.wire(A, "eth0", IPV4) as wire,
    ):
        to_mac = world.mac(HERE, "nsrun0")
        frame = sends_to_host(world, A, "eth0", source=a.address, target="127.0.0.1", to_mac=to_mac)
        wire.send(frame)
        assert is_silent(private)
        run("nft flush chain ip nsrun0 raw")
        wire.send(frame)
        assert not is_silent(private)


async def test_a_pod_cannot_use_anothers_address(world: World) -> None:
    await world.attach(make_pod("a"))
    b = await world.attach(make_pod("b"))
    with (
        world.listener(HERE, HOST, 7000, socket.SOCK_DGRAM) as server,
        world.wire(A, "eth0", IPV4) as wire,
    ):
        to_mac = world.mac(HERE, "nsrun0")
        frame = sends_to_host(world, A, "eth0", source=b.address, target=HOST, to_mac=to_mac)
        wire.send(frame)
        wire.send(frame[:6] + world.mac(B, "eth0") + frame[12:])  # nor with its MAC as well
        assert is_silent(server)
        run("nft delete table bridge nsrun0")
        wire.send(frame)
        assert not is_silent(server)


async def test_a_pod_cannot_use_an_address_of_the_world_outside(world: World) -> None:
    a = await world.attach(make_pod("a"))
    run("nft delete table bridge nsrun0")  # the last line of defence: where bridged frames cannot be filtered
    sysctl("net/ipv4/conf/all/rp_filter", 0)
    with (
        world.listener(HERE, HOST, 7000, socket.SOCK_DGRAM) as server,
        world.wire(A, "eth0", IPV4) as wire,
    ):
        to_mac = world.mac(HERE, "nsrun0")
        wire.send(sends_to_host(world, A, "eth0", source=OUTSIDE, target=HOST, to_mac=to_mac))
        assert is_silent(server)
        run("nft flush chain ip nsrun0 raw")
        wire.send(sends_to_host(world, A, "eth0", source=OUTSIDE, target=HOST, to_mac=to_mac))
        assert is_silent(server)  # rp_filter of the bridge
        sysctl("net/ipv4/conf/nsrun0/rp_filter", 0)
        wire.send(sends_to_host(world, A, "eth0", source=OUTSIDE, target=HOST, to_mac=to_mac))
        assert not is_silent(server)
        wire.send(sends_to_host(world, A, "eth0", source=a.address, target=HOST, to_mac=to_mac))
        assert not is_silent(server)


def arp_reply(*, from_mac: bytes, claims: str, to_mac: bytes, to: str) -> bytes:
    body = struct.pack("!HHBBH", 1, IPV4, 6, 4, 2) + from_mac + socket.inet_aton(claims) + to_mac + socket.inet_aton(to)
    return to_mac + from_mac + struct.pack("!H", ARP) + body


async def test_a_pod_cannot_lie_in_arp(world: World) -> None:
    """CVE-2020-10749's sister: to be the gateway for another pod, or another pod for the host."""
    await world.attach(make_pod("a"))
    b = await world.attach(make_pod("b"))
    mac_a, mac_b, mac_host = world.mac(A, "eth0"), world.mac(B, "eth0"), world.mac(HERE, "nsrun0")
    with world.wire(A, "eth0", ARP) as wire, world.wire(B, "eth0", ARP) as heard:
        lie = arp_reply(from_mac=mac_a, claims=GATEWAY, to_mac=mac_b, to=b.address)
        wire.send(lie)
        wire.send(arp_reply(from_mac=mac_a, claims=b.address, to_mac=mac_host, to=GATEWAY))
        assert is_silent(heard)
        run("nft delete table bridge nsrun0")
        wire.send(lie)
        assert not is_silent(heard)
        wire.send(arp_reply(from_mac=mac_a, claims=b.address, to_mac=mac_host, to=GATEWAY))
    # And were it heard, it would not be believed: neighbours are permanent.
    assert mac_b.hex(":") in run(f"ip neigh show {b.address}")
    assert mac_host.hex(":") in run(f"ip netns exec {B} ip neigh show {GATEWAY}")


async def test_a_pod_cannot_draw_anothers_traffic_by_its_mac(world: World) -> None:
    a, b = await world.attach(make_pod("a")), await world.attach(make_pod("b"))
    run("nft delete table bridge nsrun0")
    mac_b, mac_host = world.mac(B, "eth0"), world.mac(HERE, "nsrun0")
    frame = udp_frame(
        to_mac=mac_host, from_mac=mac_b, source=a.address, target=GATEWAY, port=7000, payload=b"this way, please"
    )
    with world.wire(A, "eth0", IPV4) as wire, world.endpoint(HERE, socket.SOCK_DGRAM) as sender:
        wire.send(frame)
        sender.sendto(MARK, (b.address, 7000))
        assert is_silent(wire, MARK)
        for name in ports():
            run(f"bridge link set dev {name} learning on")
        run(f"bridge fdb del {mac_b.hex(':')} dev {link_name('uid-of-b', 'nsrun0')} master")
        wire.send(frame)
        sender.sendto(MARK, (b.address, 7000))
        assert not is_silent(wire, MARK)


def router_advertisement(from_mac: bytes) -> bytes:
    """All nodes: your default route is this pod, your prefix 2001:db8::/64."""
    source, target = socket.inet_pton(socket.AF_INET6, "fe80::bad"), socket.inet_pton(socket.AF_INET6, "ff02::1")
    prefix = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 3600, 3600, 0)
    prefix += socket.inet_pton(socket.AF_INET6, "2001:db8::")
    body = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + prefix
    total = sum(struct.unpack("!16H", source + target)) + len(body) + socket.IPPROTO_ICMPV6
    total += sum(struct.unpack(f"!{len(body) // 2}H", body))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    body = body[:2] + struct.pack("!H", ~total & 0xFFFF) + body[4:]
    header = struct.pack("!IHBB", 0x60000000, len(body), socket.IPPROTO_ICMPV6, 255) + source + target
    return bytes.fromhex("333300000001") + from_mac + struct.pack("!H", IPV6) + header + body


async def test_a_pod_cannot_advertise_itself_as_router(world: World) -> None:
    """CVE-2020-13401: a router advertisement of a pod must reach neither the host's own stack nor another pod."""
    await world.attach(make_pod("a"))
    await world.attach(make_pod("b"))
    frame = router_advertisement(world.mac(A, "eth0"))

    def believed() -> bool:
        return "2001:db8::" in run("ip -6 route")

    with world.wire(A, "eth0", IPV6) as wire, world.wire(B, "eth0", IPV6) as heard:
        wire.send(frame)
        assert is_silent(heard, b"\x20\x01\x0d\xb8")
        assert not believed()
        # Second line: the host's side speaks no IPv6, and pods' ports are not flooded.
        run("nft delete table bridge nsrun0")
        wire.send(frame)
        assert is_silent(heard, b"\x20\x01\x0d\xb8")
        assert not believed()
        sysctl("net/ipv6/conf/nsrun0/disable_ipv6", 0)
        sysctl("net/ipv6/conf/nsrun0/accept_ra", 2)
        for name in ports():
            run(f"bridge link set dev {name} mcast_flood on")
        wire.send(frame)
        assert not is_silent(heard, b"\x20\x01\x0d\xb8")
        assert believed()
    run("ip -6 route flush dev nsrun0")


async def test_only_the_bridge_routes_loopback(world: World) -> None:
    await world.attach(make_pod("a", published(8080)))
    conf = Path("/proc/sys/net/ipv4/conf")
    routed = {path.name for path in conf.iterdir() if (path / "route_localnet").read_text().strip() == "1"}
    assert routed == {"nsrun0"}
