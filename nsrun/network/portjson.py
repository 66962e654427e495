"""Host ports in the books of this network: ``["TCP", "192.0.2.1", 8080, 80]``, the address "" for every one."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from nsrun.model.container import Protocol
from nsrun.model.hostports import HostPort

__all__ = ["decode_ports", "encode_ports"]


def encode_ports(ports: Iterable[HostPort]) -> list[list[object]]:
    """For JSON."""
    return [[p.protocol.value, str(p.host_ip or ""), p.host_port, p.container_port] for p in ports]


def decode_ports(items: object) -> tuple[HostPort, ...]:
    """Raises ValueError or TypeError when it is not what ``encode_ports`` makes."""
    if not isinstance(items, list):
        raise ValueError("not a list of ports")
    return tuple(
        HostPort(
            protocol=Protocol(protocol),
            host_ip=ip_address(host_ip) if host_ip else None,
            host_port=int(host_port),
            container_port=int(container_port),
        )
        for protocol, host_ip, host_port, container_port in items
    )
