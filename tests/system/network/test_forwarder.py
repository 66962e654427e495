"""The forwarder of host ports as nsrun has it: found again, started again, its complaints in words."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from nsrun.errors import NetworkError
from nsrun.network.forwarder import PROGRAM
from tests.native.forward_site import BRIDGE, HOST, INSIDE, OUTSIDE, TIMEOUT, Site, make_site, tcp, udp

pytestmark = [pytest.mark.root, pytest.mark.timeout(60)]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    directory = tmp_path / "run"
    directory.mkdir(mode=0o700)
    with make_site(directory, PROGRAM) as made:
        yield made


def works(client: socket.socket, pod: socket.socket) -> bool:
    client.sendall(b"question")
    pod.sendall(b"answer")
    return pod.recv(100) == b"question" and client.recv(100) == b"answer"


# --- supervisors come and go

SUPERVISOR = """
import os, sys
from pathlib import Path
from tests.native.forward_site import Site, tcp
class Holder:
    pid = int(sys.argv[3])
Site(Path(sys.argv[1]), Path(sys.argv[2]), Holder()).forwarder().set([tcp(8080)])
print("ready", flush=True)
sys.stdin.read()
"""


def test_it_outlives_its_supervisor(site: Site, repo: Path) -> None:
    """Killed without a word. Its successor finds ports and connections as they were."""
    command = [sys.executable, "-c", SUPERVISOR, str(site.directory), str(site.program), str(site.holder.pid)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=repo) as supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline() == "ready\n"
        before = site.pid()
        with site.listener() as server:
            client, pod = site.pair(server)
            supervisor.kill()
            supervisor.wait()
            successor = site.forwarder()
            with client, pod:
                assert works(client, pod)
                assert successor.start() == ()
                assert successor.ports() == (tcp(8080),)
                assert successor.set([tcp(8080), tcp(8081)]) == ()
                assert works(client, pod)
    assert site.pid() == before


def test_it_is_found_before_it_was_set_up(site: Site) -> None:
    """The supervisor was killed between the two."""
    with site.listener() as server:
        first = site.forwarder()
        first._spawn()
        first.close()
        assert site.status().flags == 0
        site.forwarder().set([tcp(8080)])
        client, pod = site.pair(server)
        with client, pod:
            assert works(client, pod)


def test_it_is_started_again(site: Site) -> None:
    forwarder = site.forwarder()
    forwarder.set([tcp(8080)])
    poll = select.poll()
    poll.register(forwarder.fileno(), select.POLLIN)
    assert poll.poll(0) == []
    os.kill(site.pid(), signal.SIGKILL)
    assert poll.poll(TIMEOUT * 1000)
    lived = forwarder.is_alive
    assert forwarder.set([tcp(8080)]) == ()
    assert (lived, forwarder.is_alive) == (False, True)
    with site.listener() as server:
        client, pod = site.pair(server)
        with client, pod:
            assert works(client, pod)


def test_one_that_hangs_is_replaced(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nsrun.network.forwarder._PATIENCE", 0.5)
    forwarder = site.forwarder()
    forwarder.set([tcp(8080)])
    before = site.pid()
    os.kill(before, signal.SIGSTOP)
    assert forwarder.set([tcp(8080), tcp(8081)]) == ()
    assert site.pid() != before
    assert forwarder.ports() == (tcp(8080), tcp(8081))


def test_stop(site: Site) -> None:
    forwarder = site.forwarder()
    forwarder.stop()
    forwarder.set([tcp(8080)])
    other = site.forwarder()
    other.stop()
    assert not forwarder.is_alive
    assert other.ports() == ()
    with closing(socket.create_server((HOST, 8080))):
        pass
    with pytest.raises(NetworkError, match="was not started"):
        site.forwarder().fileno()


def test_a_program_that_is_not_there(site: Site) -> None:
    site.program = Path("/no/such/nsrun-forward")
    with pytest.raises(NetworkError, match=r"cannot start the forwarder of host ports: .*ENOENT"):
        site.forwarder().start()


# --- ports that cannot be had


def test_a_port_that_is_taken(site: Site) -> None:
    with closing(socket.create_server((HOST, 8080))):
        told = site.forwarder().set([tcp(8080), tcp(8081)])
    assert told == ("cannot listen on port 8080/TCP: another program listens there",)
    # As soon as it is free, whoever asks again gets it.
    assert site.made[-1].set([tcp(8080), tcp(8081)]) == ()


def test_an_address_that_is_not_there(site: Site) -> None:
    told = site.forwarder().set([udp(5353, host_ip="203.0.113.9")])
    assert told == ("cannot listen on port 203.0.113.9:5353/UDP: this machine has no address 203.0.113.9",)


# --- whose address a pod sees


def test_when_it_cannot_be_kept(site: Site) -> None:
    told = site.forwarder(transparent=False).start()
    assert told == ("pods see the address of their bridge instead of those of clients that come through a host port",)


def shown(site: Site) -> str:
    commands = ("ip rule", "ip route show table all", "nft list ruleset")
    inside = ["ip", "netns", "exec", INSIDE]
    return "".join(subprocess.check_output([*inside, *command.split()], text=True) for command in commands)


def test_routing_can_be_made_again_and_unmade(site: Site) -> None:
    made = shown(site)
    site.inside(site.routing().ensure)
    assert shown(site) == made
    site.inside(site.routing().remove)
    bare = shown(site)
    assert all(word not in bare for word in ("fwmark", "28275", "sources"))
    site.inside(site.routing().remove)
    assert shown(site) == bare
    site.inside(site.routing().ensure)
    assert shown(site) == made


def test_routing_is_repaired(site: Site) -> None:
    site.forwarder().set([tcp(8080)])
    routing = site.routing()
    needed: list[bool] = []
    site.inside(lambda: needed.append(routing.repair()))
    site.inside(routing.ensure)
    site.inside(lambda: needed.append(routing.repair()))
    with site.listener() as server:
        client, pod = site.pair(server)
        with client, pod:
            subprocess.run(["ip", "netns", "exec", INSIDE, "nft", "flush", "ruleset"], check=True)
            site.inside(lambda: needed.append(routing.repair()))
            assert works(client, pod)
    site.inside(routing.remove)
    site.inside(lambda: needed.append(routing.repair()))
    assert needed == [False, False, True, False], "never made, there, flushed, removed"


def test_only_what_comes_from_pods_is_turned_round(site: Site) -> None:
    """What the namespace itself sends to a client goes its way: the mark alone does not bring it back."""
    prefix = ["ip", "netns", "exec", INSIDE]
    subprocess.run([*prefix, "ip", "route", "add", "default", "via", "10.88.0.2"], check=True)
    ways = {
        arguments: json.loads(subprocess.check_output([*prefix, "ip", "-j", "route", "get", OUTSIDE, *arguments]))
        for arguments in ((), ("mark", "0x6e730001"), ("mark", "0x6e730001", "from", "10.88.0.2", "iif", "nsrun0"))
    }
    assert [way[0].get("dev") for way in ways.values()] == ["nsrun0", "nsrun0", "lo"]


# --- without root

USER = """
import os, socket, subprocess, sys, threading
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from nsrun.model.container import Protocol
from nsrun.network.forwarder import ForwardedPort, Forwarder
from nsrun.network.nft import Nftables
from nsrun.network.transparent import SourceRouting
from nsrun.support import native
from nsrun.support.fds import Fd
from tests.waiting import PATIENCE

