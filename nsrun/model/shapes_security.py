"""Security contexts as tables (core/v1 SecurityContext, PodSecurityContext)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nsrun.model.fields import (
    Decoder,
    Missing,
    Place,
    Shape,
    boolean,
    choice,
    integer,
    list_of,
    text,
    without,
)
from nsrun.model.names import capability
from nsrun.model.security import (
    AppArmorProfile,
    GroupChangePolicy,
    GroupsPolicy,
    PodSecurityContext,
    ProcMount,
    ProfileType,
    SeccompProfile,
    SecurityContext,
    SeLinuxOptions,
    Sysctl,
)

__all__ = ["POD_SECURITY_CONTEXT", "SECURITY_CONTEXT"]


def _capability(place: Place) -> str | Missing:
    """``podman generate kube`` writes ``CAP_MKNOD`` where Kubernetes has ``MKNOD``."""
    name = text(place)
    return name.removeprefix("CAP_") if isinstance(name, str) and capability(name[4:]) is None else name


_CAPABILITY_NAMES = list_of(_capability, "")
CAPABILITIES: Shape[dict[str, tuple[str, ...]]] = Shape(
    build=dict,
    fields={"add": ("capabilities_add", _CAPABILITY_NAMES), "drop": ("capabilities_drop", _CAPABILITY_NAMES)},
)

PROFILE = {"type": ("type", choice(ProfileType)), "localhostProfile": ("localhost_profile", text)}
SECCOMP = Shape(
    build=SeccompProfile,
    blank={"type": ProfileType.RUNTIME_DEFAULT},
    required=frozenset({"type"}),
    fields=PROFILE,
)
APP_ARMOR = Shape(
    build=AppArmorProfile,
    blank={"type": ProfileType.RUNTIME_DEFAULT},
    required=frozenset({"type"}),
    fields=PROFILE,
)


def _se_linux(**values: str) -> SeLinuxOptions | None:
    options = SeLinuxOptions(**values)
    return None if options == SeLinuxOptions() else options


SE_LINUX = Shape(
    build=_se_linux,
    fields={"user": ("user", text), "role": ("role", text), "type": ("type", text), "level": ("level", text)},
)

SHARED: Mapping[str, tuple[str, Decoder]] = {
    "runAsUser": ("run_as_user", integer),
    "runAsGroup": ("run_as_group", integer),
    "runAsNonRoot": ("run_as_non_root", boolean),
    "seccompProfile": ("seccomp_profile", SECCOMP),
    "appArmorProfile": ("app_armor_profile", APP_ARMOR),
    "seLinuxOptions": ("se_linux_options", SE_LINUX),
}
"""What containers take over from their pod."""


def _security_context(capabilities: Mapping[str, Any] | None = None, **values: Any) -> SecurityContext:
    return SecurityContext(**values, **(capabilities or {}))


SECURITY_CONTEXT = Shape(
    build=_security_context,
    fields={
        **SHARED,
        "readOnlyRootFilesystem": ("read_only_root_filesystem", boolean),
        "allowPrivilegeEscalation": ("allow_privilege_escalation", boolean),
        "capabilities": ("capabilities", CAPABILITIES),
        "privileged": ("privileged", boolean),
        "procMount": ("proc_mount", choice(ProcMount)),
    },
    ignored=without("windowsOptions"),
)


def _sysctl(name: str, value: str = "") -> Sysctl:
    """``net/ipv4/conf/eth0.1/forwarding`` is written as ``net.ipv4.conf.eth0/1.forwarding`` (sysctl.d(5))."""
    slash, dot = name.find("/"), name.find(".")
    if slash != -1 and (dot == -1 or slash < dot):
        name = name.translate(str.maketrans("/.", "./"))
    return Sysctl(name=name, value=value)


SYSCTL = Shape(
    build=_sysctl,
    blank={"name": ""},
    required=frozenset({"name", "value"}),
    fields={"name": ("name", text), "value": ("value", text)},
)

SHARED_NAMES = frozenset(name for name, _ in SHARED.values())


def _pod_security_context(**values: Any) -> PodSecurityContext:
    shared = {name: value for name, value in values.items() if name in SHARED_NAMES}
    own = {name: value for name, value in values.items() if name not in SHARED_NAMES}
    return PodSecurityContext(shared=SecurityContext(**shared), **own)


POD_SECURITY_CONTEXT = Shape(
    build=_pod_security_context,
    fields={
        **SHARED,
        "supplementalGroups": ("supplemental_groups", list_of(integer, 0)),
        "supplementalGroupsPolicy": ("supplemental_groups_policy", choice(GroupsPolicy)),
        "fsGroup": ("fs_group", integer),
        "fsGroupChangePolicy": ("fs_group_change_policy", choice(GroupChangePolicy)),
        "sysctls": ("sysctls", list_of(SYSCTL, Sysctl(name="", value=""))),
    },
    ignored={**without("windowsOptions"), "seLinuxChangePolicy": "MountOption"},
)
