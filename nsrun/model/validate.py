"""What must hold of a pod, beyond the types of its fields (k8s.io/kubernetes/pkg/apis/core/validation/validation.go).

Takes a decoded, defaulted pod; gives a violation for every rule that is broken, with the path of the field.
"""

from __future__ import annotations

from collections.abc import Iterator

from nsrun.model import names
from nsrun.model.pod import DnsConfig, DnsPolicy, ObjectMeta, Pod, PodSpec
from nsrun.model.validate_container import container, host_ports, init_container
from nsrun.model.validate_probe import probe_warnings
from nsrun.model.validate_resources import amounts, pod_resources, resource_warnings
from nsrun.model.validate_security import pod_security
from nsrun.model.validate_volume import volume
from nsrun.model.violation import Violation, between, faults, is_address, unique, unique_at
from nsrun.model.wording import Path, quoted

__all__ = ["annotation_rules", "label_rules", "validate", "validate_spec", "warnings"]

LARGEST_GRACE = (1 << 31) - 1
LARGEST_ANNOTATIONS = 256 << 10
LONGEST_FILE_NAME = 255
DERIVED_UID = 32
"""Length of the UIDs that nsrun makes."""
LONGEST_HOSTNAME = 64
MOST_NAMESERVERS = 3
MOST_SEARCHES = 32
LONGEST_SEARCHES = 2048


def validate(pod: Pod) -> Iterator[Violation]:
    """Every broken rule, in no particular order."""
    yield from _metadata(pod.metadata)
    yield from validate_spec(pod.spec)


def validate_spec(spec: PodSpec) -> Iterator[Violation]:
    """Those of what the pod runs."""
    path: Path = ("spec",)
    grace = spec.termination_grace_period_seconds
    yield from between((*path, "terminationGracePeriodSeconds"), grace, 0, LARGEST_GRACE)
    yield from between((*path, "activeDeadlineSeconds"), spec.active_deadline_seconds, 1, LARGEST_GRACE)
    yield from _containers(spec)
    yield from _volumes(spec)
    yield from host_ports(spec)
    yield from pod_resources(spec)
    yield from amounts(spec.overhead, (*path, "overhead"))
    yield from pod_security(spec)
    yield from _namespaces(spec)
    yield from _names(spec)
    yield from _dns(spec)


def warnings(pod: Pod) -> Iterator[Violation]:
    """What is valid and hardly meant."""
    yield from resource_warnings(pod.spec)
    for key, containers in (("initContainers", pod.spec.init_containers), ("containers", pod.spec.containers)):
        for index, one in enumerate(containers):
            yield from probe_warnings(one, ("spec", key, index))


def _containers(spec: PodSpec) -> Iterator[Violation]:
    if not spec.containers:
        yield Violation(path=("spec", "containers"), text="must hold at least one container")
    taken: list[tuple[Path, str]] = []
    for index, one in enumerate(spec.init_containers):
        path: Path = ("spec", "initContainers", index)
        yield from container(one, spec, path)
        yield from init_container(one, path)
        taken.append((path, one.name))
    for index, one in enumerate(spec.containers):
        path = ("spec", "containers", index)
        yield from container(one, spec, path)
        taken.append((path, one.name))
    yield from unique_at(taken, "name")


def _volumes(spec: PodSpec) -> Iterator[Violation]:
    containers = [one.name for one in (*spec.init_containers, *spec.containers)]
    for index, one in enumerate(spec.volumes):
        yield from volume(one, containers, ("spec", "volumes", index))
    yield from unique([one.name for one in spec.volumes], ("spec", "volumes"), "name")


def _namespaces(spec: PodSpec) -> Iterator[Violation]:
    hosts = {"hostNetwork": spec.host_network, "hostPID": spec.host_pid, "hostIPC": spec.host_ipc}
    for key, wanted in hosts.items():
        if wanted and not spec.host_users:
            yield Violation(path=("spec", key), text="must not be true while hostUsers is false")
    if spec.share_process_namespace and spec.host_pid:
        yield Violation(path=("spec", "shareProcessNamespace"), text="must not be true while hostPID is true")


def _names(spec: PodSpec) -> Iterator[Violation]:
    path: Path = ("spec",)
    for key, label in (("hostname", spec.hostname), ("subdomain", spec.subdomain)):
        yield from faults((*path, key), names.dns_label(label) if label else None)
    for key, name in (
        ("serviceAccountName", spec.service_account_name),
        ("nodeName", spec.node_name),
        ("priorityClassName", spec.priority_class_name),
    ):
        yield from faults((*path, key), names.dns_subdomain(name) if name else None)
    for index, name in enumerate(spec.image_pull_secrets):
        yield from faults((*path, "imagePullSecrets", index, "name"), names.dns_subdomain(name) if name else None)
    for index, name in enumerate(spec.readiness_gates):
        where = (*path, "readinessGates", index, "conditionType")
        yield from faults(where, names.qualified_name(name) if name else None)
    if spec.hostname_override is not None:
        yield from _override(spec, spec.hostname_override, (*path, "hostnameOverride"))


