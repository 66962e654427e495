"""The operations of a launch plan, as values. The native child interprets them in order (``native/nsrun_abi.h`` says
what each does); ``describe`` says it in words that also fit behind "cannot", so one phrase explains a plan and renders
a failure.

``encoded`` gives an operation's fields in the ABI's terms. A descriptor is the index of one that travels with the plan,
or a ``Slot`` that an earlier operation filled."""

from __future__ import annotations

import os
import resource
import signal as signals
import stat
import struct
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from nsrun.support import native
from nsrun.support.native import abi

__all__ = [
    "Bind",
    "Capabilities",
    "DeathSignal",
    "Directory",
    "EmptyRoot",
    "Encoded",
    "Execute",
    "ExecuteFd",
    "Gate",
    "Groups",
    "Hide",
    "Hostname",
    "Ids",
    "JoinNamespace",
    "Keyring",
    "Mask",
    "MountFs",
    "NewSession",
    "NoNewPrivileges",
    "Node",
    "OomScore",
    "OpenHost",
    "Operation",
    "Overlay",
    "Pivot",
    "Private",
    "ReadOnly",
    "Rlimit",
    "RootReadOnly",
    "SandboxTree",
    "Seccomp",
    "Slot",
    "Symlink",
    "Sysctl",
    "Umask",
    "Unshare",
    "UseRoot",
    "WorkingDirectory",
]


class Slot(NamedTuple):
    """A descriptor that an operation of the plan opens itself."""

    number: int


class Encoded(NamedTuple):
    """An operation in the ABI's terms. ``texts``: the bytes of text[0..2], without the NUL that ends each."""

    kind: int
    fd: int | Slot | None = None
    a: int = 0
    b: int = 0
    c: int = 0
    texts: tuple[bytes, ...] = ()
    tolerate: bool = False


class Operation(Protocol):
    """One step of a launch."""

    def describe(self) -> str:
        """What it does, beginning with a verb: ``mount proc at "/proc" (nosuid, nodev, noexec)``."""
        ...

    def encoded(self) -> Encoded:
        """Its fields."""
        ...


def _text(value: str) -> bytes:
    return os.fsencode(value)


def _list(items: tuple[str, ...]) -> bytes:
    return b"".join(os.fsencode(item) + b"\0" for item in items)


_ATTRIBUTE_NAMES = (
    (native.MOUNT_ATTR_RDONLY, "ro"),
    (native.MOUNT_ATTR_NOSUID, "nosuid"),
    (native.MOUNT_ATTR_NODEV, "nodev"),
    (native.MOUNT_ATTR_NOEXEC, "noexec"),
)

_NAMESPACE_NAMES = (
    (native.CLONE_NEWNS, "mount"),
    (native.CLONE_NEWPID, "pid"),
    (native.CLONE_NEWIPC, "ipc"),
    (native.CLONE_NEWUTS, "uts"),
    (native.CLONE_NEWNET, "network"),
    (native.CLONE_NEWCGROUP, "cgroup"),
)


def namespace_names(flags: int) -> str:
    """``CLONE_NEWPID | CLONE_NEWNS`` → ``mount, pid``."""
    return ", ".join(name for bit, name in _NAMESPACE_NAMES if flags & bit)


# --- mounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Private:
    """Nothing that is mounted from here on reaches the host."""

    def describe(self) -> str:
        return "keep mounts from propagating to the host"

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_PRIVATE)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenHost:
    """Opens a host path into a slot."""

    path: str
    slot: int

    def describe(self) -> str:
        return f'open host path "{self.path}"'

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_OPEN, c=self.slot, texts=(_text(self.path),))


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxTree:
    """A copy of a mount of the sandbox, into a slot."""

    path: str
    slot: int

    def describe(self) -> str:
        return f'take the sandbox\'s "{self.path}"'

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_SANDBOX_TREE, c=self.slot, texts=(_text(self.path),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """Mounts an overlay of what the slots hold. ``options`` in mount(2)'s form, ``%<n>`` for slot n."""

    target: str
    options: str
    flags: int

    def describe(self) -> str:
        return f'mount the overlay of the image\'s layers ({self.options}) at host path "{self.target}"'

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_OVERLAY, a=self.flags, texts=(_text(self.target), _text(self.options)))


