"""Which ports of the host a pod takes: those it publishes, or, in the host's network, those its containers name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from nsrun.model.container import Container, Protocol, RestartPolicy
from nsrun.model.pod import Pod

__all__ = ["HostPort", "find_conflict", "host_ports"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPort:
    """A port of the host that leads to a container's. ``host_ip`` None: every address of the host."""

    protocol: Protocol
    host_ip: IPv4Address | IPv6Address | None
    host_port: int
    container_port: int

    def __str__(self) -> str:
        address = f"[{self.host_ip}]" if isinstance(self.host_ip, IPv6Address) else self.host_ip or "*"
        return f"{address}:{self.host_port}/{self.protocol}"

    def clashes(self, other: HostPort) -> bool:
        """Whether one packet could match both."""
        return (
            self.protocol == other.protocol
            and self.host_port == other.host_port
            and (self.host_ip is None or other.host_ip is None or self.host_ip == other.host_ip)
        )


def host_ports(pod: Pod) -> tuple[HostPort, ...]:
    """Those of the containers and of the sidecars: all that run side by side. Raises ValueError for a host IP that is
    no address."""
    found = []
    for container in (*pod.spec.containers, *filter(_is_sidecar, pod.spec.init_containers)):
        for port in container.ports:
            number = port.host_port or (port.container_port if pod.spec.host_network else 0)
            if number:
                found.append(
                    HostPort(
                        protocol=port.protocol,
                        host_ip=_address(port.host_ip),
                        host_port=number,
                        container_port=port.container_port,
                    )
                )
    return tuple(found)


def find_conflict(wanted: Iterable[HostPort], taken: Iterable[HostPort]) -> HostPort | None:
    """The first of ``wanted`` that clashes with one of ``taken``."""
    others = tuple(taken)
    return next((port for port in wanted if any(port.clashes(other) for other in others)), None)


def _is_sidecar(container: Container) -> bool:
    return container.restart_policy is RestartPolicy.ALWAYS


def _address(text: str) -> IPv4Address | IPv6Address | None:
    if not text:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        raise ValueError(f'host IP "{text}" is no address') from None
    return None if address.is_unspecified else address
