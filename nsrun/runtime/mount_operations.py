"""Operations that build a root file system and enter it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from nsrun.runtime.operation import Encoded, Slot, listed, text
from nsrun.support import native
from nsrun.support.native import abi

__all__ = [
    "Attach",
    "Bind",
    "BindNode",
    "Directory",
    "EmptyRoot",
    "Maker",
    "Mask",
    "MountFs",
    "Node",
    "OpenHost",
    "Overlay",
    "Pivot",
    "Private",
    "ReadOnly",
    "RootReadOnly",
    "SandboxTree",
    "Symlink",
    "UseRoot",
]

_ATTRIBUTE_NAMES = (
    (native.MOUNT_ATTR_RDONLY, "ro"),
    (native.MOUNT_ATTR_NOSUID, "nosuid"),
    (native.MOUNT_ATTR_NODEV, "nodev"),
    (native.MOUNT_ATTR_NOEXEC, "noexec"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Private:
    """Nothing that is mounted from here on reaches the host."""

    def describe(self) -> str:
        return "keep mounts from propagating to the host"

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_PRIVATE)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenHost:
    """Opens a host path into a slot. ``users``: a travelling user namespace whose owners it shows (an idmapped
    mount)."""

    path: str
    slot: int
    users: int | None = None

    def describe(self) -> str:
        owners = " with the owners of the pod's user namespace" if self.users is not None else ""
        return f'open host path "{self.path}"{owners}'

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_OPEN, fd=self.users, c=self.slot, texts=(text(self.path),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Maker:
    """Who owns what is made from here on, in ids of the host."""

    uid: int
    gid: int

    def describe(self) -> str:
        return f"make what is missing in the name of user {self.uid}, group {self.gid}"

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_MAKER, a=self.uid, b=self.gid)


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxTree:
    """A copy of a mount of the sandbox, into a slot."""

    path: str
    slot: int

    def describe(self) -> str:
        return f'take the sandbox\'s "{self.path}"'

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_SANDBOX_TREE, c=self.slot, texts=(text(self.path),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """Mounts an overlay of what the slots hold. ``options`` in mount(2)'s form, ``%<n>`` for slot n."""

    target: str
    options: str
    flags: int

    def describe(self) -> str:
        return f'mount the overlay of the image\'s layers ({self.options}) at host path "{self.target}"'

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_OVERLAY, a=self.flags, texts=(text(self.target), text(self.options)))


@dataclass(frozen=True, slots=True, kw_only=True)
class UseRoot:
    """Chooses the rootfs."""

    path: str

    def describe(self) -> str:
        return f'use what is mounted at host path "{self.path}" as root file system'

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_ROOT, texts=(text(self.path),))


@dataclass(frozen=True, slots=True, kw_only=True)
class EmptyRoot:
    """An empty, read-only root file system; ``directories`` are made in it first."""

    path: str
    directories: tuple[str, ...] = ()

    def describe(self) -> str:
        return "make an empty read-only root file system"

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_EMPTY_ROOT, texts=(text(self.path), listed(self.directories)))


@dataclass(frozen=True, slots=True, kw_only=True)
class MountFs:
    """A new instance of a file system. ``attributes``: MOUNT_ATTR_*; ``real``: the target must be a directory, not a
    link to one."""

    type: str
    target: str
    options: tuple[str, ...] = ()
    attributes: int = 0
    real: bool = False

    def describe(self) -> str:
        words = [name for bit, name in _ATTRIBUTE_NAMES if self.attributes & bit]
        words += [option for option in self.options if not option.startswith("source=")]
        return f'mount {self.type} at "{self.target}"' + (f" ({', '.join(words)})" if words else "")

    def encoded(self) -> Encoded:
        texts = (text(self.type), listed(self.options), text(self.target))
        return Encoded(abi.NS_OP_FS, a=self.attributes, b=int(self.real), texts=texts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """Attaches a detached mount. ``source``: what it shows, for people; ``real``: as for a file system."""

    fd: int | Slot
    source: str
    target: str
    file: bool = False
    real: bool = False

    def describe(self) -> str:
        return f'mount "{self.source}" at "{self.target}"'

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_BIND, fd=self.fd, a=int(self.file), b=int(self.real), texts=(text(self.target),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """Makes a directory, with parents, owned by root."""

    path: str
    mode: int = 0o755

    def describe(self) -> str:
        return f'make directory "{self.path}"'

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_MKDIR, a=self.mode, texts=(text(self.path),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """Makes a device. ``mode`` with its type (stat.S_IFCHR, stat.S_IFBLK); ``uid`` and ``gid`` as the host has them."""

    path: str
    major: int
    minor: int
    mode: int
    uid: int = 0
    gid: int = 0

    def describe(self) -> str:
        kind = "b" if stat.S_ISBLK(self.mode) else "c"
        return f'make device "{self.path}" ({kind} {self.major}:{self.minor})'

    def encoded(self) -> Encoded:
        device = os.makedev(self.major, self.minor)
        return Encoded(abi.NS_OP_MKNOD, a=self.mode, b=device, c=self.uid | self.gid << 32, texts=(text(self.path),))


@dataclass(frozen=True, slots=True, kw_only=True)
class BindNode:
    """Shows a device of the host's, where none can be made. ``mode``: with its type."""

    path: str
    source: str
    major: int
    minor: int
    mode: int

    def describe(self) -> str:
        kind = "b" if stat.S_ISBLK(self.mode) else "c"
        return f'mount the host\'s "{self.source}" ({kind} {self.major}:{self.minor}) at "{self.path}"'

    def encoded(self) -> Encoded:
        device = os.makedev(self.major, self.minor)
        return Encoded(abi.NS_OP_DEVICE, a=self.mode, b=device, texts=(text(self.path), text(self.source)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Attach:
    """Mounts a detached mount that travels with the plan. ``source``: what it shows, for people; ``target``: a host
    directory."""

    fd: int
    source: str
    target: str

    def describe(self) -> str:
        return f'mount {self.source} at host path "{self.target}"'

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_ATTACH, fd=self.fd, texts=(text(self.target),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Symlink:
    """Makes a symbolic link."""

    path: str
    target: str

    def describe(self) -> str:
        return f'link "{self.path}" to "{self.target}"'

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_SYMLINK, texts=(text(self.target), text(self.path)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """Covers a path, if it is there. ``empty``: host directory that covers directories."""

    path: str
    empty: str

    def describe(self) -> str:
        return f'mask "{self.path}"'

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_MASK, texts=(text(self.path), text(self.empty)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOnly:
    """Makes a path read-only, with all that is mounted below, if it is there."""

    path: str

    def describe(self) -> str:
        return f'make "{self.path}" read-only'

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_READONLY, texts=(text(self.path),))


@dataclass(frozen=True, slots=True, kw_only=True)
class RootReadOnly:
    """Makes the rootfs itself read-only."""

    def describe(self) -> str:
        return "make the root file system read-only"

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_ROOT_READONLY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pivot:
    """The rootfs becomes ``/``, the host's goes."""

    def describe(self) -> str:
        return "make the root file system the root and leave the host's"

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_PIVOT)