@dataclass(frozen=True, slots=True, kw_only=True)
class UseRoot:
    """Chooses the rootfs."""

    path: str

    def describe(self) -> str:
        return f'use what is mounted at host path "{self.path}" as root file system'

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_ROOT, texts=(_text(self.path),))


@dataclass(frozen=True, slots=True, kw_only=True)
class EmptyRoot:
    """An empty, read-only root file system; ``directories`` are made in it first."""

    path: str
    directories: tuple[str, ...] = ()

    def describe(self) -> str:
        return "make an empty read-only root file system"

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_EMPTY_ROOT, texts=(_text(self.path), _list(self.directories)))


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
        texts = (_text(self.type), _list(self.options), _text(self.target))
        return Encoded(abi.NS_OP_FS, a=self.attributes, b=int(self.real), texts=texts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """Attaches a detached mount. ``source``: what it shows, for people."""

    fd: int | Slot
    source: str
    target: str
    file: bool = False

    def describe(self) -> str:
        return f'mount "{self.source}" at "{self.target}"'

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_BIND, fd=self.fd, a=int(self.file), texts=(_text(self.target),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """Makes a directory, with parents, owned by root."""

    path: str
    mode: int = 0o755

    def describe(self) -> str:
        return f'make directory "{self.path}"'

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_MKDIR, a=self.mode, texts=(_text(self.path),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """Makes a character device."""

    path: str
    major: int
    minor: int
    mode: int

    def describe(self) -> str:
        return f'make device "{self.path}" (c {self.major}:{self.minor})'

    def encoded(self) -> Encoded:
        device = os.makedev(self.major, self.minor)
        return Encoded(abi.NS_OP_MKNOD, a=stat.S_IFCHR | self.mode, b=device, texts=(_text(self.path),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Symlink:
    """Makes a symbolic link."""

    path: str
    target: str

    def describe(self) -> str:
        return f'link "{self.path}" to "{self.target}"'

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_SYMLINK, texts=(_text(self.target), _text(self.path)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """Covers a path, if it is there. ``empty``: host directory that covers directories."""

    path: str
    empty: str

    def describe(self) -> str:
        return f'mask "{self.path}"'

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_MASK, texts=(_text(self.path), _text(self.empty)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOnly:
    """Makes a path read-only, with all that is mounted below, if it is there."""

    path: str

    def describe(self) -> str:
        return f'make "{self.path}" read-only'

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_READONLY, texts=(_text(self.path),))


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


# --- identity and limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Waits for the cgroups."""

    def describe(self) -> str:
        return "wait to be placed in the cgroups"

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_GATE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unshare:
    """New namespaces that cannot be made earlier."""

    flags: int

    def describe(self) -> str:
        return f"make namespaces of its own: {namespace_names(self.flags)}"

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_UNSHARE, a=self.flags)


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinNamespace:
    """Joins the namespace that a travelling descriptor holds. ``path``: where it is pinned, for people."""

    fd: int
    flags: int
    path: str

    def describe(self) -> str:
        return f'join the {namespace_names(self.flags)} namespace "{self.path}"'

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_JOIN, fd=self.fd, a=self.flags)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hostname:
    """Sets the host name."""

    name: str

    def describe(self) -> str:
        return f'set the host name to "{self.name}"'

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_HOSTNAME, texts=(_text(self.name),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sysctl:
    """Sets a sysctl of a namespace. ``name`` with dots."""

    name: str
    value: str

    def describe(self) -> str:
        return f"set sysctl {self.name} to {self.value}"

    def encoded(self) -> Encoded:
        texts = (_text(self.name.replace(".", "/")), _text(self.value))
        return Encoded(abi.NS_OP_SYSCTL, texts=texts, tolerate=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rlimit:
    """Sets a resource limit; what the host does not grant is told."""

    name: str
    soft: int
    hard: int

    def describe(self) -> str:
        return f"set {self.name} to {_limit(self.soft)} of {_limit(self.hard)}"

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_RLIMIT, a=getattr(resource, self.name), b=self.soft, c=self.hard, tolerate=True)


def _limit(value: int) -> str:
    return "unlimited" if value == 2**64 - 1 else str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class OomScore:
    """Who dies first when memory runs out; less than the parent's needs CAP_SYS_RESOURCE."""

    score: int

    def describe(self) -> str:
        return f"set oom_score_adj to {self.score}"

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_OOM_SCORE, a=self.score % 2**64, tolerate=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """A session of its own."""

    def describe(self) -> str:
        return "start a session"

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_SETSID)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """A session keyring of its own; a host without keyrings has none to leak."""

    name: str

    def describe(self) -> str:
        return "make a session keyring"

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_KEYRING, texts=(_text(self.name),), tolerate=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Umask:
    """Sets the umask."""

    mask: int

    def describe(self) -> str:
        return f"set the umask to {self.mask:04o}"

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_UMASK, a=self.mask)


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Sets the supplementary groups: exactly these."""

    gids: tuple[int, ...]

    def describe(self) -> str:
        return f"set the groups to {', '.join(map(str, self.gids)) or 'none'}"

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_GROUPS, texts=(struct.pack(f"={len(self.gids)}I", *self.gids),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ids:
    """Sets real, effective and saved ids."""

    uid: int
    gid: int

    def describe(self) -> str:
        return f"become user {self.uid}, group {self.gid}"

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_IDS, a=self.uid, b=self.gid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """Sets the capability sets, as masks; inheritable follows ambient."""

    bounding: int
    permitted: int
    ambient: int = 0

    def describe(self) -> str:
        return f"limit capabilities to {self.permitted:#x} of {self.bounding:#x}"

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_CAPS, a=self.bounding, b=self.permitted, c=self.ambient)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoNewPrivileges:
    """No exec gives privileges any more."""

    def describe(self) -> str:
        return "set no_new_privs"

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_NO_NEW_PRIVS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seccomp:
    """Loads a system call filter: an array of struct sock_filter."""

    program: bytes

    def describe(self) -> str:
        return f"load a system call filter of {len(self.program) // 8} instructions"

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_SECCOMP, texts=(self.program,))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeathSignal:
    """The signal that comes when the shim dies."""

    signal: int

    def describe(self) -> str:
        return f"ask for {signals.Signals(self.signal).name} when the shim dies"

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_PDEATHSIG, a=self.signal)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkingDirectory:
    """Enters the working directory, made when missing; it must lie inside the root."""

    path: str

    def describe(self) -> str:
        return f'enter working directory "{self.path}"'

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_CWD, texts=(_text(self.path),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hide:
    """Nobody may trace this process, or look into its /proc, until it executes."""

    def describe(self) -> str:
        return "refuse to be traced"

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_DUMPABLE, a=0)


# --- the end


@dataclass(frozen=True, slots=True, kw_only=True)
class Execute:
    """Executes the first of the candidates that is there."""

    candidates: tuple[str, ...]
    arguments: tuple[str, ...]
    environment: tuple[str, ...]

    def describe(self) -> str:
        return f'execute "{self.arguments[0] if len(self.candidates) > 1 else self.candidates[0]}"'

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_EXEC, texts=(_list(self.candidates), _list(self.arguments), _list(self.environment)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecuteFd:
    """Executes a travelling descriptor."""

    fd: int
    arguments: tuple[str, ...]

    def describe(self) -> str:
        return f'execute "{self.arguments[0]}"'

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_EXEC_FD, fd=self.fd, texts=(b"", _list(self.arguments), b""))
