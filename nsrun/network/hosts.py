"""A pod's /etc/hosts, byte for byte as the kubelet writes it. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address

__all__ = ["hostname", "render_hosts"]

_HEADER = (
    "# Kubernetes-managed hosts file.\n"
    "127.0.0.1\tlocalhost\n"
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::0\tip6-localnet\n"
    "fe00::0\tip6-mcastprefix\n"
    "fe00::1\tip6-allnodes\n"
    "fe00::2\tip6-allrouters\n"
)


def hostname(pod: str) -> str:
    """A pod's host name: its name, cut to the 63 characters a host name may have, not ending in ``-`` or ``.``."""
    return pod[:63].rstrip("-.")


def render_hosts(address: IPv4Address, host: str) -> str:
    """The file of a pod with this address and host name."""
    return f"{_HEADER}{address}\t{host}\n"
