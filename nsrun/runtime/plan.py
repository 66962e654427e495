"""The launch plan: an OCI configuration compiled to an ordered list of operations, and their encoding for the native
child.

All policy ends here; the child does what the list says. The order is that of the safe runtimes:

    hide · keep mounts to ourselves · root file system · mounts by depth · devices · (placed in cgroups) · cgroup view ·
    masks · read-only · pivot · working directory · session · limits · ids · capabilities · seccomp · execute

A seccomp filter goes in as late as can be: after everything with no_new_privs, else while CAP_SYS_ADMIN is still there.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nsrun.runtime import operations as do
from nsrun.runtime.capabilities import capability_mask
from nsrun.runtime.cgroup_view import CgroupView
from nsrun.runtime.environment import executable_candidates
from nsrun.runtime.ociconfig import Mount, OciConfig, Process
from nsrun.runtime.ocispec import DEV_LINKS
from nsrun.support import native

__all__ = [
    "ContainerParts",
    "LaunchPlan",
    "OverlayParts",
    "SandboxParts",
    "VolumeTree",
    "container_plan",
    "identity",
    "sandbox_plan",
]

_NAMESPACES = {
    "mount": native.CLONE_NEWNS,
    "pid": native.CLONE_NEWPID,
    "ipc": native.CLONE_NEWIPC,
    "uts": native.CLONE_NEWUTS,
    "network": native.CLONE_NEWNET,
    "cgroup": native.CLONE_NEWCGROUP,
}

_ATTRIBUTES = {
    "ro": native.MOUNT_ATTR_RDONLY,
    "nosuid": native.MOUNT_ATTR_NOSUID,
    "nodev": native.MOUNT_ATTR_NODEV,
    "noexec": native.MOUNT_ATTR_NOEXEC,
    "noatime": native.MOUNT_ATTR_NOATIME,
    "strictatime": native.MOUNT_ATTR_STRICTATIME,
    "relatime": native.MOUNT_ATTR_RELATIME,
    "rw": 0,
}

# Where the root's own directory must be: a link in their place would lead masks, nodes or settings astray.
_REAL_PLACES = frozenset(("/proc", "/sys", "/dev"))

_CGROUP_PLACE = "/sys/fs/cgroup"
_CGROUP_ATTRIBUTES = native.MOUNT_ATTR_NOSUID | native.MOUNT_ATTR_NODEV | native.MOUNT_ATTR_NOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchPlan:
    """What the child does, in which namespaces, in which cgroups. Descriptors are indices of those that travel with
    it."""

    operations: tuple[do.Operation, ...]
    new_namespaces: int
    join_namespaces: int = 0
    fd_count: int = 0
    cgroup_fd: int = -1
    procs_fds: tuple[int, ...] = ()

    def explain(self) -> list[str]:
        """One line for each thing that happens, in order."""
        lines = [f"make namespaces: {do.namespace_names(self.new_namespaces)}"]
        if self.join_namespaces:
            lines.append(f"join namespaces of the sandbox: {do.namespace_names(self.join_namespaces)}")
        return [*lines, *(operation.describe() for operation in self.operations)]

    def encode(self) -> bytes:
        """The plan as ``struct ns_plan``, operations and data."""
        start = native.PLAN_HEAD_SIZE + native.OP_SIZE * len(self.operations)
        packed: list[bytes] = []
        data = bytearray()
        for operation in self.operations:
            fields = operation.encoded()
            packed.append(
                native.pack_op(
                    fields.kind,
                    flags=native.abi.NS_TOLERATE if fields.tolerate else 0,
                    fd=self._index(fields.fd),
                    a=fields.a,
                    b=fields.b,
                    c=fields.c,
                    texts=[_append(data, start, text) for text in fields.texts],
                )
            )
        head = native.pack_head(
            size=start + len(data),
            op_count=len(self.operations),
            fd_count=self.fd_count,
            new_namespaces=self.new_namespaces,
            join_namespaces=self.join_namespaces,
            cgroup_fd=self.cgroup_fd,
            procs_fds=self.procs_fds,
        )
        return b"".join((head, *packed, data))

    def _index(self, fd: int | do.Slot | None) -> int:
        if fd is None:
            return -1
        return self.fd_count + fd.number if isinstance(fd, do.Slot) else fd


def _append(data: bytearray, start: int, text: bytes) -> tuple[int, int]:
    """Adds a text with its NUL, aligned for whatever it holds; where it is."""
    if not text:
        return 0, 0
    data.extend(bytes(-(start + len(data)) % 8))
    offset = start + len(data)
    data += text
    data.append(0)
    return offset, len(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayParts:
    """Host directories of a root file system; ``layers`` topmost first."""

    layers: tuple[str, ...]
    upper: str
    work: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeTree:
    """A detached mount that travels with the plan as ``fd``. ``file``: it shows a file, not a directory."""

    fd: int
    file: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerParts:
    """What a container's plan needs beside its configuration. ``trees``: by destination; ``empty_dir``: host directory
    that masks directories; ``session``: name of the keyring; ``fd_count``, ``cgroup_fd``, ``procs_fds``: as in
    LaunchPlan."""

    overlay: OverlayParts
    trees: Mapping[str, VolumeTree]
    cgroup_view: CgroupView
    seccomp: bytes
    sandbox_root: str
    empty_dir: str
    session: str
    fd_count: int = 0
    cgroup_fd: int = -1
    procs_fds: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxParts:
    """The same for a sandbox. ``netns_fd`` and ``pause_fd`` travel with the plan."""

    netns_fd: int
    pause_fd: int
    seccomp: bytes
    fd_count: int
    cgroup_fd: int = -1
    procs_fds: tuple[int, ...] = ()


def container_plan(config: OciConfig, parts: ContainerParts) -> LaunchPlan:
    """Compiles a container's configuration. Raises RuntimeFailure when nothing can be executed."""
    new, join = _namespaces(config)
    ops: list[do.Operation] = [do.Hide(), *_shared_trees(config, parts), do.Private()]
    ops += _root_file_system(config, parts)
    early, late = _by_cgroup_view(config["mounts"])
    for mount in early:
        ops += _mount(config, mount, parts)
    ops += [do.OomScore(score=config["process"]["oomScoreAdj"]), do.Gate()]
    ops.append(do.Unshare(flags=native.CLONE_NEWCGROUP))
    for mount in late:
        ops += _mount(config, mount, parts)
    ops += [do.Mask(path=path, empty=parts.empty_dir) for path in config["linux"]["maskedPaths"]]
    ops += [do.ReadOnly(path=path) for path in config["linux"]["readonlyPaths"]]
    ops += _close_root(config)
    ops += [do.NewSession(), do.Keyring(name=parts.session)]
    ops += identity(config["process"], parts.seccomp)
    process = config["process"]
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


