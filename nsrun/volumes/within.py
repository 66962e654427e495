"""What volumes cannot have where nsrun is in a user namespace, in words (user_namespaces(7))."""

from __future__ import annotations

import errno

from nsrun.errors import VolumeError
from nsrun.host.userns import UserNamespace, own_user_namespace
from nsrun.model.pod import Pod

__all__ = ["check_group", "check_mountable", "remedy_within"]


def check_group(pod: Pod, users: UserNamespace | None = None) -> None:
    """Whether the pod's fsGroup is there. ``users``: our own namespace by default. Raises VolumeError."""
    users = users or own_user_namespace()
    gid = pod.spec.security_context.fs_group
    if users is None or gid is None or gid < users.gids:
        return
    there = "no group but 0" if users.gids == 1 else f"groups up to {users.gids - 1}"
    raise VolumeError(
        f"cannot give volumes to fsGroup {gid}: whoever runs nsrun has {there} for containers",
        hint=f"give them {gid} ids or more in /etc/subgid, then nsrun down",
    )


def check_mountable(what: str, remedy: str) -> None:
    """For file systems that only root of the initial user namespace mounts (FS_USERNS_MOUNT). Raises VolumeError
    (without the volume's name)."""
    if own_user_namespace() is not None:
        raise VolumeError(f"{what} can be mounted by root of the machine only", hint=remedy)


def remedy_within(number: int) -> str | None:
    """A hint for what root of a user namespace is refused; None for everything else, and for other roots."""
    if number not in (errno.EACCES, errno.EPERM) or own_user_namespace() is None:
        return None
    return "nsrun may use what whoever runs it may, and what it has made: give them access, or run nsrun as root"
