"""The shape of an OCI runtime-spec configuration, as far as nsrun writes one (runtime-spec 1.1: config.md,
config-linux.md).

Dictionaries with the specification's own names, so that what is compiled is what is written to ``config.json``.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

__all__ = [
    "Capabilities",
    "Cpu",
    "Device",
    "IdMapping",
    "Linux",
    "Memory",
    "Mount",
    "Namespace",
    "OciConfig",
    "Pids",
    "Process",
    "Resources",
    "Rlimit",
    "Root",
    "User",
]


class Root(TypedDict):
    """The root file system: where it is mounted, in the container's own mount namespace, before it becomes ``/``."""

    path: str
    readonly: bool


class User(TypedDict):
    """Ids of the first process. Without ``additionalGids`` its supplementary groups stay what they are."""

    uid: int
    gid: int
    umask: int
    additionalGids: NotRequired[list[int]]


class Capabilities(TypedDict):
    """The five sets, by name."""

    bounding: list[str]
    effective: list[str]
    permitted: list[str]
    inheritable: list[str]
    ambient: list[str]


class Rlimit(TypedDict):
    """One limit; ``type`` as ``RLIMIT_NOFILE``."""

    type: str
    soft: int
    hard: int


class Process(TypedDict):
    """The first process."""

    terminal: bool
    user: User
    args: list[str]
    env: list[str]
    cwd: str
    capabilities: Capabilities
    rlimits: list[Rlimit]
    noNewPrivileges: bool
    oomScoreAdj: int
    apparmorProfile: NotRequired[str]
    selinuxLabel: NotRequired[str]


class Mount(TypedDict):
    """One mount; ``options`` in the words of mount(8)."""

    destination: str
    type: str
    source: str
    options: list[str]


class Namespace(TypedDict):
    """A namespace: joined when it has a ``path``, else made."""

    type: str
    path: NotRequired[str]


class IdMapping(TypedDict):
    """Ids of a user namespace and what they are outside."""

    containerID: int
    hostID: int
    size: int


class Device(TypedDict):
    """A device node to make. ``type``: ``c`` or ``b``."""

    path: str
    type: str
    major: int
    minor: int
    fileMode: int
    uid: int
    gid: int


class Cpu(TypedDict):
    """Shares; quota and period in µs."""

    shares: int
    quota: NotRequired[int]
    period: NotRequired[int]


class Memory(TypedDict):
    """Bytes."""

    limit: NotRequired[int]


class Pids(TypedDict):
    """How many tasks."""

    limit: int


class Resources(TypedDict):
    """What the cgroup says."""

    cpu: Cpu
    memory: Memory
    pids: NotRequired[Pids]


class Linux(TypedDict):
    """What only Linux has."""

    namespaces: list[Namespace]
    uidMappings: NotRequired[list[IdMapping]]
    gidMappings: NotRequired[list[IdMapping]]
    devices: list[Device]
    cgroupsPath: str
    resources: Resources
    sysctl: NotRequired[dict[str, str]]
    maskedPaths: list[str]
    readonlyPaths: list[str]
    rootfsPropagation: str
    mountLabel: NotRequired[str]
    seccomp: NotRequired[dict[str, object]]


class OciConfig(TypedDict):
    """The whole configuration."""

    ociVersion: str
    root: Root
    process: Process
    mounts: list[Mount]
    hostname: NotRequired[str]
    annotations: dict[str, str]
    linux: Linux
