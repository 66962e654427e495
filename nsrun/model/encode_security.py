"""Security contexts → the JSON objects of core/v1."""

from __future__ import annotations

from nsrun.model.encoding import Json, known, said
from nsrun.model.security import (
    AppArmorProfile,
    GroupChangePolicy,
    GroupsPolicy,
    PodSecurityContext,
    ProcMount,
    SeccompProfile,
    SecurityContext,
    SeLinuxOptions,
)

__all__ = ["pod_security", "security"]


def security(context: SecurityContext) -> Json:
    """A container's."""
    capabilities = said(add=list(context.capabilities_add), drop=list(context.capabilities_drop))
    return {
        **_shared(context),
        **known(
            readOnlyRootFilesystem=context.read_only_root_filesystem or None,
            allowPrivilegeEscalation=context.allow_privilege_escalation,
            capabilities=capabilities or None,
            privileged=context.privileged or None,
            procMount=None if context.proc_mount is ProcMount.DEFAULT else str(context.proc_mount),
        ),
    }


def pod_security(context: PodSecurityContext) -> Json:
    """The pod's own half, with what its containers took over."""
    groups, changes = context.supplemental_groups_policy, context.fs_group_change_policy
    return {
        **_shared(context.shared),
        **said(supplementalGroups=list(context.supplemental_groups)),
        **known(
            supplementalGroupsPolicy=None if groups is GroupsPolicy.MERGE else str(groups),
            fsGroup=context.fs_group,
            fsGroupChangePolicy=None if changes is GroupChangePolicy.ALWAYS else str(changes),
        ),
        **said(sysctls=[{"name": one.name, "value": one.value} for one in context.sysctls]),
    }


def _shared(context: SecurityContext) -> Json:
    return known(
        runAsUser=context.run_as_user,
        runAsGroup=context.run_as_group,
        runAsNonRoot=context.run_as_non_root,
        seccompProfile=_profile(context.seccomp_profile),
        appArmorProfile=_profile(context.app_armor_profile),
        seLinuxOptions=_labels(context.se_linux_options),
    )


def _profile(profile: SeccompProfile | AppArmorProfile | None) -> Json | None:
    if profile is None:
        return None
    return {"type": str(profile.type), **said(localhostProfile=profile.localhost_profile)}


def _labels(options: SeLinuxOptions | None) -> Json | None:
    if options is None:
        return None
    return said(user=options.user, role=options.role, type=options.type, level=options.level)