def sandbox_plan(config: OciConfig, parts: SandboxParts) -> LaunchPlan:
    """Compiles a sandbox's configuration: namespaces, sysctls, shared memory, and a process that can do nothing."""
    new, _ = _namespaces(config)
    netns = next(entry for entry in config["linux"]["namespaces"] if entry["type"] == "network")
    ops: list[do.Operation] = [do.Hide(), do.Private()]
    ops.append(do.JoinNamespace(fd=parts.netns_fd, flags=native.CLONE_NEWNET, path=netns["path"]))
    ops += [do.Sysctl(name=name, value=value) for name, value in config["linux"].get("sysctl", {}).items()]
    ops += [do.Hostname(name=config["hostname"]), do.OomScore(score=config["process"]["oomScoreAdj"])]
    ops.append(
        do.EmptyRoot(path=config["root"]["path"], directories=tuple(m["destination"][1:] for m in config["mounts"]))
    )
    for mount in config["mounts"]:
        ops.append(_file_system(mount))
    ops += [do.Gate(), do.Pivot(), do.NewSession(), *identity(config["process"], parts.seccomp)]
    ops.append(do.ExecuteFd(fd=parts.pause_fd, arguments=tuple(config["process"]["args"])))
    return LaunchPlan(
        operations=tuple(ops),
        new_namespaces=new & ~native.CLONE_NEWNET,
        fd_count=parts.fd_count,
        cgroup_fd=parts.cgroup_fd,
        procs_fds=parts.procs_fds,
    )


def _namespaces(config: OciConfig) -> tuple[int, int]:
    """Flags to make, and to join. The cgroup namespace is made by an operation: at the clone it would show the parent's
    cgroup."""
    new = join = 0
    for entry in config["linux"]["namespaces"]:
        if "path" in entry:
            join |= _NAMESPACES[entry["type"]]
        else:
            new |= _NAMESPACES[entry["type"]]
    return new & ~native.CLONE_NEWCGROUP, join


def _root_file_system(config: OciConfig, parts: ContainerParts) -> list[do.Operation]:
    """Opens every directory first: options then hold numbers, not paths with colons and commas and without end, and
    overlayfs wants them from this mount namespace.

    ``volatile``: the upper directory dies with its container, so nothing of it need ever reach the disk. Redirects are
    not followed: a layer could lead out of itself. nodev: no device node of an image opens.
    """
    overlay, first = parts.overlay, _slots_used(config, parts)
    directories = (*overlay.layers, overlay.upper, overlay.work)
    ops: list[do.Operation] = [do.OpenHost(path=path, slot=first + n) for n, path in enumerate(directories)]
    layers = ":".join(f"%{first + n}" for n in range(len(overlay.layers)))
    upper = first + len(overlay.layers)
    options = f"lowerdir={layers},upperdir=%{upper},workdir=%{upper + 1},volatile,redirect_dir=nofollow,index=off"
    ops.append(do.Overlay(target=config["root"]["path"], options=options, flags=native.MS_NODEV))
    ops.append(do.UseRoot(path=config["root"]["path"]))
    return ops


