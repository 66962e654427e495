"""Pods of somebody who is not root and the outside: pasta and slirp4netns themselves, in a small internet.

The host is the test's network namespace, ``outside`` a machine on its uplink, ``pods`` the user's own namespace.
"""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest
import pytest_asyncio

from nsrun.errors import NetworkError
from nsrun.host.rootless.world import network_pin
from nsrun.model.container import ContainerPort
from nsrun.network.connector import PROGRAMS, decode_record
from nsrun.network.pasta import PASTA
from nsrun.network.service import NetworkService
from nsrun.network.slirp4netns import SLIRP4NETNS
from nsrun.network.uplink import TAP, ConnectorProgram, Uplink
from nsrun.network.usernet import UserNetwork
from nsrun.support.fds import Fd
from nsrun.support.layout import Layout
from tests.system.network.world import (
    CIDR,
    GATEWAY,
    HOST,
    NETNS,
    OUTSIDE,
    World,
    joined_home,
    make_pod,
    make_uplink,
    published,
    remove_uplink,
    run,
)
from tests.waiting import eventually, eventually_async

pytestmark = pytest.mark.root

PIN = Path(network_pin("/run/user/0/pods"))
METADATA = "169.254.169.254"


@dataclass
class Site(World):
    """``network``: the user's, behind ``service``."""

    network: UserNetwork | None = None

    def connector_pid(self) -> int:
        record = decode_record((self.layout.network / "connector.json").read_bytes())
        assert record is not None
        return record.process.pid


@contextmanager
def resolv_conf(path: Path, text: str) -> Iterator[None]:
    """The host's, for all programs of this mount namespace."""
    path.write_text(text)
    run(f"mount --bind {path} /etc/resolv.conf")
    try:
        yield
    finally:
        run("umount /etc/resolv.conf")


@contextmanager
def pinned() -> Iterator[None]:
    """The pods' namespace, where the user's is."""
    PIN.parent.mkdir(parents=True, exist_ok=True)
    PIN.touch()
    pin()
    try:
        yield
    finally:
        unpin()
        PIN.unlink()
        PIN.parent.rmdir()


def pin() -> None:
    run(f"mount --bind {NETNS / 'pods'} {PIN}")


def unpin() -> None:
    run(f"umount --lazy {PIN}")  # pasta may have it open for a moment more


def make_network(layout: Layout, holder: int, *programs: ConnectorProgram) -> UserNetwork:
    return UserNetwork(
        netns=PIN,
        holder=Fd(os.pidfd_open(holder)),
        directory=layout.network,
        bridge="nsrun0",
        pods=CIDR,
        programs=programs,
    )


def make_service(layout: Layout, network: UserNetwork) -> NetworkService:
    return NetworkService(layout=layout, pod_cidr=CIDR, user=network)


@pytest.fixture
def holder() -> Iterator[int]:
    process = subprocess.Popen(["sleep", "infinity"])
    yield process.pid
    process.kill()
    process.wait()


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    """On a host whose name server is its own, with an uplink, and a namespace for pods."""
    layout = Layout(root=tmp_path / "root", run_dir=Path("/run/nsrun-test"), log_dir=tmp_path / "log")
    layout.run_dir.mkdir(exist_ok=True)  # others of this worker leave it, empty
    make_uplink()
    try:
        with (
            joined_home(),
            pinned(),
            resolv_conf(tmp_path / "resolv.conf", "nameserver 127.0.0.1\nsearch example.org\n"),
        ):
            yield layout
    finally:
        remove_uplink()
        shutil.rmtree(layout.run_dir)


@asynccontextmanager
async def living(layout: Layout, holder: int, *programs: ConnectorProgram, says: str = "") -> AsyncIterator[Site]:
    network = make_network(layout, holder, *programs)
    site = Site(layout=layout, service=make_service(layout, network), network=network)
    try:
        assert "; ".join(await site.service.start()) == says
        yield site
        for name, uid in await site.service.owners():
            await site.service.detach(name, uid)
    finally:
        await site.service.tear_down()


@pytest.fixture(params=PROGRAMS, ids=lambda program: program.name)
def program(request: pytest.FixtureRequest) -> ConnectorProgram:
    assert isinstance(request.param, ConnectorProgram)
    return request.param


@pytest_asyncio.fixture
async def site(program: ConnectorProgram, layout: Layout, holder: int) -> AsyncIterator[Site]:
    async with living(layout, holder, program) as made:
        yield made


def is_reached(site: Site, source: str, target: tuple[str, int]) -> bool:
    """Whether a connection to what listens there is accepted within a second."""
    with closing(site.endpoint(source, socket.SOCK_STREAM)) as client:
        client.settimeout(1)
        try:
            client.connect(target)
            return client.recv(1) == b"!"
        except OSError:
            return False


@contextmanager
def greeter(site: Site, address: str, port: int) -> Iterator[None]:
    """On the host, says "!" to everybody."""
    with site.listener("", address, port) as server:
        server.settimeout(None)
        greeting = threading.Thread(target=_greet, args=(server,))
        greeting.start()
        try:
            yield
        finally:
            server.shutdown(socket.SHUT_RDWR)
            greeting.join()


