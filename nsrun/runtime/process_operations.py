"""Operations that say where a process belongs, who it is and what it may do, and the exec at the end."""

from __future__ import annotations

import resource
import signal as signals
import struct
from dataclasses import dataclass

from nsrun.runtime.operation import Encoded, listed, text
from nsrun.support import native
from nsrun.support.native import abi

__all__ = [
    "Capabilities",
    "DeathSignal",
    "EnterUser",
    "Execute",
    "ExecuteFd",
    "Gate",
    "Groups",
    "Hide",
    "Hostname",
    "Ids",
    "JoinNamespace",
    "Keyring",
    "Label",
    "NewSession",
    "NoNewPrivileges",
    "OomScore",
    "Rlimit",
    "Scope",
    "Seccomp",
    "Sysctl",
    "Umask",
    "Unshare",
    "WorkingDirectory",
    "namespace_names",
]

# linux/landlock.h, of Linux 6.12.
_SCOPE_ABSTRACT_UNIX_SOCKET, _SCOPE_SIGNAL = 1, 2

_NAMESPACE_NAMES = (
    (native.CLONE_NEWNS, "mount"),
    (native.CLONE_NEWPID, "pid"),
    (native.CLONE_NEWIPC, "ipc"),
    (native.CLONE_NEWUTS, "uts"),
    (native.CLONE_NEWNET, "network"),
    (native.CLONE_NEWCGROUP, "cgroup"),
    (native.CLONE_NEWUSER, "user"),
)


def namespace_names(flags: int) -> str:
    """``CLONE_NEWPID | CLONE_NEWNS`` → ``mount, pid``."""
    return ", ".join(name for bit, name in _NAMESPACE_NAMES if flags & bit)


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
class EnterUser:
    """Goes into a user namespace as its root, and makes namespaces that belong to it. ``fd``: a travelling descriptor,
    None for the sandbox's."""

    flags: int
    fd: int | None = None

    def describe(self) -> str:
        return f"enter the pod's user namespace, and make namespaces that belong to it: {namespace_names(self.flags)}"

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_USER, fd=self.fd, a=self.flags)


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What the security module makes of the process when it executes. ``module``: ``AppArmor`` or ``SELinux``."""

    module: str
    name: str

    def describe(self) -> str:
        return f'ask for {self.module} {"profile" if self.module == "AppArmor" else "label"} "{self.name}"'

    def encoded(self) -> Encoded:
        if self.module == "AppArmor":
            texts = (b"apparmor/exec", text(f"exec {self.name}"))
        else:
            texts = (b"exec", text(self.name))
        return Encoded(abi.NS_OP_LABEL, texts=texts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hostname:
    """Sets the host name."""

    name: str

    def describe(self) -> str:
        return f'set the host name to "{self.name}"'

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_HOSTNAME, texts=(text(self.name),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sysctl:
    """Sets a sysctl of a namespace. ``name`` with dots, and a slash for what is a dot in it (sysctl.d(5)). What is not
    ``required`` may fail, and is told."""

    name: str
    value: str
    required: bool = False

    def describe(self) -> str:
        return f"set sysctl {self.name} to {self.value}"

    def encoded(self) -> Encoded:
        path = self.name.translate({ord("."): "/", ord("/"): "."})
        return Encoded(abi.NS_OP_SYSCTL, texts=(text(path), text(self.value)), tolerate=not self.required)


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
    """A session of its own; ``terminal``: on standard input's terminal."""

    terminal: bool = False

    def describe(self) -> str:
        return "start a session" + (" on its terminal" if self.terminal else "")

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_SETSID, a=int(self.terminal))


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """A session keyring of its own; a host without keyrings has none to leak."""

    name: str

    def describe(self) -> str:
        return "make a session keyring"

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_KEYRING, texts=(text(self.name),), tolerate=True)


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
class Scope:
    """Puts others out of reach (landlock(7), Linux 6.12): who has an abstract socket, with ``signals`` who could be
    signalled, and in any case who could be traced. ``required``: else it is done where the kernel can."""

    signals: bool
    required: bool = True

    def describe(self) -> str:
        return "keep it from signalling processes of the host" if self.signals else "keep it from abstract sockets"

    def encoded(self) -> Encoded:
        scoped = _SCOPE_ABSTRACT_UNIX_SOCKET | (_SCOPE_SIGNAL if self.signals else 0)
        return Encoded(abi.NS_OP_SCOPE, a=scoped, tolerate=not self.required)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seccomp:
    """Loads a system call filter: an array of struct sock_filter. ``flags``: SECCOMP_FILTER_FLAG_*."""

    program: bytes
    flags: int = 0

    def describe(self) -> str:
        return f"load a system call filter of {len(self.program) // 8} instructions"

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_SECCOMP, a=self.flags, texts=(self.program,))


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
    """Enters the working directory, made when missing if ``make``; it must lie inside the root."""

    path: str
    make: bool = True

    def describe(self) -> str:
        return f'enter working directory "{self.path}"'

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_CWD, a=0 if self.make else 1, texts=(text(self.path),))


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
        return Encoded(
            abi.NS_OP_EXEC, texts=(listed(self.candidates), listed(self.arguments), listed(self.environment))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecuteFd:
    """Executes a travelling descriptor."""

    fd: int
    arguments: tuple[str, ...]

    def describe(self) -> str:
        return f'execute "{self.arguments[0]}"'

    def encoded(self) -> Encoded:
        return Encoded(abi.NS_OP_EXEC_FD, fd=self.fd, texts=(b"", listed(self.arguments), b""))
