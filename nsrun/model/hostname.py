"""What a pod is called: its host name, and its fully qualified name when it has a subdomain.

The rules are the kubelet's (pkg/kubelet/kubelet_pods.go, GeneratePodHostNameAndDomain and getNodenameForKernel).
"""

from __future__ import annotations

from nsrun.model.pod import Pod

__all__ = ["KERNEL_MAX", "fqdn", "hostname", "kernel_hostname"]

LABEL_MAX = 63
"""RFC 1123."""
KERNEL_MAX = 64
"""__NEW_UTS_LEN: bytes of a host name in a UTS namespace."""


def hostname(pod: Pod) -> str:
    """The short name: ``hostnameOverride``, else ``hostname``, else the pod's name, cut to what DNS takes.

    A pod in the host's network has the host's name instead; that is for the caller to know.
    """
    spec = pod.spec
    if spec.hostname_override is not None:
        return spec.hostname_override
    return (spec.hostname or pod.metadata.name)[:LABEL_MAX].rstrip("-.")


def fqdn(pod: Pod, cluster_domain: str) -> str:
    """``<host>.<subdomain>.<namespace>.svc.<domain>``; "" for a pod without a subdomain, or with an overridden name."""
    spec = pod.spec
    if spec.hostname_override is not None or not spec.subdomain:
        return ""
    return ".".join(filter(None, (hostname(pod), spec.subdomain, pod.metadata.namespace, "svc", cluster_domain)))


def kernel_hostname(pod: Pod, cluster_domain: str) -> str:
    """What uname(2) says in the pod. Raises ValueError, in the kubelet's words, when the kernel cannot hold it."""
    full = fqdn(pod, cluster_domain)
    if not full or not pod.spec.set_hostname_as_fqdn:
        return hostname(pod)
    if len(full) > KERNEL_MAX:
        raise ValueError(
            f"FQDN {full} is too long ({KERNEL_MAX} characters is the max, {len(full)} characters requested)"
        )
    return full
