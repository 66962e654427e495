"""/configz: how nsrun was started, in the words of ``kubelet.config.k8s.io/v1beta1``."""

from __future__ import annotations

from nsrun.api.access import Access
from nsrun.api.certificates import own_key_pair
from nsrun.api.requests import Request
from nsrun.api.responses import Response, json_response
from nsrun.api.routes import Route
from nsrun.settings import Settings
from nsrun.supervisor.backoff import go_duration

__all__ = ["configz_routes", "kubelet_configuration"]


def configz_routes(settings: Settings) -> tuple[Route, ...]:
    """``{"kubeletconfig": {…}}``."""

    async def configz(_request: Request) -> Response:
        return json_response({"kubeletconfig": kubelet_configuration(settings)})

    return (Route(method="GET", path="/configz", access=Access.CONFIG, handler=configz),)


def kubelet_configuration(settings: Settings) -> dict[str, object]:
    """What of it a kubelet has too. A URL of manifests, and what is sent there, may hold secrets: they are left out."""
    secure = settings.secure
    own = own_key_pair(secure.directory or settings.layout.pki, ())
    return {
        "enableServer": True,
        "staticPodPath": str(settings.manifests or ""),
        "podLogsDir": str(settings.layout.pod_logs),
        "fileCheckFrequency": go_duration(settings.file_check_seconds),
        "httpCheckFrequency": go_duration(settings.http_check_seconds),
        "address": settings.address,
        "port": secure.port,
        "readOnlyPort": settings.read_only_port,
        "tlsCertFile": str(secure.certificate or own.certificate),
        "tlsPrivateKeyFile": str(secure.key or own.key),
        "tlsMinVersion": "VersionTLS12",
        "authentication": {
            "x509": {"clientCAFile": str(secure.client_ca or "")},
            "webhook": {"enabled": False},
            "anonymous": {"enabled": secure.anonymous},
        },
        "enableDebuggingHandlers": True,
        "enableSystemLogHandler": True,
        "streamingConnectionIdleTimeout": go_duration(4 * 3600),
        "clusterDomain": settings.cluster_domain,
        "clusterDNS": list(settings.cluster_dns),
        "resolvConf": str(settings.resolv_conf or ""),
        "podCIDR": str(settings.pod_cidr),
        "maxPods": settings.max_pods,
        "podPidsLimit": settings.pids_limit or -1,
        "maxOpenFiles": settings.open_files,
        "cgroupRoot": f"/{settings.cgroup_root}",
        "cgroupDriver": "cgroupfs",
        "imageGCHighThresholdPercent": settings.image_gc_high,
        "imageGCLowThresholdPercent": settings.image_gc_low,
        "imageMinimumGCAge": go_duration(settings.image_minimum_age),
        "imageMaximumGCAge": go_duration(settings.image_maximum_age),
        "containerLogMaxSize": str(settings.log_max_bytes),
        "containerLogMaxFiles": settings.log_max_files,
        "crashLoopBackOff": {"maxContainerRestartPeriod": go_duration(settings.crash_loop_max)},
        "allowedUnsafeSysctls": list(settings.unsafe_sysctls),
        "systemReserved": {name: _quantity(milli) for name, milli in settings.reserved.items()},
        "serializeImagePulls": False,
        "seccompDefault": True,
        "failSwapOn": False,
        "failCgroupV1": False,
    }


def _quantity(milli: int) -> str:
    return f"{milli // 1000}" if milli % 1000 == 0 else f"{milli}m"
