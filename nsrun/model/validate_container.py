"""What must hold of containers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nsrun.model import downward, names
from nsrun.model.container import Container, ContainerPort, RestartPolicy, RestartRule
from nsrun.model.environment import EnvFrom, EnvSource, EnvVar, FieldRef, KeyRef, ObjectKind, ResourceFieldRef
from nsrun.model.pod import PodSpec
from nsrun.model.probe import Lifecycle
from nsrun.model.totals import is_sidecar
from nsrun.model.validate_probe import lifecycle, probes
from nsrun.model.validate_resources import resources
from nsrun.model.validate_security import security
from nsrun.model.validate_volume import image_fault, mounts, resource_ref
from nsrun.model.violation import Violation, absolute, faults, is_address, unique
from nsrun.model.wording import Path, quoted, render_path

__all__ = ["container", "host_ports", "init_container"]

MOST_RULES = 20
MOST_EXIT_CODES = 255
LARGEST_EXIT_CODE = 255


def container(said: Container, spec: PodSpec, path: Path) -> Iterator[Violation]:
    """Any container of the pod."""
    yield from faults((*path, "name"), names.dns_label(said.name))
    yield from faults((*path, "image"), image_fault(said.image))
    if said.working_dir and not said.working_dir.startswith("/"):
        text = f"must be an absolute path, not {quoted(said.working_dir)}"
        yield Violation(path=(*path, "workingDir"), text=text)
    if said.command and not said.command[0]:
        yield Violation(path=(*path, "command", 0), text="must name a program, not be empty")
    known = frozenset(one.name for one in (*spec.init_containers, *spec.containers))
    yield from _env(said.env, known, (*path, "env"))
    yield from _env_from(said.env_from, (*path, "envFrom"))
    for index, port in enumerate(said.ports):
        yield from _port(port, (*path, "ports", index), host_network=spec.host_network)
    yield from unique([port.name for port in said.ports], (*path, "ports"), "name")
    yield from mounts(said, spec.volumes, (*path, "volumeMounts"))
    yield from resources(said.resources, (*path, "resources"))
    shared = spec.security_context.shared
    yield from security(said.security_context, (*path, "securityContext"), pod=shared, host_users=spec.host_users)
    yield from probes(said, path)
    yield from lifecycle(said.lifecycle, (*path, "lifecycle"), grace=spec.termination_grace_period_seconds)
    yield from _restart_rules(said, path)
    yield from faults((*path, "terminationMessagePath"), absolute(said.termination_message_path))


def init_container(said: Container, path: Path) -> Iterator[Violation]:
    """What else must hold of one that runs before the others."""
    if is_sidecar(said):
        return
    text = 'must not be set for an init container without restartPolicy "Always"'
    for key, value in (
        ("startupProbe", said.startup_probe),
        ("livenessProbe", said.liveness_probe),
        ("readinessProbe", said.readiness_probe),
    ):
        if value is not None:
            yield Violation(path=(*path, key), text=text, on_key=True)
    if said.lifecycle != Lifecycle():
        yield Violation(path=(*path, "lifecycle"), text=text, on_key=True)


def _env(env: Sequence[EnvVar], containers: frozenset[str], path: Path) -> Iterator[Violation]:
    for index, variable in enumerate(env):
        yield from faults((*path, index, "name"), names.env_name(variable.name))
        if variable.source is not None:
            yield from _source(variable.source, containers, (*path, index, "valueFrom"))


def _source(source: EnvSource, containers: frozenset[str], path: Path) -> Iterator[Violation]:
    match source:
        case FieldRef(field_path=field):
            yield from faults((*path, "fieldRef", "fieldPath"), downward.env_field_fault(field))
        case ResourceFieldRef():
            yield from resource_ref(source, containers, (*path, "resourceFieldRef"), named=False)
        case KeyRef(kind=kind, name=name, key=key):
            where = (*path, "secretKeyRef" if kind is ObjectKind.SECRET else "configMapKeyRef")
            yield from faults((*where, "name"), names.dns_subdomain(name))
            yield from faults((*where, "key"), names.object_key(key) if key else None)


def _env_from(sources: Sequence[EnvFrom], path: Path) -> Iterator[Violation]:
    for index, source in enumerate(sources):
        key = "secretRef" if source.kind is ObjectKind.SECRET else "configMapRef"
        yield from faults((*path, index, key, "name"), names.dns_subdomain(source.name))
        if source.prefix:
            yield from faults((*path, index, "prefix"), names.env_name(source.prefix))


def _port(port: ContainerPort, path: Path, *, host_network: bool) -> Iterator[Violation]:
    if port.name:
        yield from faults((*path, "name"), names.port_name(port.name))
    if not 1 <= port.container_port <= 65535:
        text = f"must be between 1 and 65535, not {port.container_port}"
        yield Violation(path=(*path, "containerPort"), text=text)
    elif host_network and port.host_port != port.container_port:
        text = f"must be the containerPort, {port.container_port}, as hostNetwork is true, not {port.host_port}"
        yield Violation(path=(*path, "hostPort"), text=text)
    if port.host_port and not 1 <= port.host_port <= 65535:
        yield Violation(path=(*path, "hostPort"), text=f"must be between 1 and 65535, not {port.host_port}")
    if port.host_ip and not is_address(port.host_ip):
        yield Violation(path=(*path, "hostIP"), text=f"must be an IP address, not {quoted(port.host_ip)}")


def _restart_rules(said: Container, path: Path) -> Iterator[Violation]:
    where = (*path, "restartPolicyRules")
    if said.restart_policy_rules and said.restart_policy is None:
        yield Violation(path=where, text="must stand beside restartPolicy", on_key=True)
    if len(said.restart_policy_rules) > MOST_RULES:
        yield Violation(path=where, text=f"must be at most {MOST_RULES}, not {len(said.restart_policy_rules)}")
    for index, rule in enumerate(said.restart_policy_rules):
        yield from _exit_codes(rule, (*where, index, "exitCodes", "values"))


def _exit_codes(rule: RestartRule, path: Path) -> Iterator[Violation]:
    if len(rule.exit_codes) > MOST_EXIT_CODES:
        yield Violation(path=path, text=f"must be at most {MOST_EXIT_CODES}, not {len(rule.exit_codes)}")
    elif not rule.exit_codes:
        yield Violation(path=path, text="must hold at least one exit code")
    for index, code in enumerate(rule.exit_codes):
        if not 0 <= code <= LARGEST_EXIT_CODE:
            text = f"must be between 0 and {LARGEST_EXIT_CODE}, not {code}"
            yield Violation(path=(*path, index), text=text)
        elif code in rule.exit_codes[:index]:
            yield Violation(path=(*path, index), text=f"must be unique: {code} is there already")


def host_ports(spec: PodSpec) -> Iterator[Violation]:
    """Two containers that run at the same time cannot have the same port of the host; no address means every one."""
    placed: list[tuple[Path, Container]] = []
    for index, init in enumerate(spec.init_containers):
        where: Path = ("spec", "initContainers", index)
        if init.restart_policy is RestartPolicy.ALWAYS:
            placed.append((where, init))
        else:
            yield from _collisions([(where, init)])
    placed += [(("spec", "containers", index), one) for index, one in enumerate(spec.containers)]
    yield from _collisions(placed)


def _collisions(placed: Sequence[tuple[Path, Container]]) -> Iterator[Violation]:
    taken: list[tuple[ContainerPort, Path]] = []
    for where, said in placed:
        for index, port in enumerate(said.ports):
            path: Path = (*where, "ports", index)
            for other, holder in taken:
                if _collide(port, other):
                    text = f"must be unique: {render_path(holder)} has {port.host_port}/{port.protocol} already"
                    yield Violation(path=(*path, "hostPort"), text=text)
                    break
            if port.host_port:
                taken.append((port, path))


def _collide(one: ContainerPort, other: ContainerPort) -> bool:
    if (one.host_port, one.protocol) != (other.host_port, other.protocol):
        return False
    everywhere = ("", "0.0.0.0", "::")
    return one.host_ip == other.host_ip or one.host_ip in everywhere or other.host_ip in everywhere
