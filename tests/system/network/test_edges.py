"""Hosts that are not as usual, and the pieces one by one."""

from __future__ import annotations

import os
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

import pytest

from nsrun.errors import NetworkError
from nsrun.network import netns, packetfilter
from nsrun.network.files import HostFiles
from nsrun.network.netlink import RouteSocket, add_address, add_route, add_veth, set_link
from nsrun.network.netns import create_pin, is_pinned, open_pin, remove_pin
from nsrun.network.nft import Nftables, RulesError
from nsrun.network.service import NetworkService
from nsrun.support import native
from tests.system.network.world import GATEWAY, HOST, OUTSIDE, World, make_pod, published, run

pytestmark = [pytest.mark.root, pytest.mark.network]


def test_the_first_pin_makes_its_directory_a_shared_mount(tmp_path: Path) -> None:
    directory = tmp_path / "netns"
    for name in ("one", "two"):
        for opened in create_pin(directory / name):
            opened.close()
        assert is_pinned(directory / name)
        assert os.stat(directory / name).st_ino != os.stat("/proc/self/ns/net").st_ino
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    (own,) = [fields for fields in mounts if fields[4] == str(directory)]
    assert own[6].startswith("shared:")
    for name in ("one", "two", "two"):
        remove_pin(directory / name)
    assert list(directory.iterdir()) == []
    run(f"umount {directory}")


def test_a_pin_that_was_bound_twice_is_removed(tmp_path: Path) -> None:
    pin = tmp_path / "netns" / "one"
    for opened in create_pin(pin):
        opened.close()
    run(f"mount --bind {pin} {pin}")
    remove_pin(pin)
    assert not pin.exists()
    assert open_pin(pin) is None
    run(f"umount {pin.parent}")