def _override(spec: PodSpec, name: str, path: Path) -> Iterator[Violation]:
    yield from faults(path, names.dns_subdomain(name))
    if LONGEST_HOSTNAME < len(name) <= 253:
        yield Violation(path=path, text=f"must be at most {LONGEST_HOSTNAME} characters, not {len(name)}")
    if spec.set_hostname_as_fqdn:
        yield Violation(path=path, text="must not stand beside setHostnameAsFQDN", on_key=True)
    if spec.host_network:
        yield Violation(path=path, text="must not be set while hostNetwork is true", on_key=True)


def _dns(spec: PodSpec) -> Iterator[Violation]:
    for index, alias in enumerate(spec.host_aliases):
        path: Path = ("spec", "hostAliases", index)
        if alias.ip and not is_address(alias.ip):
            yield Violation(path=(*path, "ip"), text=f"must be an IP address, not {quoted(alias.ip)}")
        for number, name in enumerate(alias.hostnames):
            yield from faults((*path, "hostnames", number), names.dns_subdomain(name))
    if spec.dns_policy is DnsPolicy.NONE and not spec.dns_config.nameservers:
        text = 'must name at least one server, as dnsPolicy is "None"'
        yield Violation(path=("spec", "dnsConfig", "nameservers"), text=text)
    yield from _dns_config(spec.dns_config, ("spec", "dnsConfig"))


def _dns_config(config: DnsConfig, path: Path) -> Iterator[Violation]:
    for key, values, most in (
        ("nameservers", config.nameservers, MOST_NAMESERVERS),
        ("searches", config.searches, MOST_SEARCHES),
    ):
        if len(values) > most:
            yield Violation(path=(*path, key), text=f"must be at most {most}, not {len(values)}")
    for index, server in enumerate(config.nameservers):
        if not is_address(server):
            text = f"must be an IP address, not {quoted(server)}"
            yield Violation(path=(*path, "nameservers", index), text=text)
    for index, search in enumerate(config.searches):
        yield from faults((*path, "searches", index), names.dns_search(search))
    together = len(" ".join(config.searches))
    if together > LONGEST_SEARCHES:
        text = f"must be at most {LONGEST_SEARCHES} characters together, not {together}"
        yield Violation(path=(*path, "searches"), text=text)
    for index, (name, value) in enumerate(config.options):
        for key, text in (("name", name), ("value", value or "")):
            if any(not c.isprintable() or c.isspace() for c in text):
                fault = f"must not hold spaces, as {quoted(text)} does"
                yield Violation(path=(*path, "options", index, key), text=fault)


def _metadata(meta: ObjectMeta) -> Iterator[Violation]:
    top: Path = ("metadata",)
    yield from faults((*top, "name"), names.dns_subdomain(meta.name))
    yield from faults((*top, "namespace"), names.dns_label(meta.namespace))
    if meta.uid:
        yield from faults((*top, "uid"), names.pod_uid(meta.uid))
    # The pod's log directory is <namespace>_<name>_<uid>, and no file name is longer than 255.
    room = LONGEST_FILE_NAME - min(len(meta.namespace), 63) - min(len(meta.uid) or DERIVED_UID, 63) - 2
    if room < len(meta.name) <= 253:
        text = f"must be at most {room} characters in namespace {quoted(meta.namespace)}, not {len(meta.name)}"
        yield Violation(path=(*top, "name"), text=text)
    yield from label_rules(meta, top)
    yield from annotation_rules(meta, top)


def label_rules(meta: ObjectMeta, top: Path) -> Iterator[Violation]:
    """``top``: the path of the metadata."""
    for key, value in meta.labels.items():
        path = (*top, "labels", key)
        yield from faults(path, names.qualified_name(key), on_key=True)
        yield from faults(path, names.label_value(value))


def annotation_rules(meta: ObjectMeta, top: Path) -> Iterator[Violation]:
    """``top``: the path of the metadata."""
    for key in meta.annotations:
        yield from faults((*top, "annotations", key), names.qualified_name(key.lower()), on_key=True)
    total = sum(len(key.encode()) + len(value.encode()) for key, value in meta.annotations.items())
    if total > LARGEST_ANNOTATIONS:
        text = f"must be at most {LARGEST_ANNOTATIONS} bytes together, not {total}"
        yield Violation(path=(*top, "annotations"), text=text)