def _shared_trees(config: OciConfig, parts: ContainerParts) -> list[do.Operation]:
    """What the sandbox shares by its own mount namespace (/dev/shm)."""
    shared = _shared(config["mounts"], parts.sandbox_root)
    return [
        do.SandboxTree(path=mount["source"].removeprefix(parts.sandbox_root), slot=slot)
        for slot, mount in enumerate(shared)
    ]


def _slots_used(config: OciConfig, parts: ContainerParts) -> int:
    return len(_shared(config["mounts"], parts.sandbox_root))


def _shared(mounts: Sequence[Mount], sandbox_root: str) -> list[Mount]:
    return [mount for mount in mounts if mount["type"] == "bind" and mount["source"].startswith(f"{sandbox_root}/")]


def _by_cgroup_view(mounts: Sequence[Mount]) -> tuple[list[Mount], list[Mount]]:
    """The view of the cgroups, with what lies below it, comes last: it must wait until the process is in them."""
    late = [m for m in mounts if m["destination"] == _CGROUP_PLACE or m["destination"].startswith(f"{_CGROUP_PLACE}/")]
    return [mount for mount in mounts if mount not in late], late


def _mount(config: OciConfig, mount: Mount, parts: ContainerParts) -> list[do.Operation]:
    target = mount["destination"]
    if mount["type"] == "bind":
        return [*_bind(config, mount, parts), *(_nodes(config) if target == "/dev" else ())]
    if mount["type"] == "cgroup":
        return _cgroup_view(parts.cgroup_view)
    return [_file_system(mount), *(_nodes(config) if target == "/dev" else ())]


def _bind(config: OciConfig, mount: Mount, parts: ContainerParts) -> list[do.Operation]:
    target, source = mount["destination"], mount["source"]
    shared = _shared(config["mounts"], parts.sandbox_root)
    if mount in shared:
        return [do.Bind(fd=do.Slot(shared.index(mount)), source=source, target=target)]
    tree = parts.trees[target]
    return [do.Bind(fd=tree.fd, source=source, target=target, file=tree.file)]


def _file_system(mount: Mount) -> do.MountFs:
    attributes = 0
    options = [f"source={mount['source']}"]
    for option in mount["options"]:
        if option in _ATTRIBUTES:
            attributes |= _ATTRIBUTES[option]
        else:
            options.append(option)
    return do.MountFs(
        type=mount["type"],
        target=mount["destination"],
        options=tuple(options),
        attributes=attributes,
        real=mount["destination"] in _REAL_PLACES,
    )


def _nodes(config: OciConfig) -> list[do.Operation]:
    devices = config["linux"]["devices"]
    if not devices:
        return []
    ops: list[do.Operation] = [
        do.Node(path=device["path"], major=device["major"], minor=device["minor"], mode=device["fileMode"])
        for device in devices
    ]
    return ops + [do.Symlink(path=path, target=target) for target, path in DEV_LINKS]


def _cgroup_view(view: CgroupView) -> list[do.Operation]:
    ops: list[do.Operation] = []
    for mount in view.mounts:
        attributes = _CGROUP_ATTRIBUTES | (native.MOUNT_ATTR_RDONLY if mount.read_only else 0)
        options = (f"source={mount.type}", *mount.options)
        ops.append(do.MountFs(type=mount.type, target=mount.destination, options=options, attributes=attributes))
    ops += [do.Symlink(path=path, target=target) for path, target in view.links]
    if view.seal:
        ops.append(do.ReadOnly(path=view.seal))
    return ops


def _close_root(config: OciConfig) -> list[do.Operation]:
    """The working directory of a read-only root must be made while it can be."""
    cwd = config["process"]["cwd"]
    ops: list[do.Operation] = []
    if config["root"]["readonly"]:
        ops += [do.Directory(path=cwd)] if cwd.strip("/") else []
        ops.append(do.RootReadOnly())
    return [*ops, do.Pivot(), do.WorkingDirectory(path=cwd)]


def identity(process: Process, seccomp: bytes) -> list[do.Operation]:
    """Who a process is and what it may do: the last operations before its exec, the same for commands that join."""
    user, capabilities = process["user"], process["capabilities"]
    filter_ = do.Seccomp(program=seccomp)
    ops: list[do.Operation] = [do.Umask(mask=user["umask"])]
    ops += [do.Rlimit(name=limit["type"], soft=limit["soft"], hard=limit["hard"]) for limit in process["rlimits"]]
    if not process["noNewPrivileges"]:
        ops.append(filter_)
    ops += [
        do.Groups(gids=tuple(user["additionalGids"])),
        do.Ids(uid=user["uid"], gid=user["gid"]),
        do.Capabilities(
            bounding=capability_mask(capabilities["bounding"]), permitted=capability_mask(capabilities["permitted"])
        ),
        # The kernel forgets it when ids change, so it comes after.
        do.DeathSignal(signal=signal.SIGKILL),
    ]
    if process["noNewPrivileges"]:
        ops += [do.NoNewPrivileges(), filter_]
    return ops
