"""The pods' side of the network in a namespace that this process is not in."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from nsrun.errors import NetworkError
from nsrun.network.counters import link_counters
from nsrun.network.home import HostHome, JoinedHome
from nsrun.network.netlink import RouteSocket
from nsrun.network.nft import Nftables
from nsrun.network.podnet import link_name
from nsrun.network.sysctls import Sysctls
from nsrun.support.fds import Fd
from nsrun.support.layout import Layout
from tests.system.network.world import (
    GATEWAY,
    HOST,
    NETNS,
    World,
    joined_home,
    make_pod,
    make_service,
    make_uplink,
    published,
    remove_uplink,
    run,
)
from tests.waiting import eventually_async

pytestmark = pytest.mark.root


def own_namespace() -> int:
    return os.stat("/proc/thread-self/ns/net").st_ino


@pytest.fixture
def home() -> Iterator[JoinedHome]:
    with joined_home() as made:
        yield made


@pytest_asyncio.fixture
async def apart(tmp_path: Path, home: JoinedHome) -> AsyncIterator[World]:
    """The small world, with the pods' side of it in ``/run/netns/pods``."""
    layout = Layout(root=tmp_path / "root", run_dir=Path("/run/nsrun-test"), log_dir=tmp_path / "log")
    make_uplink()
    made = World(layout=layout, service=make_service(layout, home=home))
    try:
        await made.service.start()
        yield made
        for name, uid in await made.service.owners():
            await made.service.detach(name, uid)
    finally:
        await made.service.tear_down()
        remove_uplink()


async def test_work_is_done_there_and_this_thread_stays_here(home: JoinedHome) -> None:
    before, there = own_namespace(), (NETNS / "pods").stat().st_ino
    seen = await asyncio.gather(*(home.run(own_namespace) for _ in range(40)))
    assert set(seen) == {there}
    assert own_namespace() == before
    assert await asyncio.to_thread(own_namespace) == before, "the loop's own threads are nobody's but the host's"
    assert await HostHome().run(own_namespace) == before


async def test_a_program_that_is_started_there_is_there(home: JoinedHome) -> None:
    shown = await home.run(lambda: subprocess.run(["readlink", "/proc/self/ns/net"], capture_output=True, check=True))
    assert shown.stdout.decode().strip() == f"net:[{(NETNS / 'pods').stat().st_ino}]"


async def test_its_sockets_are_there_whoever_uses_them(home: JoinedHome) -> None:
    run("ip netns exec pods ip addr add 10.77.0.1/32 dev lo")
    with closing(await home.socket(socket.AF_INET, socket.SOCK_STREAM)) as made:
        assert not os.get_inheritable(made.fileno())
        made.bind(("10.77.0.1", 0))
    with closing(await HostHome().socket(socket.AF_INET, socket.SOCK_STREAM)) as outside, pytest.raises(OSError):
        outside.bind(("10.77.0.1", 0))


