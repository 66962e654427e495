"""The mounts of an OCI configuration as operations of a launch plan."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nsrun.runtime import operations as do
from nsrun.runtime.cgroup_view import CgroupView
from nsrun.runtime.ociconfig import Device, Mount, OciConfig
from nsrun.runtime.ocilinux import DEV_LINKS, DEVICES
from nsrun.support import native

__all__ = [
    "MountParts",
    "OverlayParts",
    "RootTree",
    "Users",
    "VolumeTree",
    "by_cgroup_view",
    "file_system",
    "mounted",
    "root",
    "shared",
]

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

# File systems that are the container's alone, and so all of them has its label.
_LABELLED = frozenset(("tmpfs", "devpts", "mqueue"))

# Where the root's own directory must be: a link in their place would lead masks, nodes or settings astray.
_REAL_PLACES = frozenset(("/proc", "/sys", "/dev"))

_CGROUP_PLACE = "/sys/fs/cgroup"
_CGROUP_ATTRIBUTES = native.MOUNT_ATTR_NOSUID | native.MOUNT_ATTR_NODEV | native.MOUNT_ATTR_NOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayParts:
    """Host directories of a root file system; ``layers`` topmost first. ``user_xattrs``: overlayfs keeps its marks in
    ``user.*``, as it must in a child user namespace."""

    layers: tuple[str, ...]
    upper: str
    work: str
    user_xattrs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RootTree:
    """A root file system that is whole already: a detached mount that travels with the plan as ``fd``. ``source``: what
    it is, for people."""

    fd: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeTree:
    """A detached mount that travels with the plan as ``fd``. ``file``: it shows a file, not a directory. ``real``: its
    place must be a directory, not a link to one."""

    fd: int
    file: bool
    real: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    """A pod's user namespace: it travels with the plan as ``fd``, and its root is ``first`` on the host."""

    fd: int
    first: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MountParts:
    """What the mounts of a container need beside its configuration. ``trees``: by destination; ``sandbox_root``: what
    the sources of mounts that the sandbox shares begin with; ``nodev``: of the root file system; ``users``: the pod's
    user namespace, None for the host's; ``makes_devices``: whether nodes can be made, or must be the host's."""

    root: OverlayParts | RootTree
    trees: Mapping[str, VolumeTree]
    cgroup_view: CgroupView
    sandbox_root: str
    nodev: bool = True
    users: Users | None = None
    makes_devices: bool = True


def root(config: OciConfig, parts: MountParts) -> Iterator[do.Operation]:
    """The root file system, and who owns what is made in it."""
    target = config["root"]["path"]
    if isinstance(parts.root, RootTree):
        yield do.Attach(fd=parts.root.fd, source=parts.root.source, target=target)
    else:
        yield from _overlay(config, parts, parts.root)
    yield do.UseRoot(path=target)
    if parts.users is not None:
        yield do.Maker(uid=parts.users.first, gid=parts.users.first)


def _overlay(config: OciConfig, parts: MountParts, overlay: OverlayParts) -> Iterator[do.Operation]:
    """Opens every directory first: options then hold numbers, not paths with colons and commas and without end, and
    overlayfs wants them from this mount namespace.

    ``volatile``: the upper directory dies with its container, so nothing of it need ever reach the disk. Redirects are
    not followed: a layer could lead out of itself. nodev: no device node of an image opens, unless it is privileged.
    """
    first = len(_shared(config["mounts"], parts))
    directories = (*overlay.layers, overlay.upper, overlay.work)
    users = parts.users.fd if parts.users is not None else None
    for number, path in enumerate(directories):
        is_layer = number < len(overlay.layers)
        yield do.OpenHost(path=path, slot=first + number, users=users if is_layer else None)
    layers = ":".join(f"%{first + number}" for number in range(len(overlay.layers)))
    upper = first + len(overlay.layers)
    options = f"lowerdir={layers},upperdir=%{upper},workdir=%{upper + 1},volatile,redirect_dir=nofollow,index=off"
    options += ",userxattr" if overlay.user_xattrs else ""
    if label := config["linux"].get("mountLabel"):
        options += f',context="{label}"'
    yield do.Overlay(target=config["root"]["path"], options=options, flags=native.MS_NODEV if parts.nodev else 0)


def shared(config: OciConfig, parts: MountParts) -> Iterator[do.Operation]:
    """Takes what the sandbox shares by its own mount namespace (/dev/shm)."""
    for slot, mount in enumerate(_shared(config["mounts"], parts)):
        yield do.SandboxTree(path=mount["source"].removeprefix(parts.sandbox_root), slot=slot)


