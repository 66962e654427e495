"""kubectl's words for ports and addresses."""

from __future__ import annotations

import socket

import pytest

from nsrun.cli.forwarding.forwards import Address, Forward, listen_addresses, named_ports, parse_forward
from nsrun.errors import NsrunError

NAMED = {"http": 80, "metrics": 9090}


@pytest.mark.parametrize(
    ("text", "local", "remote"),
    [
        ("80", 80, 80),
        ("8080:80", 8080, 80),
        (":80", 0, 80),
        ("0:80", 0, 80),
        ("http", 80, 80),
        ("8080:http", 8080, 80),
        (":metrics", 0, 9090),
        ("65535:1", 65535, 1),
    ],
)
def test_ports(text: str, local: int, remote: int) -> None:
    assert parse_forward(text, NAMED) == Forward(local=local, remote=remote)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "no port of the pod"),
        ("80:", "no port of the pod"),
        ("0", '"0" is no port'),
        ("8080:0", '"0" is no port'),
        ("65536", '"65536" is no port'),
        ("65536:80", '"65536" is no port'),
        ("x:80", '"x" is no port'),
        ("-1:80", '"-1" is no port'),
        ("1:2:3", '"1:2" is no port'),
        ("https", 'called "https"'),
        ("8080:8 0", 'called "8 0"'),
        ("٨٠", 'called "٨٠"'),
        ("9" * 5000, "is no port"),
    ],
)
def test_what_is_no_port(text: str, cause: str) -> None:
    with pytest.raises(NsrunError) as error:
        parse_forward(text, NAMED)
    assert cause in error.value.message


def test_a_pod_without_named_ports_has_no_hint() -> None:
    with pytest.raises(NsrunError) as error:
        parse_forward("http", {})
    assert error.value.hint is None


def test_ports_that_have_names() -> None:
    pod = {
        "spec": {
            "containers": [
                {"name": "a", "ports": [{"containerPort": 53, "name": "dns", "protocol": "UDP"}, {"containerPort": 1}]},
                {"name": "b", "ports": [{"containerPort": 80, "name": "http", "protocol": "TCP"}]},
                {"name": "c", "ports": [{"containerPort": 81, "name": "http"}]},
            ]
        }
    }
    assert named_ports(pod) == {"http": 80}


def test_addresses() -> None:
    assert listen_addresses("10.0.0.1, ::1,10.0.0.1") == (
        Address(family=socket.AF_INET, host="10.0.0.1"),
        Address(family=socket.AF_INET6, host="::1"),
    )
    assert [one.shown(80) for one in listen_addresses("localhost")] == ["127.0.0.1:80", "[::1]:80"]
    assert all(one.optional for one in listen_addresses("localhost"))


@pytest.mark.parametrize("text", ["", ",", "example.com", "10.0.0", "127.0.0.1:80"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(NsrunError):
        listen_addresses(text)
