"""The service is what the supervisor asks for."""

from __future__ import annotations

from ipaddress import IPv4Network

from nsrun.network.service import NetworkService
from nsrun.supervisor.ports import Network
from nsrun.support.layout import Layout


def test_the_service_is_a_network() -> None:
    service: Network = NetworkService(layout=Layout(), pod_cidr=IPv4Network("10.88.0.0/16"))
    assert service is not None  # the type checker has said the rest