def by_cgroup_view(mounts: Sequence[Mount]) -> tuple[list[Mount], list[Mount]]:
    """The view of the cgroups, with what lies below it, comes last: it must wait until the process is in them."""
    late = [m for m in mounts if m["destination"] == _CGROUP_PLACE or m["destination"].startswith(f"{_CGROUP_PLACE}/")]
    return [mount for mount in mounts if mount not in late], late


def mounted(config: OciConfig, mount: Mount, parts: MountParts) -> Iterator[do.Operation]:
    """One mount of a container, and what is made in it."""
    if mount["type"] == "bind" or mount["destination"] in parts.trees:
        yield _bind(config, mount, parts)
    elif mount["type"] == "cgroup":
        yield from _cgroup_view(parts.cgroup_view)
    else:
        yield file_system(mount, shift=_shift(parts), label=config["linux"].get("mountLabel", ""))
    if mount["destination"] == "/dev":
        yield from _nodes(config, parts)


def file_system(mount: Mount, *, shift: int = 0, label: str = "") -> do.MountFs:
    """A mount of a new file system. ``shift``: what is added to the container's ids to get the host's; ``label``: of
    what has none of its own."""
    attributes = 0
    options = [f"source={mount['source']}"]
    if label and mount["type"] in _LABELLED:
        options.append(f"context={label}")
    for option in mount["options"]:
        if option in _ATTRIBUTES:
            attributes |= _ATTRIBUTES[option]
        elif option.startswith(("uid=", "gid=")):
            options.append(f"{option[:4]}{int(option[4:]) + shift}")
        else:
            options.append(option)
    return do.MountFs(
        type=mount["type"],
        target=mount["destination"],
        options=tuple(options),
        attributes=attributes,
        real=mount["destination"] in _REAL_PLACES,
    )


def _shared(mounts: Sequence[Mount], parts: MountParts) -> list[Mount]:
    return [m for m in mounts if m["type"] == "bind" and m["source"].startswith(f"{parts.sandbox_root}/")]


def _bind(config: OciConfig, mount: Mount, parts: MountParts) -> do.Operation:
    target, source = mount["destination"], mount["source"]
    of_sandbox = _shared(config["mounts"], parts)
    if mount in of_sandbox:
        slot = do.Slot(of_sandbox.index(mount))
        return do.Bind(fd=slot, source=source, target=target, real=target in _REAL_PLACES)
    tree = parts.trees[target]
    return do.Bind(fd=tree.fd, source=source, target=target, file=tree.file, real=tree.real)


def _shift(parts: MountParts) -> int:
    return parts.users.first if parts.users is not None else 0


def _nodes(config: OciConfig, parts: MountParts) -> Iterator[do.Operation]:
    """Devices, and the links beside them."""
    devices = config["linux"]["devices"]
    for device in devices:
        yield _node(device, _shift(parts)) if parts.makes_devices else _host_node(device)
    if devices:
        for target, path in DEV_LINKS:
            yield do.Symlink(path=path, target=target)


def _node(device: Device, shift: int) -> do.Node:
    """The default devices belong to the container's root; those of the host to whom they belong there, and root of a
    user namespace is nobody to them."""
    own = shift if (device["path"], device["major"], device["minor"]) in DEVICES else 0
    return do.Node(
        path=device["path"],
        major=device["major"],
        minor=device["minor"],
        mode=_type(device) | device["fileMode"],
        uid=device["uid"] + own,
        gid=device["gid"] + own,
    )


def _host_node(device: Device) -> do.BindNode:
    return do.BindNode(
        path=device["path"],
        source=device["path"],
        major=device["major"],
        minor=device["minor"],
        mode=_type(device) | device["fileMode"],
    )


def _type(device: Device) -> int:
    return stat.S_IFBLK if device["type"] == "b" else stat.S_IFCHR


def _cgroup_view(view: CgroupView) -> Iterator[do.Operation]:
    for mount in view.mounts:
        attributes = _CGROUP_ATTRIBUTES | (native.MOUNT_ATTR_RDONLY if mount.read_only else 0)
        options = (f"source={mount.source or mount.type}", *mount.options)
        yield do.MountFs(type=mount.type, target=mount.destination, options=options, attributes=attributes)
    for path, target in view.links:
        yield do.Symlink(path=path, target=target)
    if view.seal:
        yield do.ReadOnly(path=view.seal)
