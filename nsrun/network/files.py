"""The files that give a pod its names and its name servers: hosts and resolv.conf, below the pod's directory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path

from nsrun.model.hostname import fqdn, hostname
from nsrun.model.pod import Pod
from nsrun.network.dns import (
    ClusterDns,
    Resolver,
    parse_resolv_conf,
    pod_resolver,
    reachable,
    render_resolv_conf,
    wants_upstream_file,
)
from nsrun.network.hosts import render_host_network_hosts, render_hosts
from nsrun.support.atomic import write_atomic
from nsrun.support.layout import Layout

__all__ = ["HostFiles", "PodFiles"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFiles:
    """The host's own. ``resolv_conf`` None: pods have no name servers but what they say themselves. ``upstream``: read
    instead when the host's names only the host itself, for a pod that cannot ask there."""

    hosts: Path = Path("/etc/hosts")
    resolv_conf: Path | None = Path("/etc/resolv.conf")
    upstream: Path = Path("/run/systemd/resolve/resolv.conf")


class PodFiles:
    """Written once in a pod's life: its containers have them mounted, and may have changed them. Methods block."""

    def __init__(
        self, layout: Layout, *, host: HostFiles, cluster: ClusterDns, name_server: Callable[[], str] = str
    ) -> None:
        """``name_server``: where a pod can ask the host's own name server, which it cannot reach itself; "" when
        nowhere."""
        self._layout = layout
        self._name_server = name_server
        self._host = host
        self._cluster = cluster

    def write(self, pod: Pod, address: IPv4Address | None, *, new: bool) -> None:
        """``address`` None: the pod is in the host's network. ``new``: what is there is an earlier pod's.

        Raises NetworkError and OSError.
        """
        layout, uid = self._layout, pod.uid
        layout.pods.mkdir(mode=0o700, parents=True, exist_ok=True)
        layout.pod(uid).mkdir(mode=0o700, exist_ok=True)
        wanted: tuple[tuple[Path, Callable[[], str]], ...] = (
            (layout.etc_hosts(uid), lambda: self._hosts(pod, address)),
            (layout.resolv_conf(uid), lambda: render_resolv_conf(self._resolver(pod)[0])),
        )
        for path, text in wanted:
            if new or not path.exists():
                write_atomic(path, text().encode(), mode=0o644, durable=False)

    def remove(self, uid: str) -> None:
        """They need not be there. Raises OSError."""
        for path in (self._layout.etc_hosts(uid), self._layout.resolv_conf(uid)):
            path.unlink(missing_ok=True)

    def warnings(self, pod: Pod) -> tuple[str, ...]:
        """What the pod asks for and its files do not say, one sentence each."""
        return self._resolver(pod)[1]

    def _hosts(self, pod: Pod, address: IPv4Address | None) -> str:
        aliases = pod.spec.host_aliases
        if address is None:
            return render_host_network_hosts(_read_if_present(self._host.hosts), aliases)
        return render_hosts(address, hostname(pod), fqdn(pod, self._cluster.domain), aliases)

    def _resolver(self, pod: Pod) -> tuple[Resolver, tuple[str, ...]]:
        return pod_resolver(pod, self._host_resolver(own_network=not pod.spec.host_network), self._cluster)

    def _host_resolver(self, *, own_network: bool) -> Resolver | None:
        """The host's resolv.conf, or the one that names the servers a local resolver asks."""
        if self._host.resolv_conf is None:
            return None
        text = _read_if_present(self._host.resolv_conf)
        if not own_network:
            return parse_resolv_conf(text)
        if wants_upstream_file(text):
            if server := self._name_server():
                return replace(parse_resolv_conf(text), nameservers=(server,))
            text = _read_if_present(self._host.upstream) or text
        return reachable(parse_resolv_conf(text))


def _read_if_present(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
