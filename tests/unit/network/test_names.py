"""Names told from others, overlaps, other people's filters, netlink messages taken apart."""

from __future__ import annotations

import json
import struct
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from nsrun.errors import NetworkError
from nsrun.network.bridge import find_overlap, gateway_of, mac_of
from nsrun.network.conntrack import decode_flow
from nsrun.network.forwarding import dropping_chains, drops_by_default
from nsrun.network.ipam import Lease
from nsrun.network.netlink import Route
from nsrun.network.podnet import alias_of, link_name, member_of, parse_alias
from nsrun.network.sysctls import Sysctls
from nsrun.network.tablewatch import deletes_table
from nsrun.support.layout import PodName

PODS = IPv4Network("10.88.0.0/16")
LEASE = Lease(address=IPv4Address("10.88.0.2"), uid="0123", name=PodName(namespace="default", name="nginx"))


def test_link_names_fit_and_differ() -> None:
    names = {link_name(f"uid{n}", "nsrun0") for n in range(1000)}
    assert len(names) == 1000
    assert {len(name) for name in names} == {15}


def test_macs_are_local_unicast_and_tell_the_address() -> None:
    mac = mac_of(IPv4Address("10.88.1.255"))
    assert mac == "0a:58:0a:58:01:ff"
    assert int(mac[:2], 16) & 3 == 2


def test_aliases_tell_the_owner() -> None:
    assert alias_of(LEASE, "nsrun0") == "nsrun0 0123 default/nginx"
    assert parse_alias(alias_of(LEASE, "nsrun0"), "nsrun0") == (LEASE.name, LEASE.uid)
    long = Lease(address=LEASE.address, uid="u", name=PodName(namespace="n" * 63, name="p" * 253))
    assert len(alias_of(long, "nsrun0")) <= 255
    for other in (
        "",
        "uplink",
        "nsrun0 0123",
        "docker 0123 default/nginx",
        "nsrun0 0123 nginx",
        "nsrun1 0123 default/nginx",
        alias_of(long, "nsrun0"),
    ):
        assert parse_alias(other, "nsrun0") is None


def test_a_member_is_told_from_its_lease() -> None:
    assert member_of(LEASE, "nsrun0").mac == "0a:58:0a:58:00:02"
    assert member_of(LEASE, "nsrun0").link == link_name("0123", "nsrun0")


def test_the_gateway_is_the_first_address() -> None:
    assert str(gateway_of(PODS)) == "10.88.0.1/16"
    assert str(gateway_of(IPv4Network("10.0.0.0/30"))) == "10.0.0.1/30"
    with pytest.raises(NetworkError, match=r"cannot use 10\.0\.0\.0/31 for pods: too small"):
        gateway_of(IPv4Network("10.0.0.0/31"))


def test_overlaps() -> None:
    def route(text: str, link: int = 2) -> Route:
        return Route(destination=IPv4Network(text), link=link)

    free = (route("0.0.0.0/0"), route("10.89.0.0/16"), route("192.0.2.0/24"), route("10.88.0.0/16", 5))
    assert find_overlap(PODS, free, own_link=5) is None
    assert find_overlap(PODS, (*free, route("10.88.7.0/24")), own_link=5) == route("10.88.7.0/24")
    assert find_overlap(PODS, (*free, route("10.0.0.0/8")), own_link=5) == route("10.0.0.0/8")


def test_iptables_policies() -> None:
    assert drops_by_default("-P FORWARD DROP\n-A FORWARD -j DOCKER-USER\n")
    assert not drops_by_default("-P FORWARD ACCEPT\n")
    assert not drops_by_default("")


def test_chains_that_drop() -> None:
    def chain(family: str, table: str, name: str, **more: str) -> dict[str, object]:
        return {"chain": {"family": family, "table": table, "name": name, **more}}

    listing = [
        {"metainfo": {}},
        chain("ip", "filter", "FORWARD", hook="forward", policy="drop"),
        chain("inet", "mine", "through", hook="forward", policy="drop"),
        chain("inet", "mine", "in", hook="input", policy="drop"),
        chain("ip6", "mine", "six", hook="forward", policy="drop"),
        chain("inet", "mine", "open", hook="forward", policy="accept"),
        chain("inet", "mine", "plain"),
    ]
    assert dropping_chains(json.dumps({"nftables": listing})) == ("inet mine through",)
    assert dropping_chains("{}") == ()


def test_sysctls_are_put_back(tmp_path: Path) -> None:
    record, top = tmp_path / "run" / "sysctls.json", tmp_path / "sys"
    (top / "net").mkdir(parents=True)
    for name in ("forward", "own", "contested"):
        (top / "net" / name).write_text("0\n")
    sysctls = Sysctls(record, top=top)
    sysctls.set("net/forward", "1", remember=True)
    sysctls.set("net/contested", "1", remember=True)
    Sysctls(record, top=top).set("net/forward", "1", remember=True)
    sysctls.set("net/own", "1")
    (top / "net" / "contested").write_text("2")
    Sysctls(record, top=top).restore()
    assert {path.name: path.read_text().strip() for path in (top / "net").iterdir()} == {
        "forward": "0",
        "own": "1",
        "contested": "2",
    }
    assert not record.exists()
    sysctls.restore()
    assert sysctls.exists("net/own")
    assert not sysctls.exists("net/ipv6")
    with pytest.raises(NetworkError, match=r'cannot set sysctl "net.missing" to 1: no such file'):
        sysctls.set("net/missing", "1")


def test_a_broken_record_is_no_obstacle(tmp_path: Path) -> None:
    for content in ("", "[]", "{", '{"a": 1}', '{"a": [1]}'):
        (tmp_path / "record").write_text(content)
        Sysctls(tmp_path / "record", top=tmp_path).restore()
        assert not (tmp_path / "record").exists()


def message(kind: int, size: int) -> bytes:
    return struct.pack("=IHHII", 16 + size, kind, 0, 0, 0) + b"\0" * (size + -size % 4)


def test_deletions_are_seen_among_other_messages() -> None:
    new_set, del_table = 10 << 8 | 9, 10 << 8 | 2
    assert deletes_table(message(new_set, 7) + message(del_table, 4))
    assert not deletes_table(message(new_set, 7) + message(new_set, 0))
    assert not deletes_table(b"\0" * 16 + b"\0" * 8)


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def flow_tuple(source: str, destination: str, protocol: int, port: int) -> bytes:
    addresses = attribute(1, IPv4Address(source).packed) + attribute(2, IPv4Address(destination).packed)
    ports = attribute(1, bytes([protocol])) + attribute(2, b"\0\x05") + attribute(3, port.to_bytes(2, "big"))
    return attribute(0x8001, addresses) + attribute(0x8002, ports)


def test_flows_are_taken_apart() -> None:
    original = attribute(0x8001, flow_tuple("192.0.2.9", "192.0.2.1", 17, 514))
    reply = attribute(0x8002, flow_tuple("10.88.0.2", "192.0.2.9", 17, 5))
    zone = attribute(18, b"\0\x07")
    flow = decode_flow(original + attribute(3, b"\0\0\0\1") + reply + zone)
    assert flow is not None
    assert (str(flow.destination), flow.port, str(flow.answered_by)) == ("192.0.2.1", 514, "10.88.0.2")
    assert flow.key == original + zone
    tcp = attribute(0x8001, flow_tuple("192.0.2.9", "192.0.2.1", 6, 514))
    assert decode_flow(tcp + reply) is None
    assert decode_flow(original) is None
