"""A pod's resolv.conf: every policy, every merge, every limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsrun.errors import NetworkError
from nsrun.model.container import Container, PullPolicy
from nsrun.model.pod import DnsConfig, DnsPolicy, ObjectMeta, Pod, PodSpec
from nsrun.network.dns import (
    ClusterDns,
    Resolver,
    limited,
    merged,
    parse_resolv_conf,
    pod_resolver,
    reachable,
    render_resolv_conf,
    wants_upstream_file,
)

NONE = "# there is no name server that this pod could reach\n"
HOST = Resolver(nameservers=("192.0.2.1",), searches=("example.org",), options=("edns0",))
CLUSTER = ClusterDns(servers=("10.96.0.10", "10.96.0.11"))
NO_CLUSTER = ClusterDns()


def pod(policy: DnsPolicy = DnsPolicy.CLUSTER_FIRST, *, host_network: bool = False, **config: Any) -> Pod:
    container = Container(name="c", image="i", image_pull_policy=PullPolicy.NEVER)
    spec = PodSpec(
        containers=(container,), dns_policy=policy, host_network=host_network, dns_config=DnsConfig(**config)
    )
    return Pod(metadata=ObjectMeta(name="p", namespace="shop", uid="u"), spec=spec)


@pytest.mark.parametrize(
    ("host", "written"),
    [
        ("nameserver 192.0.2.1\n", "nameserver 192.0.2.1\n"),
        ("nameserver 192.0.2.1 # ours\n; nameserver 192.0.2.2\n#nameserver 192.0.2.3", "nameserver 192.0.2.1\n"),
        (
            "nameserver 127.0.0.1\nnameserver ::1\nnameserver 2001:db8::1\nnameserver 192.0.2.1",
            "nameserver 192.0.2.1\n",
        ),
        ("", NONE),
        ("nameserver\nnonsense\n", NONE),
        ("search a.example\nsearch b.example. c.example b.example\n", f"{NONE}search b.example c.example\n"),
        ("domain d.example\n", f"{NONE}search d.example\n"),
        ("search .\n", f"{NONE}search .\n"),
        ("options ndots:2 edns0\noptions ndots:2 rotate", f"{NONE}options ndots:2 edns0 rotate\n"),
        ("search bell\x07 x\nnameserver 192.0.2.1", "nameserver 192.0.2.1\n"),
    ],
)
def test_what_a_pod_takes_over_from_the_host(host: str, written: str) -> None:
    assert render_resolv_conf(reachable(parse_resolv_conf(host))) == written


def test_in_the_hosts_network_the_hosts_own_resolver_can_be_asked() -> None:
    host = parse_resolv_conf("nameserver 127.0.0.53\noptions edns0 trust-ad\n")
    found, warnings = pod_resolver(pod(host_network=True), host, CLUSTER)
    assert render_resolv_conf(found) == "nameserver 127.0.0.53\noptions edns0 trust-ad\n"
    assert warnings == ()


IN_CLUSTER = Resolver(
    nameservers=CLUSTER.servers,
    searches=("shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.org"),
    options=("ndots:5",),
)
NOWHERE = Resolver(nameservers=("127.0.0.1",), searches=(".",))
FIRST, WITH_HOST = DnsPolicy.CLUSTER_FIRST, DnsPolicy.CLUSTER_FIRST_WITH_HOST_NET


@pytest.mark.parametrize(
    ("wanted", "cluster", "host", "expected"),
    [
        (pod(FIRST), CLUSTER, HOST, IN_CLUSTER),
        (pod(FIRST), NO_CLUSTER, HOST, HOST),
        (pod(FIRST, host_network=True), CLUSTER, HOST, HOST),
        (pod(WITH_HOST, host_network=True), CLUSTER, HOST, IN_CLUSTER),
        (pod(WITH_HOST), CLUSTER, HOST, IN_CLUSTER),
        (pod(DnsPolicy.DEFAULT), CLUSTER, HOST, HOST),
        (pod(DnsPolicy.NONE, nameservers=("192.0.2.9",)), CLUSTER, HOST, Resolver(nameservers=("192.0.2.9",))),
        (pod(DnsPolicy.DEFAULT), CLUSTER, None, NOWHERE),
        (pod(FIRST), NO_CLUSTER, None, NOWHERE),
    ],
)
def test_policies(wanted: Pod, cluster: ClusterDns, host: Resolver | None, expected: Resolver) -> None:
    assert pod_resolver(wanted, host, cluster) == (expected, ())


def test_a_cluster_without_a_domain_or_a_host_without_resolver() -> None:
    assert pod_resolver(pod(), HOST, ClusterDns(servers=("10.0.0.1",), domain=""))[0].searches == ("example.org",)
    found = pod_resolver(pod(), None, CLUSTER)[0]
    assert (found.nameservers, found.searches[-1]) == (CLUSTER.servers, "cluster.local")


def test_who_asks_for_a_cluster_that_is_not_there_is_told() -> None:
    found, warnings = pod_resolver(pod(WITH_HOST, host_network=True), HOST, NO_CLUSTER)
    assert found == HOST
    (warning,) = warnings
    assert warning.endswith('there is no --cluster-dns; falling back to "Default"')


def test_the_pods_own_words_are_merged() -> None:
    config = DnsConfig(
        nameservers=("192.0.2.2", "192.0.2.1"),
        searches=("example.org", "more.example"),
        options=(("ndots", "2"), ("rotate", None), ("edns0", None), ("attempts", "")),
    )
    base = Resolver(nameservers=("192.0.2.1",), searches=("example.org",), options=("ndots:5", "edns0", "timeout:3"))
    assert merged(base, config) == Resolver(
        nameservers=("192.0.2.1", "192.0.2.2"),
        searches=("example.org", "more.example"),
        options=("ndots:2", "edns0", "timeout:3", "rotate", "attempts"),
    )


def test_nameservers_have_a_limit() -> None:
    found, warnings = limited(Resolver(nameservers=tuple(f"192.0.2.{n}" for n in range(1, 6))))
    assert found.nameservers == ("192.0.2.1", "192.0.2.2", "192.0.2.3")
    assert warnings == (
        "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: "
        "192.0.2.1 192.0.2.2 192.0.2.3",
    )


def test_searches_have_limits() -> None:
    found, (warning,) = limited(Resolver(searches=tuple(f"s{n}.example" for n in range(40))))
    assert len(found.searches) == 32
    assert warning.endswith(f"the applied search line is: {' '.join(found.searches)}")
    found, _ = limited(Resolver(searches=tuple(f"{'x' * 60}.{n:03}.example" for n in range(32))))
    line = " ".join(found.searches)
    assert 2048 - 80 < len(line) <= 2048
    found, (warning,) = limited(Resolver(searches=("a.example", "x" * 254, "b.example")))
    assert found.searches == ("a.example", "b.example")
    assert limited(HOST) == (HOST, ())


@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        ("nameserver 127.0.0.53\noptions edns0\n", True),
        ("nameserver 127.0.0.1\nnameserver ::1\nnameserver 0.0.0.0\n", True),
        ("nameserver 127.0.0.53\nnameserver 192.0.2.1\n", False),
        ("nameserver 2001:db8::1\n", False),
        ("", False),
    ],
)
def test_a_host_that_asks_only_itself(host: str, *, wanted: bool) -> None:
    assert wants_upstream_file(host) is wanted


WRITERS: list[Callable[[str], Resolver]] = [
    lambda word: Resolver(nameservers=(word,)),
    lambda word: Resolver(searches=(word,)),
    lambda word: Resolver(options=(word,)),
]


@given(st.text(max_size=12), st.sampled_from(WRITERS))
def test_nothing_is_ever_more_than_one_word(word: str, make: Callable[[str], Resolver]) -> None:
    """Whatever a manifest says, and whoever forgot to check it: one word is written, or nothing at all."""
    try:
        text = render_resolv_conf(make(word))
    except NetworkError:
        return
    assert text.isascii()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert [line.split()[1:] for line in lines] == [[word]]


@pytest.mark.parametrize("word", ["a b", "a\nnameserver 6.6.6.6", "#", "a;b", "", "\x00", "ä", "a\tb", "a\r"])
def test_words_that_are_none(word: str) -> None:
    with pytest.raises(NetworkError, match=r"cannot write resolv\.conf: .* is not one word"):
        render_resolv_conf(Resolver(options=(word,)))
