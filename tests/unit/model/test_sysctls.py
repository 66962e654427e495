"""Kernel parameters that pods may set."""

from __future__ import annotations

import pytest

from nsrun.model.sysctls import SAFE, SysctlNamespace, allows, dotted, namespace_of, pattern_problem


def test_every_safe_one_belongs_to_a_namespace() -> None:
    assert all(namespace_of(name) is not None for name in SAFE)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("net/ipv4/conf/eth0.1/forwarding", "net.ipv4.conf.eth0/1.forwarding"),
        ("net.ipv4.conf.eth0/1.forwarding", "net.ipv4.conf.eth0/1.forwarding"),
        ("kernel.sem", "kernel.sem"),
        ("sem", "sem"),
    ],
)
def test_the_first_separator_decides(name: str, expected: str) -> None:
    assert dotted(name) == expected


@pytest.mark.parametrize(
    ("name", "namespace"),
    [
        ("kernel.sem", SysctlNamespace.IPC),
        ("kernel.shmmax", SysctlNamespace.IPC),
        ("kernel.msgmni", SysctlNamespace.IPC),
        ("fs.mqueue.msg_max", SysctlNamespace.IPC),
        ("net.core.somaxconn", SysctlNamespace.NET),
        ("network.x", None),
        ("kernel.semaphore", None),
        ("vm.swappiness", None),
    ],
)
def test_namespaces(name: str, namespace: SysctlNamespace | None) -> None:
    assert namespace_of(name) is namespace


@pytest.mark.parametrize("pattern", ["kernel.msg*", "net.*", "net/core/*", "kernel.sem", "fs.mqueue.*", "kernel.shm*"])
def test_what_an_operator_can_allow(pattern: str) -> None:
    assert pattern_problem(pattern) is None


@pytest.mark.parametrize("pattern", ["*", "kernel.*", "vm.swappiness", "ker*", "network*"])
def test_what_is_the_whole_machines(pattern: str) -> None:
    assert str(pattern_problem(pattern)).endswith("it would be set for the whole machine")


@pytest.mark.parametrize("pattern", ["", "net..x", "net.*.x", "a b", "../x", "NET.x", "net." + "x" * 260, "net.x\n"])
def test_what_is_no_name(pattern: str) -> None:
    assert "is no name of a sysctl" in str(pattern_problem(pattern))


def test_a_pattern_is_the_beginning_of_a_name() -> None:
    assert allows(("net.ipv4.*",), "net.ipv4.tcp_mem")
    assert not allows(("net.ipv4.*",), "net.ipv6.tcp_mem")
    assert not allows(("net.ipv4",), "net.ipv4.tcp_mem")
