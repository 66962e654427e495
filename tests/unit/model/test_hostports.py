"""Which ports of the host a pod takes."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from nsrun.model.container import Container, ContainerPort, Protocol, PullPolicy, RestartPolicy
from nsrun.model.hostports import HostPort, find_conflict, host_ports
from nsrun.model.pod import ObjectMeta, Pod, PodSpec


def port(number: int, host_ip: str = "", protocol: Protocol = Protocol.TCP, to: int = 80) -> HostPort:
    address = ip_address(host_ip) if host_ip else None
    return HostPort(protocol=protocol, host_ip=address, host_port=number, container_port=to)


def container(*ports: ContainerPort) -> Container:
    return Container(name="c", image="i", image_pull_policy=PullPolicy.NEVER, ports=ports)


def pod(*ports: ContainerPort) -> Pod:
    spec = PodSpec(containers=(container(*ports),))
    return Pod(metadata=ObjectMeta(name="p", namespace="default", uid="u"), spec=spec)


def test_they_are_those_that_are_published() -> None:
    found = host_ports(
        pod(
            ContainerPort(container_port=80),
            ContainerPort(container_port=80, host_port=8080, host_ip="0.0.0.0"),
            ContainerPort(container_port=80, host_port=8081, host_ip="::"),
            ContainerPort(container_port=53, host_port=53, host_ip="192.0.2.1", protocol=Protocol.UDP),
        )
    )
    assert found == (port(8080), port(8081), port(53, "192.0.2.1", Protocol.UDP, 53))


def test_in_the_hosts_network_they_are_all_that_are_named() -> None:
    plain = pod(ContainerPort(container_port=80), ContainerPort(container_port=81, host_port=81))
    assert host_ports(replace(plain, spec=replace(plain.spec, host_network=True))) == (port(80), port(81, to=81))


def test_sidecars_run_beside_the_others_and_init_containers_do_not() -> None:
    one, other = ContainerPort(container_port=80, host_port=1), ContainerPort(container_port=80, host_port=2)
    plain = pod(ContainerPort(container_port=80, host_port=3))
    init = (container(one), replace(container(other), restart_policy=RestartPolicy.ALWAYS))
    assert host_ports(replace(plain, spec=replace(plain.spec, init_containers=init))) == (port(3), port(2))


def test_a_host_ip_must_be_one() -> None:
    with pytest.raises(ValueError, match='host IP "here" is no address'):
        host_ports(pod(ContainerPort(container_port=80, host_port=80, host_ip="here")))


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        (port(80), port(80), True),
        (port(80), port(81), False),
        (port(80), port(80, protocol=Protocol.UDP), False),
        (port(80), port(80, "192.0.2.1"), True),
        (port(80, "192.0.2.1"), port(80, "192.0.2.1"), True),
        (port(80, "192.0.2.1"), port(80, "192.0.2.2"), False),
        (port(80, "2001:db8::1"), port(80, "192.0.2.2"), False),
    ],
)
def test_clashes(one: HostPort, other: HostPort, *, clash: bool) -> None:
    assert (find_conflict([one], [other]) == one) is clash
    assert (find_conflict([other], [one]) == other) is clash


def test_they_are_written_as_ss_writes_them() -> None:
    assert [str(port(80)), str(port(80, "192.0.2.1")), str(port(80, "2001:db8::1", Protocol.UDP))] == [
        "*:80/TCP",
        "192.0.2.1:80/TCP",
        "[2001:db8::1]:80/UDP",
    ]
