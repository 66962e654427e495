"""Pods in the host's network: files and ports, and nothing else; found again, and gone without a trace."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from nsrun.errors import NetworkError
from nsrun.model.container import ContainerPort
from nsrun.model.pod import DnsConfig, DnsPolicy, HostAlias, Pod
from tests.system.network.world import HOST, OUTSIDE, World, make_pod, make_service, published, run

pytestmark = [pytest.mark.root, pytest.mark.network]


def guest(name: str, *ports: ContainerPort, **spec: object) -> Pod:
    pod = make_pod(name, *ports)
    return replace(pod, spec=replace(pod.spec, host_network=True, **spec))  # type: ignore[arg-type]


async def test_a_guest_has_the_hosts_address_and_no_namespace(world: World) -> None:
    before = run("ip -j link"), run("nft list ruleset")
    attachment = await world.attach(guest("agent", ContainerPort(container_port=9100, host_port=9100)))
    assert (attachment.netns, attachment.address, attachment.host_ip) == ("", HOST, HOST)
    assert attachment.hostname == socket.gethostname()
    assert (run("ip -j link"), run("nft list ruleset")) == before
    assert "agent" not in run("ip netns list")


async def test_its_files_are_the_hosts_and_its_own_additions(world: World) -> None:
    pod = guest(
        "agent",
        host_aliases=(HostAlias(ip="192.0.2.8", hostnames=("more",)),),
        dns_config=DnsConfig(options=(("ndots", "1"),)),
    )
    await world.attach(pod)
    assert world.layout.etc_hosts(pod.uid).read_text() == (
        "# Kubernetes-managed hosts file (host network).\n127.0.0.1\tlocalhost\n192.0.2.7\tthis-machine\n"
        "\n# Entries added by HostAliases.\n192.0.2.8\tmore\n"
    )
    expected = "nameserver 192.0.2.53\nsearch example.org\noptions ndots:1\n"
    assert world.layout.resolv_conf(pod.uid).read_text() == expected


async def test_it_is_found_again_and_goes_without_a_trace(world: World) -> None:
    pod = guest("agent", ContainerPort(container_port=9100))
    attachment = await world.attach(pod)
    hosts = world.layout.etc_hosts(pod.uid)
    hosts.write_text(hosts.read_text() + "192.0.2.9\tadded-by-a-container\n")
    again = world.another_service()
    await again.start()
    assert await again.owners() == {(pod.name, pod.uid)}
    assert await again.attach(pod) == attachment
    assert hosts.read_text().endswith("added-by-a-container\n")
    await again.detach(pod.name, pod.uid)
    await again.detach(pod.name, pod.uid)
    assert await again.owners() == frozenset()
    assert world.leftovers() == []
    assert not hosts.exists()


async def test_its_ports_are_nobody_elses(world: World) -> None:
    agent, web = guest("agent", ContainerPort(container_port=9100)), make_pod("web", published(9100))
    await world.attach(agent)
    with pytest.raises(NetworkError, match=r'host port \*:9100/TCP for pod "default/web": pod "default/agent" has it'):
        await world.attach(web)
    await world.service.detach(agent.name, agent.uid)
    await world.attach(web)
    with pytest.raises(NetworkError, match='pod "default/web" has it'):
        await world.attach(agent)
    assert await world.service.owners() == {(web.name, web.uid)}
    assert not world.layout.etc_hosts(agent.uid).exists()


async def test_a_failed_attempt_leaves_nothing(world: World) -> None:
    pod = guest("agent", host_aliases=(HostAlias(ip="192.0.2.8", hostnames=("two words",)),))
    with pytest.raises(NetworkError, match="not one word"):
        await world.attach(pod)
    assert await world.service.owners() == frozenset()
    assert world.leftovers() == []


async def test_what_it_serves_is_served_by_the_host(world: World) -> None:
    await world.attach(guest("agent", ContainerPort(container_port=9100)))
    assert world.tcp("outside", (HOST, 9100), ("", 9100)) == OUTSIDE


async def test_names_of_a_pod_with_a_network_of_its_own(world: World) -> None:
    pod = make_pod("web")
    pod = replace(
        pod,
        spec=replace(
            pod.spec,
            hostname="web-0",
            subdomain="shop",
            set_hostname_as_fqdn=True,
            host_aliases=(HostAlias(ip="192.0.2.8", hostnames=("db", "db.example")),),
        ),
    )
    attachment = await world.attach(pod)
    assert attachment.hostname == "web-0.shop.default.svc.cluster.local"
    assert (
        world.layout.etc_hosts(pod.uid)
        .read_text()
        .endswith(
            f"{attachment.address}\tweb-0.shop.default.svc.cluster.local\tweb-0\n"
            "\n# Entries added by HostAliases.\n192.0.2.8\tdb\tdb.example\n"
        )
    )


async def test_a_name_too_long_is_refused_before_anything_is_made(world: World) -> None:
    pod = make_pod("web")
    pod = replace(pod, spec=replace(pod.spec, hostname="h" * 50, subdomain="shop", set_hostname_as_fqdn=True))
    with pytest.raises(NetworkError, match=r"is too long \(64 characters is the max, 81 characters requested\)"):
        await world.attach(pod)
    assert await world.service.owners() == frozenset()


async def test_names_of_the_cluster_are_asked_of_its_servers(world: World) -> None:
    service = make_service(world.layout, cluster_dns=("10.96.0.10",))
    first = make_pod("web")
    await service.attach(first)
    assert world.layout.resolv_conf(first.uid).read_text() == (
        "nameserver 10.96.0.10\n"
        "search default.svc.cluster.local svc.cluster.local cluster.local example.org\n"
        "options ndots:5\n"
    )
    alone = make_pod("alone")
    policy = DnsConfig(nameservers=tuple(f"192.0.2.{n}" for n in range(1, 5)))
    alone = replace(alone, spec=replace(alone.spec, dns_policy=DnsPolicy.NONE, dns_config=policy))
    attachment = await service.attach(alone)
    assert world.layout.resolv_conf(alone.uid).read_text() == (
        "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n"
    )
    (warning,) = attachment.warnings
    assert warning.startswith("Nameserver limits were exceeded")


async def test_the_book_is_readable_by_nobody_else(world: World) -> None:
    pod = guest("agent", ContainerPort(container_port=9100))
    await world.attach(pod)
    entry = Path(world.layout.guests, pod.uid)
    assert entry.stat().st_mode & 0o777 == 0o600
    assert json.loads(entry.read_text()) == {
        "namespace": "default",
        "name": "agent",
        "ports": [["TCP", "", 9100, 9100]],
    }
