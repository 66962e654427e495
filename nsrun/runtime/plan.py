"""The launch plan: an OCI configuration compiled to an ordered list of operations.

All policy ends here; the child does what the list says. The order is that of the safe runtimes:

    hide · keep mounts to ourselves · root file system · mounts by depth · devices · (placed in cgroups) · cgroup view ·
    masks · read-only · limits · (user namespace) · pivot · working directory · session · ids · seccomp ·
    capabilities · execute

A seccomp filter goes in as late as can be: after everything with no_new_privs, else just before CAP_SYS_ADMIN goes.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass

from nsrun.model.sysctls import SysctlNamespace, namespace_of
from nsrun.runtime import mountplan
from nsrun.runtime import operations as do
from nsrun.runtime.capabilities import capability_mask
from nsrun.runtime.environment import executable_candidates
from nsrun.runtime.launchplan import LaunchPlan
from nsrun.runtime.mountplan import MountParts, OverlayParts, RootTree, Users, VolumeTree
from nsrun.runtime.ociconfig import OciConfig, Process
from nsrun.runtime.ocilinux import SANDBOX_SYSCTLS
from nsrun.runtime.scope import scope
from nsrun.support import native

__all__ = [
    "NAMESPACES",
    "ContainerParts",
    "LaunchPlan",
    "MountParts",
    "OverlayParts",
    "RootTree",
    "SandboxParts",
    "Users",
    "VolumeTree",
    "container_plan",
    "identity",
    "labels",
    "limits",
    "sandbox_plan",
]

NAMESPACES = {
    "mount": native.CLONE_NEWNS,
    "pid": native.CLONE_NEWPID,
    "ipc": native.CLONE_NEWIPC,
    "uts": native.CLONE_NEWUTS,
    "network": native.CLONE_NEWNET,
    "cgroup": native.CLONE_NEWCGROUP,
    "user": native.CLONE_NEWUSER,
}

# What a pod's user namespace owns beside its network. Process namespaces stay the host's: who builds a root file system
# is born in one, with the host's power.
_OWNED = native.CLONE_NEWIPC | native.CLONE_NEWUTS


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerParts:
    """What a container's plan needs beside its configuration. ``seccomp``: its filter, None for none; ``empty_dir``:
    host directory that masks directories; ``session``: name of the keyring; ``pid_fd``: the pod's process namespace,
    which travels with the plan, -1 for one of its own or the host's; ``fd_count``, ``cgroup_fd``, ``procs_fds``: as in
    LaunchPlan."""

    mounts: MountParts
    seccomp: do.Seccomp | None
    empty_dir: str
    session: str
    pid_fd: int = -1
    fd_count: int = 0
    cgroup_fd: int = -1
    procs_fds: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxParts:
    """The same for a sandbox. ``netns_fd`` (-1: the host's network) and ``pause_fd`` travel with the plan. ``users``:
    the pod's user namespace, None for the host's."""

    netns_fd: int
    pause_fd: int
    seccomp: do.Seccomp | None
    fd_count: int
    users: Users | None = None
    cgroup_fd: int = -1
    procs_fds: tuple[int, ...] = ()


def container_plan(config: OciConfig, parts: ContainerParts) -> LaunchPlan:
    """Compiles a container's configuration. Raises RuntimeFailure when nothing can be executed."""
    new, join = _namespaces(config)
    process = config["process"]
    early, late = mountplan.by_cgroup_view(config["mounts"])
    ops: list[do.Operation] = [do.Hide(), *mountplan.shared(config, parts.mounts), do.Private()]
    ops += mountplan.root(config, parts.mounts)
    for mount in early:
        ops += mountplan.mounted(config, mount, parts.mounts)
    ops += [do.OomScore(score=process["oomScoreAdj"]), *labels(process), do.Gate()]
    if any(entry["type"] == "cgroup" for entry in config["linux"]["namespaces"]):
        ops.append(do.Unshare(flags=native.CLONE_NEWCGROUP))
    for mount in late:
        ops += mountplan.mounted(config, mount, parts.mounts)
    ops += [do.Mask(path=path, empty=parts.empty_dir) for path in config["linux"]["maskedPaths"]]
    ops += [do.ReadOnly(path=path) for path in config["linux"]["readonlyPaths"]]
    ops += _close_root(config)
    if parts.pid_fd >= 0:
        ops.append(do.JoinNamespace(fd=parts.pid_fd, flags=native.CLONE_NEWPID, path=_path(config, "pid")))
    ops += limits(process)
    if parts.mounts.users is not None:
        ops.append(do.EnterUser(flags=native.CLONE_NEWNS))
    ops += [do.Pivot(), do.WorkingDirectory(path=process["cwd"])]
    ops += _born_last(config, parts) if parts.pid_fd >= 0 else _as_it_is(config, parts)
    ops.append(
        do.Execute(
            candidates=tuple(executable_candidates(process["args"][0], process["env"])),
            arguments=tuple(process["args"]),
            environment=tuple(process["env"]),
        )
    )
    return LaunchPlan(
        operations=tuple(ops),
        new_namespaces=new,
        join_namespaces=join,
        fd_count=parts.fd_count,
        cgroup_fd=parts.cgroup_fd,
        procs_fds=parts.procs_fds,
    )


def _as_it_is(config: OciConfig, parts: ContainerParts) -> list[do.Operation]:
    """The first of a process namespace of its own, or one among the host's."""
    process = config["process"]
    ops: list[do.Operation] = [do.NewSession()]
    if process["terminal"]:
        ops.append(do.Terminal(uid=process["user"]["uid"]))
    return [*ops, do.Keyring(name=parts.session), *scope(config), *identity(process, parts.seccomp)]


def _born_last(config: OciConfig, parts: ContainerParts) -> list[do.Operation]:
    """One among the pod's other processes, which may trace it if they hold CAP_SYS_PTRACE. So it is born when there is
    nothing to be gained from it any more: no power that its container does not have, no descriptor."""
    process = config["process"]
    ops: list[do.Operation] = []
    if process["terminal"]:
        ops.append(do.Terminal(uid=process["user"]["uid"]))
    ops += [do.Keyring(name=parts.session), do.Shut(), *scope(config), *identity(process, parts.seccomp)]
    return [*ops, do.Birth(), do.NewSession(terminal=process["terminal"])]


def _path(config: OciConfig, kind: str) -> str:
    return next(entry["path"] for entry in config["linux"]["namespaces"] if entry["type"] == kind)


def sandbox_plan(config: OciConfig, parts: SandboxParts) -> LaunchPlan:
    """Compiles a sandbox's configuration: namespaces, sysctls, shared memory, and a process that can do nothing."""
    new, join = _namespaces(config)
    process, users = config["process"], parts.users
    later = _OWNED & new if users is not None else 0
    of_network, of_ipc = _sysctls(config)
    ops: list[do.Operation] = [do.Hide(), do.Private()]
    if join & native.CLONE_NEWNET:
        ops.append(do.JoinNamespace(fd=parts.netns_fd, flags=native.CLONE_NEWNET, path=_path(config, "network")))
    ops += [*of_network, do.OomScore(score=process["oomScoreAdj"])]
    ops += [do.Maker(uid=users.first, gid=users.first)] if users is not None else []
    ops.append(
        do.EmptyRoot(path=config["root"]["path"], directories=tuple(m["destination"][1:] for m in config["mounts"]))
    )
    ops += [mountplan.file_system(mount) for mount in config["mounts"]]
    ops.append(do.Gate())
    ops += [do.EnterUser(fd=users.fd, flags=native.CLONE_NEWNS | later)] if users is not None else []
    ops += of_ipc
    if "hostname" in config:
        ops.append(do.Hostname(name=config["hostname"]))
    ops += [do.Pivot(), do.NewSession(), *limits(process), *identity(process, parts.seccomp)]
    ops.append(do.ExecuteFd(fd=parts.pause_fd, arguments=tuple(process["args"])))
    return LaunchPlan(
        operations=tuple(ops),
        new_namespaces=new & ~later,
        fd_count=parts.fd_count,
        cgroup_fd=parts.cgroup_fd,
        procs_fds=parts.procs_fds,
    )


def _sysctls(config: OciConfig) -> tuple[list[do.Operation], list[do.Operation]]:
    """Those of the network, which is there, and those of the ipc namespace, which may have to be made first."""
    of_network: list[do.Operation] = []
    of_ipc: list[do.Operation] = []
    for name, value in config["linux"].get("sysctl", {}).items():
        ops = of_network if namespace_of(name) is SysctlNamespace.NET else of_ipc
        ops.append(do.Sysctl(name=name, value=value, required=SANDBOX_SYSCTLS.get(name) != value))
    return of_network, of_ipc


def _namespaces(config: OciConfig) -> tuple[int, int]:
    """Flags to make, and to join, at the clone. The cgroup namespace is made by an operation: at the clone it would
    show the parent's cgroup. User and process namespaces are entered by others: the way there asks for power over the
    host, which nobody there may get hold of."""
    new = join = 0
    for entry in config["linux"]["namespaces"]:
        if "path" in entry:
            join |= NAMESPACES[entry["type"]]
        else:
            new |= NAMESPACES[entry["type"]]
    later = native.CLONE_NEWCGROUP | native.CLONE_NEWUSER
    return new & ~later, join & ~(later | native.CLONE_NEWPID)


def _close_root(config: OciConfig) -> list[do.Operation]:
    """The working directory of a read-only root must be made while it can be."""
    cwd = config["process"]["cwd"]
    ops: list[do.Operation] = []
    if config["root"]["readonly"]:
        ops += [do.Directory(path=cwd)] if cwd.strip("/") else []
        ops.append(do.RootReadOnly())
    return ops


def labels(process: Process) -> list[do.Operation]:
    """What the security module is told: while the host's /proc is there."""
    ops: list[do.Operation] = []
    if "apparmorProfile" in process:
        ops.append(do.Label(module="AppArmor", name=process["apparmorProfile"]))
    if "selinuxLabel" in process:
        ops.append(do.Label(module="SELinux", name=process["selinuxLabel"]))
    return ops


def limits(process: Process) -> list[do.Operation]:
    """Resource limits. In a user namespace none can be raised any more."""
    return [do.Rlimit(name=limit["type"], soft=limit["soft"], hard=limit["hard"]) for limit in process["rlimits"]]


def identity(process: Process, seccomp: do.Seccomp | None) -> list[do.Operation]:
    """Who a process is and what it may do: the last operations before its exec, the same for commands that join."""
    user, capabilities = process["user"], process["capabilities"]
    filter_ = [seccomp] if seccomp is not None else []
    late = process["noNewPrivileges"]
    ops: list[do.Operation] = [do.Umask(mask=user["umask"])]
    if "additionalGids" in user:
        ops.append(do.Groups(gids=tuple(user["additionalGids"])))
    ops += [
        do.Ids(uid=user["uid"], gid=user["gid"]),
        # The kernel forgets it when ids change, so it comes after.
        do.DeathSignal(signal=signal.SIGKILL),
    ]
    ops += [] if late else filter_
    ops.append(
        do.Capabilities(
            bounding=capability_mask(capabilities["bounding"]), permitted=capability_mask(capabilities["permitted"])
        )
    )
    ops += [do.NoNewPrivileges(), *filter_] if late else []
    return ops
