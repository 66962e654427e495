"""What must hold of security contexts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from nsrun.model import names
from nsrun.model.pod import PodSpec
from nsrun.model.security import AppArmorProfile, ProcMount, ProfileType, SeccompProfile, SecurityContext, Sysctl
from nsrun.model.violation import Violation, between, faults, relative, unique
from nsrun.model.wording import Path, quoted

__all__ = ["pod_security", "security"]

LARGEST_ID = (1 << 31) - 1
LARGEST_MAPPED_ID = (1 << 16) - 1
"""A pod in a user namespace of its own has 65536 users and groups."""
LONGEST_SYSCTL = 253
LONGEST_PROFILE = 4095
SYSCTL_NAME = re.compile(r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?")


def security(context: SecurityContext, path: Path, *, pod: SecurityContext, host_users: bool) -> Iterator[Violation]:
    """Of a container. What it took over from its ``pod`` is spoken about there."""
    yield from _shared(_own(context, pod), path, host_users=host_users)
    for key, listed in (("add", context.capabilities_add), ("drop", context.capabilities_drop)):
        for index, name in enumerate(listed):
            yield from faults((*path, "capabilities", key, index), names.capability(name))
    if context.allow_privilege_escalation is False:
        what = "privileged is true" if context.privileged else "SYS_ADMIN is added"
        if context.privileged or "SYS_ADMIN" in context.capabilities_add:
            yield Violation(path=(*path, "allowPrivilegeEscalation"), text=f"must not be false while {what}")
    if context.proc_mount is ProcMount.UNMASKED and host_users:
        text = 'must not be "Unmasked" unless hostUsers is false'
        yield Violation(path=(*path, "procMount"), text=text)


def _own(context: SecurityContext, pod: SecurityContext) -> SecurityContext:
    return replace(
        context,
        run_as_user=None if context.run_as_user == pod.run_as_user else context.run_as_user,
        run_as_group=None if context.run_as_group == pod.run_as_group else context.run_as_group,
        seccomp_profile=None if context.seccomp_profile == pod.seccomp_profile else context.seccomp_profile,
        app_armor_profile=None if context.app_armor_profile == pod.app_armor_profile else context.app_armor_profile,
    )


def pod_security(spec: PodSpec) -> Iterator[Violation]:
    """Of the pod's own half."""
    context, path = spec.security_context, ("spec", "securityContext")
    largest = _largest(host_users=spec.host_users)
    yield from _shared(context.shared, path, host_users=spec.host_users)
    yield from between((*path, "fsGroup"), context.fs_group, 0, largest)
    for index, group in enumerate(context.supplemental_groups):
        yield from between((*path, "supplementalGroups", index), group, 0, largest)
    yield from _sysctls(context.sysctls, (*path, "sysctls"))


def _largest(*, host_users: bool) -> int:
    return LARGEST_ID if host_users else LARGEST_MAPPED_ID


def _shared(context: SecurityContext, path: Path, *, host_users: bool) -> Iterator[Violation]:
    largest = _largest(host_users=host_users)
    yield from between((*path, "runAsUser"), context.run_as_user, 0, largest)
    yield from between((*path, "runAsGroup"), context.run_as_group, 0, largest)
    yield from _profile(context.seccomp_profile, (*path, "seccompProfile"))
    yield from _profile(context.app_armor_profile, (*path, "appArmorProfile"))


def _profile(profile: SeccompProfile | AppArmorProfile | None, path: Path) -> Iterator[Violation]:
    if profile is None:
        return
    where, name = (*path, "localhostProfile"), profile.localhost_profile
    if profile.type is not ProfileType.LOCALHOST:
        if name:
            yield Violation(path=where, text='must not be set unless the type is "Localhost"')
    elif not name.strip():
        yield Violation(path=where, text='is required, as the type is "Localhost"')
    elif len(name) > LONGEST_PROFILE:
        yield Violation(path=where, text=f"must be at most {LONGEST_PROFILE} characters, not {len(name)}")
    elif isinstance(profile, SeccompProfile):
        yield from faults(where, relative(name))
    elif name != name.strip() or not name.isprintable():
        yield Violation(path=where, text=f"must be the name of a profile, not {quoted(name)}")


def _sysctls(sysctls: tuple[Sysctl, ...], path: Path) -> Iterator[Violation]:
    for index, sysctl in enumerate(sysctls):
        if sysctl.name and (len(sysctl.name) > LONGEST_SYSCTL or not SYSCTL_NAME.fullmatch(sysctl.name)):
            text = f"must be the name of a kernel parameter such as net.ipv4.ip_forward, not {quoted(sysctl.name)}"
            yield Violation(path=(*path, index, "name"), text=text)
    yield from unique([sysctl.name for sysctl in sysctls], path, "name")
