"""Every object of a Pod manifest as a table: what nsrun acts on, and what else Kubernetes knows (core/v1 types.go).

This file has the pod itself; ``shapes_*`` have what is in it. docs/podspec.md lists all of them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nsrun.model import defaults
from nsrun.model.fields import (
    MISSING,
    TEXTS,
    Decoder,
    Missing,
    Place,
    Refused,
    Shape,
    boolean,
    choice,
    describe,
    inert,
    integer,
    list_of,
    mapping_of,
    quantity,
    text,
    without,
)
from nsrun.model.pod import DnsConfig, DnsPolicy, HostAlias, ObjectMeta, Pod, PodSpec, RestartPolicy
from nsrun.model.resources import ResourceRequirements
from nsrun.model.security import PodSecurityContext
from nsrun.model.shapes_container import CONTAINERS
from nsrun.model.shapes_resources import POD_RESOURCES
from nsrun.model.shapes_security import POD_SECURITY_CONTEXT
from nsrun.model.shapes_volume import VOLUME
from nsrun.model.volume import Volume
from nsrun.model.wording import suggestion, words

__all__ = ["METADATA", "POD", "SPEC", "api_version"]

HOST_ALIAS = Shape(
    build=HostAlias,
    blank={"ip": ""},
    required=frozenset({"ip"}),
    fields={"ip": ("ip", text), "hostnames": ("hostnames", TEXTS)},
)


def _option(name: str, value: str | None = None) -> tuple[str, str | None]:
    return name, value


DNS_OPTION = Shape(
    build=_option,
    blank={"name": ""},
    required=frozenset({"name"}),
    fields={"name": ("name", text), "value": ("value", text)},
)
DNS_CONFIG = Shape(
    build=DnsConfig,
    fields={
        "nameservers": ("nameservers", TEXTS),
        "searches": ("searches", TEXTS),
        "options": ("options", list_of(DNS_OPTION, ("", None))),
    },
)


def _named(key: str) -> Shape[str]:
    """An object with nothing but a name in it."""
    return Shape(build=lambda name: name, blank={"name": ""}, required=frozenset({key}), fields={key: ("name", text)})


def _spec(
    *,
    security_context: PodSecurityContext | None = None,
    resources: ResourceRequirements | None = None,
    service_account: str = "",
    service_account_name: str = "",
    **values: Any,
) -> PodSpec:
    """The defaults that concern more than one object."""
    context = security_context or PodSecurityContext()
    spec = PodSpec(service_account_name=service_account_name or service_account, **values)
    spec = replace(
        spec,
        containers=defaults.containers(spec.containers, context.shared, host_network=spec.host_network),
        init_containers=defaults.containers(spec.init_containers, context.shared, host_network=spec.host_network),
        security_context=context,
    )
    if resources is None or not (resources.requests or resources.limits):
        return spec
    return replace(spec, resources=defaults.pod_resources(spec, resources))


def _node(place: Place) -> str | Missing:
    """Whatever it says, the pod runs here."""
    here = place.report.node_name
    return inert(text, (here, ""))(place) if here else text(place)


ACCOUNT = inert(text, ("", "default"))
DEVICES = Refused(text="is not supported: nothing here hands out devices")

SPEC = Shape(
    build=_spec,
    blank={"containers": ()},
    required=frozenset({"containers"}),
    fields={
        "containers": ("containers", CONTAINERS),
        "initContainers": ("init_containers", CONTAINERS),
        "volumes": ("volumes", list_of(VOLUME, Volume(name="", source=defaults.volume_source()))),
        "restartPolicy": ("restart_policy", choice(RestartPolicy)),
        "terminationGracePeriodSeconds": ("termination_grace_period_seconds", integer),
        "activeDeadlineSeconds": ("active_deadline_seconds", integer),
        "nodeName": ("node_name", _node),
        "serviceAccount": ("service_account", ACCOUNT),
        "serviceAccountName": ("service_account_name", ACCOUNT),
        "hostname": ("hostname", text),
        "hostnameOverride": ("hostname_override", text),
        "subdomain": ("subdomain", text),
        "setHostnameAsFQDN": ("set_hostname_as_fqdn", boolean),
        "hostAliases": ("host_aliases", list_of(HOST_ALIAS, HostAlias(ip=""))),
        "dnsPolicy": ("dns_policy", choice(DnsPolicy)),
        "dnsConfig": ("dns_config", DNS_CONFIG),
        "hostNetwork": ("host_network", boolean),
        "hostPID": ("host_pid", boolean),
        "hostIPC": ("host_ipc", boolean),
        "hostUsers": ("host_users", boolean),
        "shareProcessNamespace": ("share_process_namespace", boolean),
        "securityContext": ("security_context", POD_SECURITY_CONTEXT),
        "resources": ("resources", POD_RESOURCES),
        "overhead": ("overhead", mapping_of(quantity)),
        "priorityClassName": ("priority_class_name", text),
        "imagePullSecrets": ("image_pull_secrets", list_of(_named("name"), "")),
        "readinessGates": ("readiness_gates", list_of(_named("conditionType"), "")),
    },
    ignored={
        **without("affinity", "evictionResponders", "nodeSelector", "schedulingGates", "schedulingGroup"),
        **without("tolerations", "topologySpreadConstraints", "workloadRef"),
        "automountServiceAccountToken": False,
        # There are no Services to link to: both values mean the same.
        "enableServiceLinks": (True, False),
        "preemptionPolicy": ("", "PreemptLowerPriority"),
        "priority": 0,
        "schedulerName": ("", "default-scheduler"),
    },
    refused={
        "ephemeralContainers": Refused(text="must not be set: such containers are added to a pod that runs"),
        "os": Refused(text='must have the name "linux", or not be set', harmless={"name": "linux"}),
        "resourceClaims": DEVICES,
        "runtimeClassName": Refused(text="is not supported: there is one runtime, nsrun's own", harmless=""),
    },
)

METADATA = Shape(
    build=ObjectMeta,
    blank={"name": "", "namespace": defaults.NAMESPACE, "uid": ""},
    required=frozenset({"name"}),
    fields={
        "name": ("name", text),
        "namespace": ("namespace", text),
        "uid": ("uid", text),
        "labels": ("labels", mapping_of(text, null="")),
        "annotations": ("annotations", mapping_of(text, null="")),
    },
    silent=words("""
    creationTimestamp deletionGracePeriodSeconds deletionTimestamp finalizers generateName generation
    managedFields ownerReferences resourceVersion selfLink
"""),
)


def api_version(wanted: str) -> Decoder:
    """The version that a kind has here."""

    def decode(place: Place) -> str | Missing:
        value = text(place)
        if value in (wanted, MISSING):
            return value
        return place.problem(f'must be "{wanted}", not {describe(place.node)}')

    return decode


def _kind(place: Place) -> str | Missing:
    value = text(place)
    if value in ("Pod", MISSING):
        return value
    return place.problem(f'must be "Pod", not {describe(place.node)}{suggestion(str(value), ["Pod"])}')


def _pod(*, metadata: ObjectMeta, spec: PodSpec, **_: str) -> Pod:
    return Pod(metadata=metadata, spec=spec)


POD = Shape(
    build=_pod,
    blank={
        "metadata": ObjectMeta(name="", namespace=defaults.NAMESPACE, uid=""),
        "spec": PodSpec(containers=()),
    },
    required=frozenset({"apiVersion", "kind", "metadata", "spec"}),
    fields={
        "apiVersion": ("api_version", api_version("v1")),
        "kind": ("kind", _kind),
        "metadata": ("metadata", METADATA),
        "spec": ("spec", SPEC),
    },
    silent=frozenset({"status"}),
)
