"""What the host's security module makes of a container: the name of its AppArmor profile, its SELinux labels. Pure."""

from __future__ import annotations

from nsrun.errors import RuntimeFailure
from nsrun.model.security import ProfileType, SecurityContext
from nsrun.runtime.apparmor import DEFAULT_PROFILE

__all__ = ["app_armor_profile", "mount_label", "process_label"]

_USER, _ROLE, _TYPE, _LEVEL = "system_u", "system_r", "container_t", "s0"
_FILE_ROLE, _FILE_TYPE = "object_r", "container_file_t"


def app_armor_profile(context: SecurityContext, *, here: bool) -> str:
    """ "" for none. Without a word in the manifest the default one, on a host that has AppArmor (``here``). Raises
    RuntimeFailure for a profile on a host without."""
    asked = context.app_armor_profile
    if context.privileged or (asked is not None and asked.type is ProfileType.UNCONFINED):
        return ""
    if not here:
        if asked is None:
            return ""
        raise RuntimeFailure("AppArmor is not enabled on this host", reason="CreateContainerError")
    if asked is not None and asked.type is ProfileType.LOCALHOST:
        return asked.localhost_profile
    return DEFAULT_PROFILE


def process_label(context: SecurityContext, *, here: bool) -> str:
    """ "" for none: then the process has the label that nsrun has. Raises RuntimeFailure for options on a host without
    SELinux."""
    options = context.se_linux_options
    if options is None:
        return ""
    if not here:
        raise RuntimeFailure("SELinux is not enabled on this host", reason="CreateContainerError")
    parts = (options.user or _USER, options.role or _ROLE, options.type or _TYPE, options.level or _LEVEL)
    if any("\0" in part or "\n" in part for part in parts):
        raise RuntimeFailure("the SELinux label holds a control character", reason="CreateContainerConfigError")
    return ":".join(parts)


def mount_label(context: SecurityContext) -> str:
    """Of the container's own files: at its level, and of the type that containers may use. "" for none."""
    options = context.se_linux_options
    if options is None:
        return ""
    return ":".join((options.user or _USER, _FILE_ROLE, _FILE_TYPE, options.level or _LEVEL))
