"""The link to the outside and the programs that carry it: what they are started with, and what is written down."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsrun.host.rootless.holding import Holder
from nsrun.network.connector import PROGRAMS, Record, decode_record, encode_record
from nsrun.network.pasta import PASTA
from nsrun.network.slirp4netns import SLIRP4NETNS
from nsrun.network.uplink import TAP, ConnectorProgram, Uplink, free_uplink

LINK = Uplink(network=IPv4Network("10.0.2.0/24"))
NETNS = Path("/run/user/1000/netns/nsrun")


def arguments(program: ConnectorProgram, *options: str) -> list[str]:
    return list(program.arguments(frozenset(options), LINK, NETNS))


def value(words: Sequence[str], option: str) -> str:
    return words[words.index(option) + 1]


def networks(*texts: str) -> list[IPv4Network]:
    return [IPv4Network(text) for text in texts]


def test_pasta_is_the_first_choice() -> None:
    assert [program.name for program in PROGRAMS] == ["pasta", "slirp4netns"]
    assert [program.package for program in PROGRAMS] == ["passt", "slirp4netns"]


def test_pasta_keeps_what_is_the_hosts_own_from_pods() -> None:
    words = arguments(PASTA)
    assert "--no-map-gw" in words
    for option in ("--tcp-ports", "--udp-ports", "--tcp-ns", "--udp-ns"):
        assert value(words, option) == "none"


def test_pasta_is_told_the_link() -> None:
    words = arguments(PASTA)
    told = {
        option: value(words, option) for option in ("--address", "--netmask", "--gateway", "--dns-forward", "--mtu")
    }
    assert told == {
        "--address": "10.0.2.100",
        "--netmask": "24",
        "--gateway": "10.0.2.2",
        "--dns-forward": "10.0.2.3",
        "--mtu": "65520",
    }
    assert value(words, "--netns") == str(NETNS)
    assert value(words, "--ns-ifname") == TAP
    assert "--foreground" in words


def test_slirp_keeps_what_is_the_hosts_own_from_pods() -> None:
    words = arguments(SLIRP4NETNS)
    assert "--disable-host-loopback" in words
    assert words[-3:] == ["--netns-type=path", str(NETNS), TAP]
    assert {"--mtu=65520", "--cidr=10.0.2.0/24", "--configure"} <= set(words)


@pytest.mark.parametrize("option", ["--enable-sandbox", "--enable-seccomp"])
def test_slirp_confines_itself_where_it_can(option: str) -> None:
    assert option in arguments(SLIRP4NETNS, option)
    assert option not in arguments(SLIRP4NETNS)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_what_a_program_is_started_with_it_is_required_to_have(program: ConnectorProgram) -> None:
    """An option that came late must be asked for before; these are as old as the program."""
    old = {"--foreground", "--quiet", "--mtu", "--address", "--netmask", "--gateway", "--ipv4-only"}
    old |= {"--tcp-ports", "--udp-ports", "--tcp-ns", "--udp-ns", "--no-dhcp", "--no-ndp", "--no-dhcpv6", "--no-ra"}
    used = {word.partition("=")[0] for word in arguments(program) if word.startswith("--")}
    assert used - old <= program.required


def test_the_link_has_a_range_that_nobody_else_has() -> None:
    assert free_uplink([]).network == IPv4Network("10.0.2.0/24")
    assert free_uplink(networks("0.0.0.0/0", "192.168.1.0/24")).network == IPv4Network("10.0.2.0/24")
    assert free_uplink(networks("10.0.2.0/24")).network == IPv4Network("10.199.199.0/24")
    assert free_uplink(networks("10.0.0.0/8", "172.16.0.0/12")).network == IPv4Network("192.168.254.0/24")


def test_when_every_range_is_taken_there_is_a_link_nevertheless() -> None:
    everything = networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
    assert free_uplink(everything).network == IPv4Network("10.0.2.0/24")


@given(
    st.builds(Holder, st.integers(1, 1 << 22), st.integers(0, 1 << 40), st.uuids().map(str)), st.integers(1, 1 << 32)
)
def test_a_record_is_read_as_it_was_written(process: Holder, netns: int) -> None:
    record = Record(program="pasta", process=process, netns=netns, network=LINK.network)
    assert decode_record(encode_record(record)) == record


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"7", b'{"pid": "x"}', b"\xff", b'{"pid":1,"ticks":2,"boot":"b"}'])
def test_what_is_no_record_is_none(text: bytes) -> None:
    assert decode_record(text) is None
