"""What every ``Network`` keeps to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from nsrun.errors import NetworkError
from nsrun.model.pod import Pod
from nsrun.model.running import Attachment
from nsrun.supervisor.ports import Network
from nsrun.support import native
from nsrun.support.fds import Fd
from nsrun.support.layout import Layout, PodName
from tests.contracts.fakes import FakeMachine, FakeNetwork, Life
from tests.contracts.virtualclock import VirtualClock
from tests.system.network.world import joined_home, make_service, make_uplink, remove_uplink
from tests.unit.supervisor.world import pod

WEB, OTHER = pod("web"), pod("other")


@pytest_asyncio.fixture(params=["fake", *(pytest.param(home, marks=pytest.mark.root) for home in ("real", "joined"))])
async def network(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Network]:
    if request.param == "fake":
        machine = FakeMachine(VirtualClock())
        yield FakeNetwork(machine, Life(machine))
        return
    layout = Layout(root=tmp_path / "root", run_dir=tmp_path / "run", log_dir=tmp_path / "log")
    make_uplink()
    try:
        with joined_home() if request.param == "joined" else nullcontext() as home:
            service = make_service(layout, home=home)
            await service.start()
            yield service
            for name, uid in await service.owners():
                await service.detach(name, uid)
            await service.tear_down()
    finally:
        remove_uplink()


Accept = Callable[[], socket.socket]
Listen = Callable[[Pod, Attachment, int], Accept]


@pytest.fixture
def listen(network: Network) -> Iterator[Listen]:
    """A program in a pod listens at a port; what it returns gives the far end of the next connection."""
    opened: list[socket.socket] = []

    def imagine(pod: Pod, _attachment: Attachment, port: int) -> Accept:
        assert isinstance(network, FakeNetwork)
        return network.listen(pod.name, port).pop

    def really(_pod: Pod, attachment: Attachment, port: int) -> Accept:
        if attachment.netns:
            with Fd.open(attachment.netns, 0) as namespace:
                server = native.socket_in(namespace.fileno(), socket.AF_INET6, socket.SOCK_STREAM)
        else:
            server = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("::1", port))
        server.listen()
        opened.append(server)
        return lambda: server.accept()[0]

    yield imagine if isinstance(network, FakeNetwork) else really
    for server in opened:
        server.close()


async def test_an_attached_pod_has_a_place(network: Network) -> None:
    attachment = await network.attach(WEB)
    assert attachment.netns.endswith("/default_web")
    assert attachment.address
    assert attachment.gateway
    assert attachment.address != attachment.gateway


async def test_attaching_again_finds_the_same_place(network: Network) -> None:
    assert await network.attach(WEB) == await network.attach(WEB)


async def test_every_pod_has_an_address_of_its_own(network: Network) -> None:
    assert (await network.attach(WEB)).address != (await network.attach(OTHER)).address


async def test_owners_are_those_who_have_something(network: Network) -> None:
    assert await network.owners() == frozenset()
    await network.attach(WEB)
    await network.attach(OTHER)
    assert await network.owners() == {(WEB.name, WEB.uid), (OTHER.name, OTHER.uid)}


async def test_detaching_leaves_nothing_and_can_be_repeated(network: Network) -> None:
    await network.attach(WEB)
    await network.detach(WEB.name, WEB.uid)
    assert await network.owners() == frozenset()
    await network.detach(WEB.name, WEB.uid)
    await network.detach(PodName(namespace="default", name="nobody"), "never-heard-of")


async def test_a_pod_in_the_hosts_network_has_the_hosts_address(network: Network) -> None:
    guest = pod("guest")
    guest = replace(guest, spec=replace(guest.spec, host_network=True))
    attachment = await network.attach(guest)
    assert (attachment.netns, attachment.address) == ("", attachment.host_ip)
    assert attachment.address == (await network.attach(WEB)).host_ip
    assert await network.attach(guest) == attachment
    assert await network.owners() == {(WEB.name, WEB.uid), (guest.name, guest.uid)}
    await network.detach(guest.name, guest.uid)
    assert await network.owners() == {(WEB.name, WEB.uid)}


async def test_a_name_can_be_taken_again_once_it_is_free(network: Network) -> None:
    await network.attach(WEB)
    await network.detach(WEB.name, WEB.uid)
    successor = pod("web", uid="successor")
    await network.attach(successor)
    assert await network.owners() == {(WEB.name, "successor")}


async def test_detaching_one_leaves_the_other(network: Network) -> None:
    await network.attach(WEB)
    other = await network.attach(OTHER)
    await network.detach(WEB.name, WEB.uid)
    assert await network.owners() == {(OTHER.name, OTHER.uid)}
    assert (await network.attach(OTHER)).netns == other.netns


async def test_what_listens_in_a_pod_can_be_reached(network: Network, listen: Listen) -> None:
    accept = listen(WEB, await network.attach(WEB), 8080)
    loop = asyncio.get_running_loop()
    with await network.connect(WEB.name, 8080) as here:
        assert not here.getblocking()
        with accept() as there:
            await loop.sock_sendall(here, b"question")
            assert there.recv(100) == b"question"
            there.sendall(b"answer")
            there.shutdown(socket.SHUT_WR)
            assert await loop.sock_recv(here, 100) == b"answer"
            assert await loop.sock_recv(here, 100) == b""


async def test_what_listens_on_the_host_is_a_guests_and_no_other_pods(network: Network, listen: Listen) -> None:
    guest = pod("guest")
    guest = replace(guest, spec=replace(guest.spec, host_network=True))
    accept = listen(guest, await network.attach(guest), 8081)
    with await network.connect(guest.name, 8081), accept():
        pass
    await network.attach(WEB)
    with pytest.raises(NetworkError, match=r'cannot connect to port 8081 of pod "default/web": .*refused'):
        await network.connect(WEB.name, 8081)


async def test_a_pod_that_is_not_attached_cannot_be_reached(network: Network) -> None:
    with pytest.raises(NetworkError, match='cannot connect to port 8080 of pod "default/web": '):
        await network.connect(WEB.name, 8080)


async def test_figures_are_those_of_pods_that_are_attached(network: Network) -> None:
    await network.attach(WEB)
    figures = await network.figures({WEB.uid, OTHER.uid})
    assert set(figures.pods) == {WEB.uid}
    (link,) = figures.pods[WEB.uid]
    assert link.name == "eth0"
    assert figures.host, "the machine has an interface too"
    await network.detach(WEB.name, WEB.uid)
    assert (await network.figures({WEB.uid})).pods == {}