def _greet(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            connection.sendall(b"!")


# --- out


async def test_pods_reach_the_outside_in_the_hosts_name(site: Site) -> None:
    await site.attach(make_pod("web"))
    assert site.tcp("default_web", (OUTSIDE, 80), ("outside", 80)) == HOST
    assert site.udp("default_web", (OUTSIDE, 53), ("outside", 53)) == HOST


async def test_the_way_out_takes_large_packets(site: Site) -> None:
    await site.attach(make_pod("web"))
    for place, interface in (("pods", TAP), ("pods", "nsrun0"), ("default_web", "eth0")):
        assert "mtu 65520" in run(f"ip netns exec {place} ip link show {interface}")


async def test_services_of_the_host_that_anybody_may_reach_are_reached(site: Site) -> None:
    await site.attach(make_pod("web"))
    with greeter(site, "0.0.0.0", 7000):
        assert is_reached(site, "default_web", (HOST, 7000))


async def test_what_the_host_serves_on_loopback_alone_is_not_reached(site: Site) -> None:
    await site.attach(make_pod("web"))
    uplink = Uplink(network=IPv4Network("10.0.2.0/24"))
    with greeter(site, "127.0.0.1", 7000):
        assert is_reached(site, "", ("127.0.0.1", 7000))
        for place in ("default_web", "pods"):
            for address in ("127.0.0.1", "0.0.0.0", GATEWAY, HOST, *map(str, uplink.network.hosts())):
                if address.rpartition(".")[2] in ("1", "2", "3", "4", "100", "254") or "10.0.2" not in address:
                    assert not is_reached(site, place, (address, 7000)), address


async def test_link_local_addresses_are_the_machines_alone(site: Site) -> None:
    """A cloud tells who asks at 169.254.169.254 whatever the machine may do."""
    await site.attach(make_pod("web"))
    run(f"ip addr add {METADATA}/32 dev up0")
    with greeter(site, METADATA, 80):
        assert is_reached(site, "", (METADATA, 80))
        assert is_reached(site, "pods", (METADATA, 80)), "the connector itself would ask there"
        assert not is_reached(site, "default_web", (METADATA, 80))


async def test_names_are_asked_where_the_host_asks(site: Site) -> None:
    pod = make_pod("web")
    await site.attach(pod)
    assert site.network is not None
    written = site.layout.resolv_conf(pod.uid).read_text()
    assert written == f"nameserver {site.network.name_server}\nsearch example.org\n"
    server = (site.network.name_server, 53)
    with (
        site.listener("", "127.0.0.1", 53, socket.SOCK_DGRAM) as listening,
        closing(site.endpoint("default_web", socket.SOCK_DGRAM)) as client,
    ):
        query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x03org\x00\x00\x01\x00\x01"
        client.connect(server)
        client.send(query)
        asked, peer = listening.recvfrom(512)
        assert asked == query
        listening.sendto(asked[:2] + b"\x81\x80" + asked[4:], peer)
        assert client.recv(512)[:4] == b"\x12\x34\x81\x80"


# --- in


async def test_host_ports_lead_to_pods_and_keep_the_clients_address(site: Site) -> None:
    web = make_pod("web", published(8080))
    await site.attach(web)
    assert site.tcp("outside", (HOST, 8080), ("default_web", 80)) == OUTSIDE
    await site.service.detach(web.name, web.uid)
    assert not is_reached(site, "outside", (HOST, 8080))


async def test_a_host_port_that_cannot_be_had_turns_the_pod_away(site: Site) -> None:
    pod = make_pod("web", ContainerPort(container_port=80, host_port=8080, host_ip="203.0.113.1"))
    with pytest.raises(
        NetworkError, match=r"cannot publish the host ports .* this machine has no address 203\.0\.113\.1"
    ):
        await site.attach(pod)
    assert await site.service.owners() == frozenset()
    assert not (NETNS / "default_web").exists()


async def test_a_forwarder_that_is_killed_is_started_again(site: Site) -> None:
    web = await site.attach(make_pod("web", published(8080)))
    keeping = asyncio.create_task(site.service.guard())
    try:
        pid = await eventually_async(lambda: _pid_of("nsrun-forward", "pods"))
        os.kill(pid, signal.SIGKILL)
        await eventually_async(lambda: _pid_of("nsrun-forward", "pods") not in (0, pid))
        await asyncio.to_thread(eventually, lambda: _reaches(site, "outside", (HOST, 8080), ("default_web", 80)))
        assert (await site.attach(make_pod("web", published(8080)))).address == web.address
    finally:
        keeping.cancel()


# --- lives


async def test_one_that_is_killed_is_started_again_and_pods_keep_their_addresses(site: Site) -> None:
    before = await site.attach(make_pod("web"))
    killed = site.connector_pid()
    keeping = asyncio.create_task(site.service.guard())
    try:
        os.kill(killed, signal.SIGKILL)
        await eventually_async(lambda: site.connector_pid() != killed)
        await asyncio.to_thread(eventually, lambda: _reaches(site, "default_web", (OUTSIDE, 80), ("outside", 80)))
        assert await site.attach(make_pod("web")) == before
    finally:
        keeping.cancel()


async def test_the_next_nsrun_finds_the_one_that_runs(site: Site, holder: int, program: ConnectorProgram) -> None:
    pid = site.connector_pid()
    again = make_network(site.layout, holder, program)
    service = make_service(site.layout, again)
    assert await service.start() == ()
    assert site.connector_pid() == pid
    assert again.name_server == "10.0.2.3"
    await service.attach(make_pod("web"))
    assert site.tcp("default_web", (OUTSIDE, 80), ("outside", 80)) == HOST
    os.kill(pid, signal.SIGKILL)
    keeping = asyncio.create_task(service.guard())
    try:
        await eventually_async(lambda: site.connector_pid() != pid)
    finally:
        keeping.cancel()


async def test_one_that_serves_a_namespace_which_was_left_is_ended(
    layout: Layout, holder: int, program: ConnectorProgram
) -> None:
    async with living(layout, holder, program) as site:
        left = os.pidfd_open(site.connector_pid())
        run("ip netns del pods")
        run("ip netns add pods")
        unpin()
        pin()
        async with living(layout, holder, program):
            assert select.select([left], [], [], 0)[0], "it runs on"
        os.close(left)


async def test_down_leaves_nothing(layout: Layout, holder: int, program: ConnectorProgram) -> None:
    async with living(layout, holder, program) as site:
        await site.attach(make_pod("web", published(8080)))
        connector = os.pidfd_open(site.connector_pid())
        forwarder = os.pidfd_open(_pid_of("nsrun-forward", "pods"))
    with closing(os.fdopen(connector)), closing(os.fdopen(forwarder)):
        assert len(select.select([connector, forwarder], [], [], 0)[0]) == 2
    assert list(layout.network.rglob("*")) == []
    assert TAP not in run("ip netns exec pods ip link")


async def test_down_without_a_daemon_ends_what_an_earlier_one_started(
    layout: Layout, holder: int, program: ConnectorProgram
) -> None:
    async with living(layout, holder, program) as site:
        connector = os.pidfd_open(site.connector_pid())
        await make_service(layout, make_network(layout, holder, program)).tear_down()
        with closing(os.fdopen(connector)):
            assert select.select([connector], [], [], 0)[0]


async def test_nothing_of_it_is_in_the_terminals_session(site: Site) -> None:
    pid = site.connector_pid()
    assert os.getsid(pid) == pid
    assert {os.readlink(f"/proc/{pid}/fd/{number}") for number in (1, 2)} <= {
        "/dev/null",
        str(site.layout.network / "connector.log"),
    }


# --- what this machine lacks


async def test_without_such_a_program_pods_have_each_other_and_host_ports(layout: Layout, holder: int) -> None:
    missing = (replace(PASTA, name="no-such-pasta"), replace(SLIRP4NETNS, name="no-such-slirp"))
    says = "pods have no way to the outside: neither no-such-pasta nor no-such-slirp is installed (apt install passt)"
    async with living(layout, holder, *missing, says=says) as site:
        web = await site.attach(make_pod("web", published(8080)))
        await site.attach(make_pod("other"))
        assert site.tcp("default_other", (web.address, 80), ("default_web", 80)) == site.pods["other"].address
        assert site.tcp("outside", (HOST, 8080), ("default_web", 80)) == OUTSIDE
        assert not is_reached(site, "default_web", (OUTSIDE, 80))


async def test_a_program_that_cannot_work_here_makes_room_for_the_next(layout: Layout, holder: int) -> None:
    """pasta of 2023 wants an interface with a default route."""
    run("ip route del default")
    async with living(layout, holder, PASTA, SLIRP4NETNS) as site:
        await site.attach(make_pod("web"))
        assert site.tcp("default_web", (OUTSIDE, 80), ("outside", 80)) == HOST
        assert "slirp4netns" in (layout.network / "connector.json").read_text()


async def test_a_range_that_the_host_has_itself_is_not_taken(
    layout: Layout, holder: int, program: ConnectorProgram
) -> None:
    run("ip addr add 10.0.2.15/24 dev up0")
    async with living(layout, holder, program) as site:
        await site.attach(make_pod("web"))
        assert site.network is not None
        assert site.network.name_server == "10.199.199.3"
        with greeter(site, "10.0.2.15", 7000):
            assert is_reached(site, "default_web", ("10.0.2.15", 7000))


def _pid_of(name: str, place: str) -> int:
    """Of the process with that name in the namespace; 0: there is none."""
    namespace = (NETNS / place).stat().st_ino
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (path / "comm").read_text().strip() == name[:15] and (path / "ns/net").stat().st_ino == namespace:
                return int(path.name)
        except OSError:
            continue
    return 0


def _reaches(site: Site, source: str, target: tuple[str, int], server: tuple[str, int]) -> bool:
    try:
        return bool(site.tcp(source, target, server))
    except OSError:
        return False
