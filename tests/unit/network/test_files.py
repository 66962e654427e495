"""A pod's resolv.conf on hosts that ask themselves, with somebody who takes questions there, and without."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from nsrun.network.dns import ClusterDns
from nsrun.network.files import HostFiles, PodFiles
from nsrun.support.layout import Layout
from tests.unit.supervisor.world import pod

LOCAL = "nameserver 127.0.0.53\nsearch example.org\noptions edns0\n"
PUBLIC = "nameserver 192.0.2.53\nsearch example.org\n"
FORWARDED = "nameserver 10.0.2.3\nsearch example.org\noptions edns0\n"


def written(tmp_path: Path, host: str, name_server: str, *, host_network: bool = False, upstream: str = "") -> str:
    layout = Layout(root=tmp_path / "root", run_dir=tmp_path / "run")
    (tmp_path / "resolv.conf").write_text(host)
    (tmp_path / "upstream").write_text(upstream)
    host_files = HostFiles(resolv_conf=tmp_path / "resolv.conf", upstream=tmp_path / "upstream")
    files = PodFiles(layout, host=host_files, cluster=ClusterDns(), name_server=lambda: name_server)
    web = pod("web")
    web = replace(web, spec=replace(web.spec, host_network=host_network))
    files.write(web, None if host_network else IPv4Address("10.99.0.2"), new=True)
    return layout.resolv_conf(web.uid).read_text()


@pytest.mark.parametrize("upstream", ["", PUBLIC])
def test_the_hosts_own_server_is_asked_through_the_connector(tmp_path: Path, upstream: str) -> None:
    assert written(tmp_path, LOCAL, "10.0.2.3", upstream=upstream) == FORWARDED


def test_without_a_connector_the_servers_behind_it_are_asked(tmp_path: Path) -> None:
    assert written(tmp_path, LOCAL, "", upstream=PUBLIC) == PUBLIC


def test_servers_that_pods_reach_themselves_are_asked_directly(tmp_path: Path) -> None:
    assert written(tmp_path, PUBLIC, "10.0.2.3") == PUBLIC


def test_a_pod_of_the_hosts_network_asks_as_the_host_does(tmp_path: Path) -> None:
    assert written(tmp_path, LOCAL, "10.0.2.3", host_network=True) == LOCAL
