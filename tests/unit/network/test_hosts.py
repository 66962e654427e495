"""A pod's hosts file."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsrun.errors import NetworkError
from nsrun.model.pod import HostAlias
from nsrun.network.hosts import render_host_network_hosts, render_hosts

ADDRESS = IPv4Address("10.88.0.2")
HEADER = (
    "# Kubernetes-managed hosts file.\n"
    "127.0.0.1\tlocalhost\n"
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::0\tip6-localnet\n"
    "fe00::0\tip6-mcastprefix\n"
    "fe00::1\tip6-allnodes\n"
    "fe00::2\tip6-allrouters\n"
)


def test_it_is_the_kubelets() -> None:
    assert render_hosts(ADDRESS, "nginx") == f"{HEADER}10.88.0.2\tnginx\n"


def test_with_a_subdomain() -> None:
    found = render_hosts(ADDRESS, "web", "web.db.shop.svc.cluster.local")
    assert found == f"{HEADER}10.88.0.2\tweb.db.shop.svc.cluster.local\tweb\n"


def test_with_aliases() -> None:
    aliases = (
        HostAlias(ip="127.0.0.1", hostnames=("foo.local", "bar.local")),
        HostAlias(ip="fe80::1", hostnames=("six",)),
    )
    entries = "\n# Entries added by HostAliases.\n127.0.0.1\tfoo.local\tbar.local\nfe80::1\tsix\n"
    assert render_hosts(ADDRESS, "web", aliases=aliases) == f"{HEADER}10.88.0.2\tweb\n{entries}"
    assert render_host_network_hosts("127.0.0.1 localhost\n192.0.2.7 me\n", aliases) == (
        f"# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n192.0.2.7 me\n{entries}"
    )
    assert render_host_network_hosts("") == "# Kubernetes-managed hosts file (host network).\n"


@given(st.text(max_size=12))
def test_nothing_is_ever_more_than_one_word(word: str) -> None:
    """Whatever a manifest says, and whoever forgot to check it: one word is written, or nothing at all."""
    for host, fqdn in ((word, ""), ("h", word), (word, "h.example")):
        try:
            text = render_hosts(ADDRESS, host, fqdn)
        except NetworkError:
            continue
        assert text.removeprefix(HEADER).split() == [str(ADDRESS), *filter(None, (fqdn, host))]
        assert text.count("\n") == HEADER.count("\n") + 1


@pytest.mark.parametrize("word", ["a b", "a\n6.6.6.6\tbank.example", "#", "", "\x00", "ä", "a\tb"])
def test_words_that_are_none(word: str) -> None:
    for alias in (HostAlias(ip=word, hostnames=("h",)), HostAlias(ip="192.0.2.1", hostnames=("h", word))):
        with pytest.raises(NetworkError, match=r"cannot write the hosts file: .* is not one word"):
            render_hosts(ADDRESS, "h", aliases=(alias,))
