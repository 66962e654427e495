"""The daemon's settings: values only. ``cli`` fills them from flags and NSRUN_* variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path

from nsrun.support.layout import Layout

__all__ = ["SecurePort", "Settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurePort:
    """The API with TLS. ``port`` 0: none. ``certificate``, ``key``: files; None for a pair of nsrun's own in
    ``directory``, None for the usual one. ``client_ca``: whose certificates clients may show. ``tokens``: a file of
    bearer tokens. ``anonymous``: whether clients that show nothing may read."""

    port: int = 10250
    certificate: Path | None = None
    key: Path | None = None
    directory: Path | None = None
    client_ca: Path | None = None
    tokens: Path | None = None
    anonymous: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be chosen.

    ``manifests``: the directory (or file) of pod manifests, None for none. ``manifest_url``: where more are fetched
    from, "" for nowhere; it and the ``manifest_headers`` that go along may hold secrets, and are never shown.
    ``http_check_seconds``: how often it is. ``node_name``: this machine's name in UIDs and status.
    ``file_check_seconds``: how often the whole directory is read again. ``pod_cidr``: addresses of pods; the bridge has
    its first.
    ``registries_conf``, ``image_policy`` None: the system's own.
    ``image_gc_high``, ``image_gc_low``: percent of the disk at which images that nothing runs from begin to go, and
    stop to; ``image_minimum_age``, ``image_maximum_age``: how long they stay at least and, unless 0, at most.
    ``cgroup_root``: the cgroup, in every hierarchy, below which pods live.
    ``address``: where the ports of the API are. ``read_only_port`` 0: no HTTP.
    ``max_pods``: how many pods run at once. ``pids_limit`` 0: none.
    ``cluster_dns``: name servers of pods that ask for the cluster's; ``cluster_domain``: what names in it end in.
    ``resolv_conf``: where the other pods' name servers come from, None for none.
    ``open_files``: how many nsrun may have open.
    ``log_max_bytes``, ``log_max_files``: how large one file of a container's log gets, and how many there are.
    ``crash_loop_initial``, ``crash_loop_max``: seconds that a container which crashes again waits, first and at most.
    ``unsafe_sysctls``: what pods may set besides the safe ones: names, or beginnings of names with ``*``.
    ``reserved``: what is kept from pods for the rest of the machine, in thousandths of the unit by resource name.
    """

    manifests: Path | None
    node_name: str
    layout: Layout = field(default_factory=Layout)
    file_check_seconds: float = 20.0
    manifest_url: str = field(default="", repr=False)
    manifest_headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    http_check_seconds: float = 20.0
    pod_cidr: IPv4Network = IPv4Network("10.99.0.0/16")
    bridge: str = "nsrun0"
    registries_conf: Path | None = None
    image_policy: Path | None = None
    image_gc_high: int = 85
    image_gc_low: int = 80
    image_minimum_age: float = 120.0
    image_maximum_age: float = 0.0
    cgroup_root: str = "nsrun"
    address: str = "127.0.0.1"
    read_only_port: int = 10255
    secure: SecurePort = field(default_factory=SecurePort)
    max_pods: int = 110
    pids_limit: int = 0
    cluster_dns: tuple[str, ...] = ()
    cluster_domain: str = "cluster.local"
    resolv_conf: Path | None = Path("/etc/resolv.conf")
    open_files: int = 1000000
    log_max_bytes: int = 10 << 20
    log_max_files: int = 5
    crash_loop_initial: float = 10.0
    crash_loop_max: float = 300.0
    unsafe_sysctls: tuple[str, ...] = ()
    reserved: Mapping[str, int] = field(default_factory=dict)
