"""What a pod and its containers may do, as the manifest says it (core/v1 PodSecurityContext, SecurityContext)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "AppArmorProfile",
    "GroupChangePolicy",
    "GroupsPolicy",
    "PodSecurityContext",
    "ProcMount",
    "ProfileType",
    "SeLinuxOptions",
    "SeccompProfile",
    "SecurityContext",
    "Sysctl",
]


class ProfileType(StrEnum):
    """Where a seccomp or AppArmor profile comes from."""

    RUNTIME_DEFAULT = "RuntimeDefault"
    UNCONFINED = "Unconfined"
    LOCALHOST = "Localhost"


class ProcMount(StrEnum):
    """How much of /proc is covered."""

    DEFAULT = "Default"
    UNMASKED = "Unmasked"


class GroupsPolicy(StrEnum):
    """Whether the image's /etc/group adds to the supplementary groups."""

    MERGE = "Merge"
    STRICT = "Strict"


class GroupChangePolicy(StrEnum):
    """When a volume's files are given to the fsGroup."""

    ALWAYS = "Always"
    ON_ROOT_MISMATCH = "OnRootMismatch"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeccompProfile:
    """``localhost_profile``: file below the seccomp directory of nsrun's root, for LOCALHOST."""

    type: ProfileType
    localhost_profile: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppArmorProfile:
    """``localhost_profile``: name of a profile that the host has loaded, for LOCALHOST."""

    type: ProfileType
    localhost_profile: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeLinuxOptions:
    """Parts of a label; "": the runtime's."""

    user: str = ""
    role: str = ""
    type: str = ""
    level: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sysctl:
    """A namespaced kernel parameter, its name with dots."""

    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityContext:
    """A container's; what the pod says for all its containers is filled in already. None: not said."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    read_only_root_filesystem: bool = False
    allow_privilege_escalation: bool | None = None
    privileged: bool = False
    proc_mount: ProcMount = ProcMount.DEFAULT
    capabilities_add: tuple[str, ...] = ()
    capabilities_drop: tuple[str, ...] = ()
    seccomp_profile: SeccompProfile | None = None
    app_armor_profile: AppArmorProfile | None = None
    se_linux_options: SeLinuxOptions | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSecurityContext:
    """The pod's own half: what has no place in a container. ``shared``: what its containers take over."""

    shared: SecurityContext = SecurityContext()
    supplemental_groups: tuple[int, ...] = ()
    supplemental_groups_policy: GroupsPolicy = GroupsPolicy.MERGE
    fs_group: int | None = None
    fs_group_change_policy: GroupChangePolicy = GroupChangePolicy.ALWAYS
    sysctls: tuple[Sysctl, ...] = ()