def namespace():
    made = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep infinity"], stdout=subprocess.PIPE)
    made.stdout.readline()
    return made

def run(process, commands):
    for command in commands.strip().splitlines():
        subprocess.run(["nsenter", f"--net=/proc/{process.pid}/ns/net", "ip", *command.split()], check=True)

def port(number, protocol=Protocol.TCP):
    address = IPv4Address("10.88.0.2")
    return ForwardedPort(protocol=protocol, host_ip=None, host_port=number, pod_ip=address, pod_port=80)

holder, pod = namespace(), namespace()
run(holder, f'''link set lo up
link add nsrun0 type bridge
addr add 10.88.0.1/24 dev nsrun0
link set nsrun0 up
link add port0 type veth peer name eth0 netns {pod.pid}
link set port0 master nsrun0 up''')
run(pod, '''addr add 10.88.0.2/24 dev eth0
link set eth0 up
route add default via 10.88.0.1''')
netns = Fd.open(f"/proc/{holder.pid}/ns/net", 0)

def route():
    native.setns(netns.fileno(), native.CLONE_NEWNET)
    SourceRouting(nft=Nftables(), bridge="nsrun0").ensure()

thread = threading.Thread(target=route)
thread.start()
thread.join()
forwarder = Forwarder(
    directory=Path(sys.argv[1]), netns=netns, holder=Fd(os.pidfd_open(holder.pid)),
    pods=IPv4Network("10.88.0.0/24"), transparent=True,
)
try:
    print(*forwarder.start())
    print(*forwarder.set([port(8080), port(80)]))
    with Fd.open(f"/proc/{pod.pid}/ns/net", 0) as place:
        server = native.socket_in(place.fileno(), socket.AF_INET, socket.SOCK_STREAM)
    server.bind(("", 80))
    server.listen()
    for address in ("127.0.0.1", sys.argv[2]):
        client = socket.create_connection((address, 8080), timeout=10 * PATIENCE)
        inside, peer = server.accept()
        client.sendall(b"question")
        assert inside.recv(100) == b"question"
        inside.sendall(b"answer")
        assert client.recv(100) == b"answer"
        print(peer[0])
finally:
    forwarder.stop()
    holder.kill()
    pod.kill()
"""


def test_as_an_ordinary_user(repo: Path) -> None:
    """Alone in a user namespace with one id, which is all it needs; ports below 1024 are refused in words."""
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    enter = [*nobody, "unshare", "--user", "--map-root-user"]
    if subprocess.run([*enter, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this kernel lets no ordinary user make a user namespace")
    directory = Path("/run/forwarder-of-a-user")
    directory.mkdir(mode=0o700)
    os.chown(directory, 65534, 65534)
    subprocess.run(["ip", "addr", "add", f"{HOST}/32", "dev", "lo"], check=True)
    try:
        command = [*enter, sys.executable, "-c", USER, str(directory), HOST]
        run = subprocess.run(command, capture_output=True, text=True, cwd=repo, check=False)
        assert run.returncode == 0, run.stderr
    finally:
        subprocess.run(["ip", "addr", "del", f"{HOST}/32", "dev", "lo"], check=True)
        directory.rmdir()
    remedy = "(to let everybody have it: sysctl net.ipv4.ip_unprivileged_port_start=80)"
    refused = f"cannot listen on port 80/TCP: ports below 1024 are for root only {remedy}"
    assert run.stdout.splitlines() == ["", refused, BRIDGE, HOST]