async def test_a_socket_that_nobody_waits_for_any_more_is_closed(
    home: JoinedHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, made = home.run, list[socket.socket]()

    async def kept(function: Callable[..., socket.socket], *arguments: int) -> socket.socket:
        made.append(await run(function, *arguments))  # else it would be closed for want of anybody who has it
        return made[0]

    monkeypatch.setattr(home, "run", kept)
    asking = asyncio.create_task(home.socket(socket.AF_INET, socket.SOCK_STREAM))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await eventually_async(lambda: made and made[0].fileno() == -1, what="the socket is closed")


async def test_every_doorway_to_the_kernel_leads_there(home: JoinedHome, tmp_path: Path) -> None:
    run("ip netns exec pods ip link add only-there type bridge")

    def names() -> set[str]:
        with RouteSocket.open() as rtnetlink:
            return {link.name for link in rtnetlink.links()}

    sysctls, nft = Sysctls(tmp_path / "sysctls.json"), Nftables()
    assert "only-there" in await home.run(names)
    assert "only-there" not in names()
    assert "only-there" in await home.run(link_counters)
    assert await home.run(sysctls.exists, "net/ipv4/conf/only-there")
    assert not sysctls.exists("net/ipv4/conf/only-there")
    await home.run(nft.run, "table ip only-there { }")
    assert "only-there" in run("ip netns exec pods nft list tables")
    assert "only-there" not in run("nft list tables")


async def test_a_namespace_that_cannot_be_joined_is_told() -> None:
    home = JoinedHome(Fd.open("/proc/self/ns/uts", 0))
    with closing(home), pytest.raises(NetworkError, match="cannot enter the pods' network: invalid argument"):
        await home.run(own_namespace)


async def test_nothing_of_pods_is_in_the_hosts_network(apart: World) -> None:
    before = run("ip -o link") + run("nft list ruleset") + run("ip route")
    await apart.attach(make_pod("web", published(8080)))
    assert run("ip -o link") + run("nft list ruleset") + run("ip route") == before
    assert "nsrun0" in run("ip netns exec pods ip -o link")
    assert "8080" in run("ip netns exec pods nft list map ip nsrun0 ports")
    assert Path("/proc/sys/net/ipv4/conf/nsrun0").exists() is False


async def test_pods_reach_each_other_and_the_gateway(apart: World) -> None:
    web, other = await apart.attach(make_pod("web")), await apart.attach(make_pod("other"))
    assert apart.tcp("default_other", (web.address, 80), ("default_web", 80)) == other.address
    assert apart.tcp("pods", (web.address, 80), ("default_web", 80)) == GATEWAY


async def test_sockets_towards_pods_are_where_pods_are(apart: World) -> None:
    web = await apart.attach(make_pod("web"))
    loop = asyncio.get_running_loop()
    for place, address, seen_from in (("default_web", web.address, GATEWAY), ("", HOST, HOST)):
        with (
            apart.listener(place, "0.0.0.0", 81) as server,
            closing(await apart.service.socket_towards(socket.AF_INET, address)) as probe,
        ):
            probe.setblocking(False)
            await loop.sock_connect(probe, (address, 81))
            assert server.accept()[1][0] == seen_from


async def test_a_pod_of_the_hosts_network_has_the_hosts_address(apart: World) -> None:
    pod = make_pod("guest", published(8081, 8081))
    attachment = await apart.attach(replace(pod, spec=replace(pod.spec, host_network=True)))
    assert (attachment.address, attachment.host_ip, attachment.netns) == (HOST, HOST, "")
    assert (await apart.attach(make_pod("web"))).host_ip == HOST


async def test_a_port_that_a_program_of_the_host_serves_is_not_taken_from_it(apart: World) -> None:
    with apart.listener("", "0.0.0.0", 8080), pytest.raises(NetworkError, match="a program of this host serves it"):
        await apart.attach(make_pod("web", published(8080)))


async def test_detaching_waits_for_the_link_that_is_there(apart: World) -> None:
    pod = make_pod("web")
    await apart.attach(pod)
    link = link_name(pod.uid, "nsrun0")
    assert link in run("ip netns exec pods ip -o link")
    await apart.service.detach(pod.name, pod.uid)
    assert link not in run("ip netns exec pods ip -o link")
    assert await apart.service.owners() == frozenset()


async def test_figures_are_the_hosts_and_the_pods(apart: World) -> None:
    web = await apart.attach(make_pod("web"))
    apart.tcp("pods", (web.address, 80), ("default_web", 80))
    figures = await apart.service.figures(["uid-of-web"])
    assert "up0" in {link.name for link in figures.host}
    assert figures.pods["uid-of-web"][0].received_bytes > 0


async def test_a_flushed_packet_filter_is_made_again_there(apart: World) -> None:
    await apart.attach(make_pod("web", published(8080)))
    guard = asyncio.create_task(apart.service.guard())
    try:
        await eventually_async(lambda: "nsrun0" in run("ip netns exec pods nft list tables"))
        run("ip netns exec pods nft flush ruleset")
        await eventually_async(lambda: "ip nsrun0" in run("ip netns exec pods nft list tables"))
    finally:
        guard.cancel()
    assert "nsrun0" not in run("nft list tables")