@pytest.mark.parametrize(
    ("number", "hint"), [(1, "run nsrun as root"), (28, "raise the sysctl user.max_net_namespaces"), (12, None)]
)
def test_pins_that_cannot_be_made_say_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, hint: str | None
) -> None:
    def refuse(*_: object, ids: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(native, "netns_create", refuse)
    with pytest.raises(NetworkError, match="cannot pin network namespace") as caught:
        create_pin(tmp_path / "netns" / "one")
    assert (caught.value.hint or "None").startswith(str(hint))
    run(f"umount {tmp_path}/netns")


def test_pins_that_cannot_be_entered_or_removed_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bool:
        raise OSError(5, "")

    monkeypatch.setattr(netns, "is_pinned", refuse)
    with pytest.raises(NetworkError, match=r"cannot enter network namespace .*: input/output error"):
        open_pin(tmp_path)
    with pytest.raises(NetworkError, match=r"cannot unpin network namespace .*: input/output error"):
        remove_pin(tmp_path)


def test_a_batch_goes_on_after_an_error_and_tells_the_first() -> None:
    with RouteSocket.open() as rtnetlink:
        loopback = rtnetlink.index("lo")
        with pytest.raises(NetworkError, match='cannot bring up link "missing1": no such device'):
            rtnetlink.send(
                [
                    set_link("missing1", ipv6=True),
                    add_address(loopback, IPv4Interface("192.0.2.77/32")),
                    set_link("missing2", ipv6=True),
                ]
            )
        assert (loopback, IPv4Interface("192.0.2.77/32")) in rtnetlink.addresses()
        assert rtnetlink.index("missing1") == 0
    run("ip addr del 192.0.2.77/32 dev lo")


def test_the_kernels_own_words_are_passed_on() -> None:
    with RouteSocket.open() as rtnetlink:
        unreachable = add_route(rtnetlink.index("lo"), IPv4Network("192.0.2.0/24"), gateway=IPv4Address("203.0.113.1"))
        with pytest.raises(NetworkError, match=r"cannot add route to 192.0.2.0/24: nexthop has invalid gateway"):
            rtnetlink.send([unreachable])
        with pytest.raises(NetworkError, match=r'cannot create link "nsrx": .+'):
            rtnetlink.send([add_veth("nsrx", bridge=9999, peer="p", peer_mac="0a:58:00:00:00:01", netns=999, mtu=1500)])


def test_nft_says_what_it_refuses() -> None:
    nft = Nftables()
    with pytest.raises(RulesError, match="cannot change the packet filter: no such file or directory"):
        nft.run("delete table ip nothere")
    with pytest.raises(RulesError, match="cannot change the packet filter: syntax error"):
        nft.run("nonsense")
    nft.run("add table ip fine")
    assert '"fine"' in nft.query("list tables")
    nft.run("delete table ip fine")


async def test_without_a_filter_for_bridged_frames_pods_run_and_it_is_said(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("nft delete table bridge nsrun0")
    monkeypatch.setattr(packetfilter, "bridge_ruleset", lambda **_: "nonsense")
    service = world.another_service()
    (warning,) = await service.start()
    assert warning.startswith("source addresses of pods are not checked: this kernel cannot filter bridged frames")
    pod = make_pod("a", published(8080))
    await service.attach(pod)
    assert world.tcp("outside", (HOST, 8080), ("default_a", 80)) == OUTSIDE
    await service.detach(pod.name, pod.uid)


async def test_the_uplinks_mtu_is_the_pods(world: World) -> None:
    run("ip link set up0 mtu 1400")
    service = world.another_service()
    await service.start()
    await service.attach(make_pod("a"))
    assert "mtu 1400" in run("ip netns exec default_a ip link show eth0")


async def test_the_hosts_address_without_a_default_route(world: World) -> None:
    assert (await world.attach(make_pod("a"))).host_ip == HOST
    run("ip route del default")
    assert (await world.attach(make_pod("a"))).host_ip == HOST
    run("ip addr flush dev up0")
    assert (await world.attach(make_pod("a"))).host_ip == GATEWAY


async def test_a_bridge_name_that_is_taken_by_something_else(world: World) -> None:
    service = NetworkService(layout=world.layout, pod_cidr=IPv4Network("10.99.0.0/24"), bridge="up0")
    with pytest.raises(NetworkError, match='cannot use "up0" as bridge: it is an interface of another kind'):
        await service.start()


async def test_the_files_of_a_pod(world: World) -> None:
    pod = make_pod("a")
    await world.attach(pod)
    hosts, resolv_conf = world.layout.etc_hosts(pod.uid), world.layout.resolv_conf(pod.uid)
    assert hosts.read_text().endswith("10.88.0.2\ta\n")
    assert resolv_conf.read_text() == "nameserver 192.0.2.53\nsearch example.org\n"
    assert {oct(path.stat().st_mode & 0o777) for path in (hosts, resolv_conf)} == {"0o644"}
    assert world.layout.pod(pod.uid).stat().st_mode & 0o777 == 0o700


async def test_the_servers_behind_a_local_resolver_are_used(world: World, tmp_path: Path) -> None:
    local, upstream = tmp_path / "resolv.conf", tmp_path / "upstream.conf"
    local.write_text("nameserver 127.0.0.53\nsearch example.org\n")

    async def seen(name: str) -> str:
        service = NetworkService(
            layout=world.layout,
            pod_cidr=IPv4Network("10.88.0.0/24"),
            host_files=HostFiles(resolv_conf=local, upstream=upstream),
        )
        pod = make_pod(name)
        await service.attach(pod)
        return world.layout.resolv_conf(pod.uid).read_text()

    assert "no name server that this pod could reach" in await seen("a")
    upstream.write_text("nameserver 192.0.2.99\n")
    assert await seen("b") == "nameserver 192.0.2.99\n"
    local.unlink()
    assert "no name server that this pod could reach" in await seen("c")


async def test_the_address_after_a_reboot_is_in_the_hosts_file(world: World) -> None:
    """The run directory dies with the boot, the pod's directory does not."""
    pod = make_pod("a")
    await world.attach(pod)
    await world.attach(make_pod("b"))
    old = world.layout.etc_hosts(pod.uid).read_text()
    await world.service.detach(pod.name, pod.uid)
    world.layout.etc_hosts(pod.uid).write_text(old)
    again = await world.attach(pod)
    assert again.address == "10.88.0.4"
    assert "10.88.0.4\ta\n" in world.layout.etc_hosts(pod.uid).read_text()
