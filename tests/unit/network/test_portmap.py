"""Host ports as data, and nft's text made of them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from nsrun.errors import NetworkError
from nsrun.model.container import Container, ContainerPort, Protocol, PullPolicy
from nsrun.model.hostports import HostPort
from nsrun.model.pod import ObjectMeta, Pod, PodSpec
from nsrun.network.portmap import (
    Member,
    add_commands,
    bridge_ruleset,
    delete_commands,
    ip_ruleset,
    listening_ports,
    published_ports,
)


def port(number: int, host_ip: str = "", protocol: Protocol = Protocol.TCP, to: int = 80) -> HostPort:
    address = IPv4Address(host_ip) if host_ip else None
    return HostPort(protocol=protocol, host_ip=address, host_port=number, container_port=to)


def pod(*ports: ContainerPort) -> Pod:
    container = Container(name="c", image="i", image_pull_policy=PullPolicy.NEVER, ports=ports)
    return Pod(metadata=ObjectMeta(name="p", namespace="default", uid="u"), spec=PodSpec(containers=(container,)))


MEMBER = Member(
    link="nsr0123456789",
    mac="0a:58:0a:58:00:02",
    address=IPv4Address("10.88.0.2"),
    ports=(port(8080), port(53, "192.0.2.1", Protocol.UDP, 5353)),
)
SILENT = Member(link="nsrabcdefabcd", mac="0a:58:0a:58:00:03", address=IPv4Address("10.88.0.3"), ports=())


@pytest.mark.parametrize(
    ("ports", "message"),
    [
        ((ContainerPort(container_port=80, host_port=80, host_ip="::1"),), 'host IP "::1" for pod "default/p": not an'),
        (
            (ContainerPort(container_port=80, host_port=80, host_ip="here"),),
            'pod "default/p": host IP "here" is no add',
        ),
        (
            (
                ContainerPort(container_port=80, host_port=80),
                ContainerPort(container_port=81, host_port=80, host_ip="192.0.2.1"),
            ),
            r'host port 192.0.2.1:80/TCP for pod "default/p": the pod asks for it twice',
        ),
    ],
)
def test_host_ports_that_cannot_be(ports: tuple[ContainerPort, ...], message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        published_ports(pod(*ports))


TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1 0 100 0 0 10 0
   2: 0100007F:1F91 0100007F:0050 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0 100 0 0 10 0
"""
TCP6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000
   1: 0000000000000000FFFF0000020200C0:0051 00000000000000000000000000000000:0000 0A 00000000:00000000
   2: B80D0120000000000000000001000000:0052 00000000000000000000000000000000:0000 0A 00000000:00000000
"""


def test_listening_ports() -> None:
    assert listening_ports(TCP, Protocol.TCP) == (port(8080, "127.0.0.1", to=8080), port(22, to=22))
    assert listening_ports(TCP6, Protocol.TCP) == (port(80, to=80), port(81, "192.0.2.2", to=81))
    assert listening_ports(TCP.replace(" 0A ", " 07 "), Protocol.UDP)[1] == port(22, protocol=Protocol.UDP, to=22)
    assert listening_ports("", Protocol.TCP) == ()


def test_commands_for_one_pod() -> None:
    assert add_commands(MEMBER, bridge="nsrun0", sources=True) == (
        "add element ip nsrun0 ports { tcp . 8080 : 10.88.0.2 . 80 }\n"
        "add element ip nsrun0 ports_at { 192.0.2.1 . udp . 53 : 10.88.0.2 . 5353 }\n"
        "add element ip nsrun0 hairpin { 10.88.0.2 . 10.88.0.2 }\n"
        'add element bridge nsrun0 sources { "nsr0123456789" . 0a:58:0a:58:00:02 . 10.88.0.2 }\n'
    )
    assert (
        add_commands(SILENT, bridge="nsrun0", sources=False)
        == delete_commands(SILENT, bridge="nsrun0", sources=False)
        == ""
    )
    lines = delete_commands(MEMBER, bridge="nsrun0", sources=True).splitlines()
    assert [line.split()[0] for line in lines] == ["add", "delete"] * 4


def test_rulesets_hold_every_pod() -> None:
    text = ip_ruleset(bridge="nsrun0", pods=IPv4Network("10.88.0.0/16"), members=[MEMBER, SILENT])
    assert "elements = { tcp . 8080 : 10.88.0.2 . 80 }" in text
    assert "elements = { 192.0.2.1 . udp . 53 : 10.88.0.2 . 5353 }" in text
    assert text.startswith("table ip nsrun0 { }\ndelete table ip nsrun0\n")
    assert bridge_ruleset(bridge="nsrun0", members=[MEMBER, SILENT]).count("10.88.0.") == 2
    assert "elements" not in ip_ruleset(bridge="b", pods=IPv4Network("10.0.0.0/8"), members=[])


def test_what_is_closed_to_pods_is_dropped_on_its_way_out() -> None:
    pods = IPv4Network("10.0.0.0/8")
    text = ip_ruleset(bridge="b", pods=pods, members=[], closed=IPv4Network("169.254.0.0/16"))
    assert 'iifname "b" ip daddr 169.254.0.0/16 drop' in text
    assert "169.254" not in ip_ruleset(bridge="b", pods=pods, members=[])
