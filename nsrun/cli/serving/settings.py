"""The daemon's settings, from the flags as they were given."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nsrun.cli.serving import values
from nsrun.errors import SettingsError
from nsrun.model.retention import ImageRetention
from nsrun.settings import SecurePort, Settings
from nsrun.support.layout import Layout

__all__ = ["settings_of"]


def settings_of(layout: Layout, manifests: Path | None, given: Mapping[str, Any]) -> Settings:
    """``given``: the flags of ``daemon_flags`` by their names in Python. Raises SettingsError."""
    crash_initial = values.seconds("--crash-loop-initial", given["crash_loop_initial"])
    crash_max = values.seconds("--crash-loop-max", given["crash_loop_max"])
    if crash_max < crash_initial:
        raise SettingsError(
            f"cannot use --crash-loop-max: {given['crash_loop_max']} is less than "
            f"--crash-loop-initial ({given['crash_loop_initial']})"
        )
    images = _retention(given)
    return Settings(
        manifests=manifests.absolute() if manifests is not None else None,
        manifest_url=values.url("--manifest-url", given["manifest_url"]),
        manifest_headers=values.headers("--manifest-url-header", given["manifest_url_header"]),
        http_check_seconds=values.seconds("--http-check-frequency", given["http_check_frequency"]),
        node_name=given["hostname_override"] or platform.node().strip().lower(),
        layout=layout,
        file_check_seconds=values.seconds("--file-check-frequency", given["file_check_frequency"]),
        pod_cidr=values.network("--pod-cidr", given["pod_cidr"]),
        bridge=values.bridge_name("--bridge", given["bridge"]),
        cluster_dns=values.addresses("--cluster-dns", given["cluster_dns"]),
        cluster_domain=values.domain("--cluster-domain", given["cluster_domain"]),
        resolv_conf=values.resolv_conf("--resolv-conf", given["resolv_conf"]),
        registries_conf=given["registries_conf"],
        image_policy=given["policy"],
        cgroup_root=given["cgroup_root"].strip("/"),
        image_gc_high=images.high_percent,
        image_gc_low=images.low_percent,
        image_minimum_age=images.minimum_age,
        image_maximum_age=images.maximum_age,
        address=given["address"],
        read_only_port=given["read_only_port"],
        secure=_secure_port(given),
        max_pods=given["max_pods"],
        pids_limit=given["pod_max_pids"],
        open_files=given["max_open_files"],
        unsafe_sysctls=values.sysctl_patterns("--allowed-unsafe-sysctls", given["allowed_unsafe_sysctls"]),
        reserved=_sum(
            values.amounts("--system-reserved", given["system_reserved"]),
            values.amounts("--kube-reserved", given["kube_reserved"]),
        ),
        log_max_bytes=values.octets("--container-log-max-size", given["container_log_max_size"]),
        log_max_files=given["container_log_max_files"],
        crash_loop_initial=crash_initial,
        crash_loop_max=crash_max,
    )


def _secure_port(given: Mapping[str, Any]) -> SecurePort:
    """Raises SettingsError."""
    certificate, key = given["tls_cert_file"], given["tls_private_key_file"]
    if (certificate is None) != (key is None):
        missing, other = "--tls-cert-file", "--tls-private-key-file"
        if certificate is not None:
            missing, other = other, missing
        raise SettingsError(f"cannot use {other}: it needs {missing}")
    return SecurePort(
        port=given["port"],
        certificate=certificate,
        key=key,
        directory=given["cert_dir"],
        client_ca=given["client_ca_file"],
        tokens=given["token_auth_file"],
        anonymous=given["anonymous_auth"],
    )


def _retention(given: Mapping[str, Any]) -> ImageRetention:
    """Raises SettingsError."""
    minimum, maximum = given["minimum_image_ttl_duration"], given["image_maximum_gc_age"]
    return ImageRetention(
        high_percent=given["image_gc_high_threshold"],
        low_percent=given["image_gc_low_threshold"],
        minimum_age=values.seconds("--minimum-image-ttl-duration", minimum, nothing=True),
        maximum_age=values.seconds("--image-maximum-gc-age", maximum, nothing=True),
    )


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}
