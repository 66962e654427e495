"""What goes into configurations beside the manifest and the image: this machine, and what a container's sandbox gives
it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nsrun.host.facts import CAPABILITIES
from nsrun.host.overlay import OverlayFlavour
from nsrun.host.userns import UserNamespace
from nsrun.model.hostname import hostname as short_name
from nsrun.model.pod import Pod
from nsrun.model.running import Attachment
from nsrun.runtime.ociconfig import Device, Mount
from nsrun.support.idranges import IdRange

__all__ = ["Machine", "Surroundings", "hostname"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What of this machine goes into configurations. ``capabilities``: those we have, and so can hand on. ``memory``:
    bytes. ``kernel_capabilities``: all that the kernel knows, as root of a user namespace has them in it.
    ``hard_limits``: by name (``RLIMIT_NOFILE``), what we cannot exceed; empty when we can. ``oom_floor``: the lowest
    oom_score_adj that we can set. ``masked``: more paths to mask that exist here. ``app_armor``, ``se_linux``:
    whether the host has them. ``users``: the user namespace that nsrun itself is in, None for the initial one.
    ``overlay``: by what root file systems lie over images. ``makes_devices``: whether device nodes can be made.
    ``host_queues``: whether the host has its message queues mounted, which cannot be mounted anew in a child user
    namespace."""

    memory: int
    capabilities: frozenset[str] = frozenset(CAPABILITIES)
    kernel_capabilities: frozenset[str] = frozenset(CAPABILITIES)
    hard_limits: Mapping[str, int] = field(default_factory=dict)
    oom_floor: int = -1000
    masked: tuple[str, ...] = ()
    app_armor: bool = False
    se_linux: bool = False
    users: UserNamespace | None = None
    overlay: OverlayFlavour = OverlayFlavour.TRUSTED
    makes_devices: bool = True
    host_queues: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a container's sandbox and its cgroup give it. ``pause_pid``: in our PID namespace. ``rootfs``: where its
    root file system will be mounted. ``cgroup_mounts``: what it sees at /sys/fs/cgroup. ``etc``: host files by the path
    they are seen at when no volume is there. ``termination_log``: the host file for terminationMessagePath.
    ``host_devices``: those of the host, for a privileged container. ``ids``: of the pod's user namespace, None for a
    pod in the host's."""

    pause_pid: int
    rootfs: str
    cgroup_path: str
    cgroup_mounts: tuple[Mount, ...] = ()
    etc: Mapping[str, str] = field(default_factory=dict)
    termination_log: str = ""
    host_devices: tuple[Device, ...] = ()
    ids: IdRange | None = None


def hostname(pod: Pod, attachment: Attachment) -> str:
    """What uname(2) says in the pod; in the host's network, what it says on the host."""
    return attachment.hostname or short_name(pod)
