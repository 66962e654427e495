"""Hosts and resolv.conf are lines of words: nothing a manifest says becomes a line, or a word, of its own.

The manifest is checked long before; here that check is left out, as if it had a hole. Each test ends by taking the last
defence out as well and seeing the attack succeed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from nsrun.errors import NetworkError
from nsrun.model.pod import DnsConfig, HostAlias, Pod
from nsrun.network import dns, hosts
from tests.system.network.world import World, make_pod

pytestmark = [pytest.mark.root, pytest.mark.network]

EVIL = "a\n6.6.6.6 bank.example"


def pod(**spec: Any) -> Pod:
    plain = make_pod("a")
    return replace(plain, spec=replace(plain.spec, **spec))


def unchecked(text: str) -> str:
    return text


IN_HOSTS = {
    "a host name": pod(hostname_override=EVIL),
    "a subdomain": pod(subdomain=EVIL),
    "an alias": pod(host_aliases=(HostAlias(ip="192.0.2.1", hostnames=("b", EVIL)),)),
    "the address of an alias": pod(host_aliases=(HostAlias(ip=EVIL, hostnames=("b",)),)),
    "an alias in the host's network": pod(
        host_network=True, host_aliases=(HostAlias(ip="192.0.2.1", hostnames=(EVIL,)),)
    ),
}
IN_RESOLV_CONF = {
    "a name server": pod(dns_config=DnsConfig(nameservers=(EVIL,))),
    "a search": pod(dns_config=DnsConfig(searches=(EVIL,))),
    "an option": pod(dns_config=DnsConfig(options=((EVIL, None),))),
    "the value of an option": pod(dns_config=DnsConfig(options=(("ndots", EVIL),))),
}


async def attack(
    world: World, wanted: Pod, monkeypatch: pytest.MonkeyPatch, module: object, read: Callable[[], str]
) -> None:
    with pytest.raises(NetworkError, match="is not one word"):
        await world.attach(wanted)
    assert await world.service.owners() == frozenset()
    assert world.leftovers() == []
    monkeypatch.setattr(module, "_word", unchecked)
    await world.attach(wanted)
    assert "\n6.6.6.6 bank.example" in read()


@pytest.mark.parametrize("where", IN_HOSTS)
async def test_nothing_becomes_a_line_of_hosts(world: World, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = IN_HOSTS[where]
    await attack(world, wanted, monkeypatch, hosts, lambda: world.layout.etc_hosts(wanted.uid).read_text())


@pytest.mark.parametrize("where", IN_RESOLV_CONF)
async def test_nothing_becomes_a_line_of_resolv_conf(world: World, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = IN_RESOLV_CONF[where]
    await attack(world, wanted, monkeypatch, dns, lambda: world.layout.resolv_conf(wanted.uid).read_text())


async def test_what_the_hosts_own_file_says_is_words_too(world: World) -> None:
    """A DHCP server has a say in the host's resolv.conf."""
    path = world.layout.root / "host-resolv.conf"
    path.write_text("search good.example b\x00ad\nnameserver 192.0.2.53\noptions \x1b[31m\n", encoding="utf-8")
    wanted = make_pod("a")
    await world.attach(wanted)
    assert world.layout.resolv_conf(wanted.uid).read_text() == "nameserver 192.0.2.53\n"
