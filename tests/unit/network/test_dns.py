"""A pod's resolv.conf and hosts file."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from nsrun.network.dns import render_resolv_conf, wants_upstream_file
from nsrun.network.hosts import hostname, render_hosts

NONE = "# the host names no server that a pod could reach\n"


@pytest.mark.parametrize(
    ("host", "pod"),
    [
        ("nameserver 192.0.2.1\n", "nameserver 192.0.2.1\n"),
        ("nameserver 192.0.2.1 # ours\n; nameserver 192.0.2.2\n#nameserver 192.0.2.3", "nameserver 192.0.2.1\n"),
        (
            "".join(f"nameserver 192.0.2.{n}\n" for n in range(1, 6)),
            "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n",
        ),
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
    ],
)
def test_resolv_conf(host: str, pod: str) -> None:
    assert render_resolv_conf(host) == pod


def test_searches_have_limits() -> None:
    many = " ".join(f"s{n}.example" for n in range(40))
    assert len(render_resolv_conf(f"search {many}\n").splitlines()[1].split()) == 1 + 32
    long = " ".join(f"{'x' * 60}.{n:03}.example" for n in range(32))
    line = render_resolv_conf(f"search {long}\n").splitlines()[1].removeprefix("search ")
    assert len(line) <= 2048
    assert len(line) > 2048 - 80


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


def test_hosts_is_the_kubelets() -> None:
    assert render_hosts(IPv4Address("10.88.0.2"), "nginx") == (
        "# Kubernetes-managed hosts file.\n"
        "127.0.0.1\tlocalhost\n"
        "::1\tlocalhost ip6-localhost ip6-loopback\n"
        "fe00::0\tip6-localnet\n"
        "fe00::0\tip6-mcastprefix\n"
        "fe00::1\tip6-allnodes\n"
        "fe00::2\tip6-allrouters\n"
        "10.88.0.2\tnginx\n"
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [("nginx", "nginx"), ("a" * 62 + "-b", "a" * 62), ("a" * 62 + ".b", "a" * 62), ("x" * 70, "x" * 63)],
)
def test_hostname(name: str, expected: str) -> None:
    assert hostname(name) == expected
