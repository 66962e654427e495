"""A pod's /etc/hosts, byte for byte as the kubelet writes it (pkg/kubelet/kubelet_pods.go). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address

from nsrun.errors import NetworkError
from nsrun.model.pod import HostAlias

__all__ = ["render_host_network_hosts", "render_hosts"]

_HEADER = (
    "# Kubernetes-managed hosts file.\n"
    "127.0.0.1\tlocalhost\n"
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::0\tip6-localnet\n"
    "fe00::0\tip6-mcastprefix\n"
    "fe00::1\tip6-allnodes\n"
    "fe00::2\tip6-allrouters\n"
)
_HOST_NETWORK_HEADER = "# Kubernetes-managed hosts file (host network).\n"
_ALIASES_HEADER = "\n# Entries added by HostAliases.\n"


def render_hosts(address: IPv4Address, host: str, fqdn: str = "", aliases: Sequence[HostAlias] = ()) -> str:
    """The file of a pod with this address, host name and fully qualified name ("": none). Raises NetworkError for a
    name that would be more than one word of the file."""
    names = [_word(name) for name in ((fqdn, host) if fqdn else (host,))]
    return _HEADER + "\t".join([str(address), *names]) + "\n" + _entries(aliases)


def render_host_network_hosts(host_file: str, aliases: Sequence[HostAlias] = ()) -> str:
    """The file of a pod in the host's network: the host's own, and the pod's aliases. Raises NetworkError."""
    return _HOST_NETWORK_HEADER + host_file + _entries(aliases)


def _entries(aliases: Sequence[HostAlias]) -> str:
    lines = ["\t".join([_word(alias.ip), *map(_word, alias.hostnames)]) + "\n" for alias in aliases]
    return _ALIASES_HEADER + "".join(lines) if lines else ""


def _word(text: str) -> str:
    """Whatever checked it before: nothing becomes a line, a second word or a comment of its own here."""
    if not text or not text.isascii() or not text.isprintable() or set(text) & set(" #"):
        raise NetworkError(f"cannot write the hosts file: {text!a} is not one word")
    return text
