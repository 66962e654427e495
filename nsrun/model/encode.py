"""Values → the JSON objects of core/v1, as the kubelet gives them. ``decode_pod`` reads a pod back to the equal one.

Fields that hold their default are left out, save for those that were always there: see model/uid.py.
"""

from __future__ import annotations

from nsrun.model.encode_container import container
from nsrun.model.encode_security import pod_security
from nsrun.model.encode_status import encode_deletion, encode_status
from nsrun.model.encode_volume import volume
from nsrun.model.encoding import Json, known, quantities, resources, said
from nsrun.model.pod import DnsConfig, DnsPolicy, HostAlias, ObjectMeta, Pod, PodSpec
from nsrun.model.status import PodStatus

__all__ = ["encode_pod"]


def encode_pod(pod: Pod, status: PodStatus | None = None, *, node_name: str = "", seen: str = "") -> Json:
    """A v1.Pod. ``seen``: when the pod was first seen, RFC 3339; it and ``node_name`` are left out when empty."""
    metadata = _metadata(pod.metadata)
    if seen:
        metadata.setdefault("annotations", {})["kubernetes.io/config.seen"] = seen
    spec = _spec(pod.spec)
    if node_name:
        spec["nodeName"] = node_name
    document: Json = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    if status is not None:
        metadata.update(encode_deletion(status))
        document["status"] = encode_status(status)
    return document


def _metadata(meta: ObjectMeta) -> Json:
    return {
        "name": meta.name,
        "namespace": meta.namespace,
        **said(uid=meta.uid, labels=dict(meta.labels), annotations=dict(meta.annotations)),
    }


def _spec(spec: PodSpec) -> Json:
    return {
        **said(
            volumes=[volume(one) for one in spec.volumes],
            initContainers=[container(one) for one in spec.init_containers],
        ),
        "containers": [container(one) for one in spec.containers],
        "restartPolicy": str(spec.restart_policy),
        "terminationGracePeriodSeconds": spec.termination_grace_period_seconds,
        **known(activeDeadlineSeconds=spec.active_deadline_seconds),
        **_identity(spec),
        **_network(spec),
        **said(
            hostNetwork=spec.host_network,
            hostPID=spec.host_pid,
            hostIPC=spec.host_ipc,
            shareProcessNamespace=spec.share_process_namespace,
            securityContext=pod_security(spec.security_context),
            overhead=quantities(spec.overhead),
            priorityClassName=spec.priority_class_name,
            imagePullSecrets=[{"name": name} for name in spec.image_pull_secrets],
            readinessGates=[{"conditionType": name} for name in spec.readiness_gates],
        ),
        **known(
            hostUsers=None if spec.host_users else False,
            resources=None if spec.resources is None else resources(spec.resources),
        ),
    }


def _identity(spec: PodSpec) -> Json:
    return {
        **said(
            serviceAccountName=spec.service_account_name,
            nodeName=spec.node_name,
            hostname=spec.hostname,
            subdomain=spec.subdomain,
            setHostnameAsFQDN=spec.set_hostname_as_fqdn,
        ),
        **known(hostnameOverride=spec.hostname_override),
    }


def _network(spec: PodSpec) -> Json:
    policy = "" if spec.dns_policy is DnsPolicy.CLUSTER_FIRST else str(spec.dns_policy)
    return said(
        hostAliases=[_alias(alias) for alias in spec.host_aliases],
        dnsPolicy=policy,
        dnsConfig=_dns_config(spec.dns_config),
    )


def _alias(alias: HostAlias) -> Json:
    return {"ip": alias.ip, **said(hostnames=list(alias.hostnames))}


def _dns_config(config: DnsConfig) -> Json:
    return said(
        nameservers=list(config.nameservers),
        searches=list(config.searches),
        options=[{"name": name, **known(value=value)} for name, value in config.options],
    )
