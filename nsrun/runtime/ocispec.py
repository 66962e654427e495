"""From a pod's container to its OCI runtime configuration. Pure: what the machine has comes in as Machine.

Where the specification leaves a choice, the kubelet's and containerd's is taken; what differs says so here:

* capabilities: see ``capabilities``. An account other than root starts with none, its bounding set stays.
* /dev/shm is the sandbox's, shared by all containers as the ipc namespace is.
* the root file system is nodev, so no device node of an image or of a layer opens.
* an image's VOLUMES are not made into volumes: the directory lives in the container's own layer and goes with it.
* limits of open files, processes and core dumps are set, so that nothing depends on who started nsrun.
* oom_score_adj follows the QoS class by the kubelet's formula, as far down as this machine lets us go.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field

from nsrun.errors import RuntimeFailure
from nsrun.host.facts import CAPABILITIES
from nsrun.model.container import Container
from nsrun.model.hostname import hostname
from nsrun.model.pod import Pod
from nsrun.model.resources import QosClass
from nsrun.model.running import ContainerRequest
from nsrun.model.totals import request as requested
from nsrun.runtime import accounts
from nsrun.runtime.capabilities import granted
from nsrun.runtime.environment import arguments, environment, manifest_environment
from nsrun.runtime.ociconfig import (
    Capabilities,
    Cpu,
    Device,
    Linux,
    Memory,
    Mount,
    Namespace,
    OciConfig,
    Process,
    Resources,
    Rlimit,
)
from nsrun.runtime.resources import PERIOD, cpu_quota, cpu_shares

__all__ = [
    "DEVICES",
    "DEV_LINKS",
    "Machine",
    "Surroundings",
    "container_config",
    "hostname",
    "oom_score",
    "sandbox_config",
    "withheld",
]

OCI_VERSION = "1.1.0"
PAUSE_ID = 65535

# config-linux.md, default devices: read and written by all, owned by root.
DEVICES = (
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
)

# runtime-linux.md, dev symbolic links, and the multiplexer of the container's own devpts.
DEV_LINKS = (
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
)

# The kubelet's default procMount (pkg/securitycontext/util.go).
MASKED_PATHS = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

_SHM_SIZE = "size=65536k"
_DEFAULT_MOUNTS = (
    ("/proc", "proc", "proc", ("nosuid", "noexec", "nodev")),
    ("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    ("/dev/pts", "devpts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")),
    ("/dev/mqueue", "mqueue", "mqueue", ("nosuid", "noexec", "nodev")),
    ("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev", "ro")),
)

# What containerd gives every sandbox: ports below 1024 and ping need no capability in a network of the pod's own.
_SANDBOX_SYSCTLS = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}

_NOFILE = _NPROC = 1048576
_UNLIMITED = 2**64 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What of this machine goes into configurations. ``capabilities``: those we have, and so can hand on. ``memory``:
    bytes. ``hard_limits``: by name (``RLIMIT_NOFILE``), what we cannot exceed; empty when we can. ``oom_floor``: the
    lowest oom_score_adj that we can set. ``masked``: more paths to mask that exist here."""

    memory: int
    capabilities: frozenset[str] = frozenset(CAPABILITIES)
    hard_limits: Mapping[str, int] = field(default_factory=dict)
    oom_floor: int = -1000
    masked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a container's sandbox and its cgroup give it. ``pause_pid``: in our PID namespace. ``rootfs``: where its
    root file system will be mounted. ``cgroup_mounts``: what it sees at /sys/fs/cgroup. ``etc``: host files by the path
    they are seen at when no volume is there."""

    pause_pid: int
    rootfs: str
    cgroup_path: str
    cgroup_mounts: tuple[Mount, ...] = ()
    etc: Mapping[str, str] = field(default_factory=dict)


def container_config(request: ContainerRequest, machine: Machine, surroundings: Surroundings) -> OciConfig:
    """The configuration of one container. Raises RuntimeFailure (without the container's name) when the manifest and
    the image do not make one."""
    return OciConfig(
        ociVersion=OCI_VERSION,
        root={"path": surroundings.rootfs, "readonly": request.container.security_context.read_only_root_filesystem},
        process=_process(request, machine),
        mounts=_mounts(request, surroundings),
        annotations=_annotations(
            request.pod, "container", container=request.container.name, image=request.image.reference
        ),
        linux=_linux(request, machine, surroundings),
    )


def withheld(container: Container, machine: Machine) -> tuple[str, ...]:
    """Warnings for capabilities that the container should have and this machine does not let us give."""
    context = container.security_context
    asked = granted(context.capabilities_add, context.capabilities_drop)
    return tuple(
        f"cannot grant {name}: this machine withholds it from nsrun"
        for name in asked
        if name not in machine.capabilities
    )


def sandbox_config(pod: Pod, *, netns: str, rootfs: str, cgroup_path: str, machine: Machine) -> OciConfig:
    """The configuration of the pod's pause process: it holds the pod's namespaces, and can do nothing else."""
    shm = _mount("/dev/shm", "tmpfs", "shm", ("nosuid", "noexec", "nodev", "mode=1777", _SHM_SIZE))
    return OciConfig(
        ociVersion=OCI_VERSION,
        root={"path": rootfs, "readonly": True},
        process=Process(
            terminal=False,
            user={"uid": PAUSE_ID, "gid": PAUSE_ID, "umask": 0o22, "additionalGids": []},
            args=["pause"],
            env=[],
            cwd="/",
            capabilities=_capability_sets((), root=False),
            rlimits=[],
            noNewPrivileges=True,
            oomScoreAdj=max(-998, machine.oom_floor),
        ),
        mounts=[shm],
        hostname=hostname(pod),
        annotations=_annotations(pod, "sandbox"),
        linux=Linux(
            namespaces=[_new("pid"), _new("ipc"), _new("uts"), _new("mount"), {"type": "network", "path": netns}],
            devices=[],
            cgroupsPath=cgroup_path,
            resources={"cpu": {"shares": cpu_shares(0)}, "memory": {}},
            sysctl=dict(_SANDBOX_SYSCTLS),
            maskedPaths=[],
            readonlyPaths=[],
            rootfsPropagation="private",
        ),
    )


def oom_score(pod: Pod, container: Container, memory: int) -> int:
    """The kubelet's oom_score_adj: guaranteed pods die last, best-effort ones first, and in between whoever asked for
    more memory is safer. ``memory``: the machine's, in bytes."""
    match pod.qos_class:
        case QosClass.GUARANTEED:
            return -997
        case QosClass.BEST_EFFORT:
            return 1000
        case QosClass.BURSTABLE:
            asked = -(-requested(container, "memory") // 1000)
            return min(max(1000 - 1000 * asked // max(memory, 1), 3), 999)


# --- process


def _process(request: ContainerRequest, machine: Machine) -> Process:
    pod, container, image = request.pod, request.container, request.image
    context = container.security_context
    pod_id = f"{pod.metadata.name}_{pod.metadata.namespace}({pod.uid})"
    accounts.check_non_root(image.config.user, context, pod=pod_id, container=container.name)
    account = accounts.resolve(image.config.user, context, passwd=image.passwd, group=image.group)
    asked = granted(context.capabilities_add, context.capabilities_drop)
    names = tuple(name for name in asked if name in machine.capabilities)
    values = manifest_environment(container)
    return Process(
        terminal=False,
        user={"uid": account.uid, "gid": account.gid, "umask": 0o22, "additionalGids": list(account.groups)},
        args=arguments(container, image.config, values),
        env=environment(image.config, values, hostname=hostname(pod), home=account.home),
        cwd=_working_directory(container, image.config.working_dir),
        capabilities=_capability_sets(names, root=account.uid == 0),
        rlimits=_rlimits(machine.hard_limits),
        noNewPrivileges=context.allow_privilege_escalation is False,
        oomScoreAdj=max(oom_score(pod, container, machine.memory), machine.oom_floor),
    )


def _working_directory(container: Container, of_image: str) -> str:
    path = container.working_dir or of_image or "/"
    if not path.startswith("/") or "\0" in path:
        raise RuntimeFailure(
            f'working directory "{path}" is not an absolute path',
            reason="CreateContainerError",
            hint="set workingDir in the manifest",
        )
    return path


def _capability_sets(names: tuple[str, ...], *, root: bool) -> Capabilities:
    have = list(names) if root else []
    return Capabilities(bounding=list(names), effective=have, permitted=list(have), inheritable=[], ambient=[])


def _rlimits(hard_limits: Mapping[str, int]) -> list[Rlimit]:
    limits = (("RLIMIT_NOFILE", _NOFILE, _NOFILE), ("RLIMIT_NPROC", _NPROC, _NPROC), ("RLIMIT_CORE", 0, _UNLIMITED))
    result = []
    for name, soft, hard in limits:
        most = hard_limits.get(name, _UNLIMITED)
        result.append(Rlimit(type=name, soft=min(soft, most), hard=min(hard, most)))
    return result


# --- mounts


def _mounts(request: ContainerRequest, surroundings: Surroundings) -> list[Mount]:
    """Default mounts, the pod's own files, volumes; parents before children. What the manifest mounts at a place
    replaces what would be there."""
    mounts = {entry[0]: _mount(*entry) for entry in _DEFAULT_MOUNTS}
    shm = f"/proc/{surroundings.pause_pid}/root/dev/shm"
    mounts["/dev/shm"] = _mount("/dev/shm", "bind", shm, ("rbind", "nosuid", "noexec", "nodev", "rw"))
    for mount in surroundings.cgroup_mounts:
        mounts[mount["destination"]] = mount
    access = "ro" if request.container.security_context.read_only_root_filesystem else "rw"
    for path, source in surroundings.etc.items():
        mounts[path] = _mount(path, "bind", source, ("bind", "rprivate", access))
    for entry in _volume_mounts(request):
        mounts.pop(entry["destination"], None)  # so that it comes after defaults of the same depth
        mounts[entry["destination"]] = entry
    return sorted(mounts.values(), key=_depth)


def _volume_mounts(request: ContainerRequest) -> list[Mount]:
    result = []
    for mount in request.container.volume_mounts:
        volume = request.volumes.get(mount.name)
        if volume is None:
            raise RuntimeFailure(f'volume "{mount.name}" is not prepared', reason="CreateContainerConfigError")
        options = ("rbind", "rprivate", "ro" if mount.read_only else "rw")
        result.append(_mount(_mount_point(mount.mount_path), "bind", volume.path, options))
    return result


def _mount_point(path: str) -> str:
    """The path in its shortest form. /proc is what the kernel says of the container: nothing may cover it, or security
    settings would be written into a fake."""
    clean = posixpath.normpath("/" + path.lstrip("/"))
    if clean == "/" or clean == "/proc" or clean.startswith("/proc/"):
        raise RuntimeFailure(
            f'cannot mount a volume at "{path}": this place is the container\'s own',
            reason="CreateContainerConfigError",
            hint="choose another mountPath",
        )
    return clean


def _depth(mount: Mount) -> int:
    return mount["destination"].count("/")


def _mount(destination: str, kind: str, source: str, options: tuple[str, ...]) -> Mount:
    return Mount(destination=destination, type=kind, source=source, options=list(options))


# --- linux


def _linux(request: ContainerRequest, machine: Machine, surroundings: Surroundings) -> Linux:
    return Linux(
        namespaces=[
            _new("pid"),
            _new("mount"),
            _new("cgroup"),
            {"type": "ipc", "path": f"/proc/{surroundings.pause_pid}/ns/ipc"},
            {"type": "uts", "path": f"/proc/{surroundings.pause_pid}/ns/uts"},
            {"type": "network", "path": request.attachment.netns},
        ],
        devices=_devices(request.container),
        cgroupsPath=surroundings.cgroup_path,
        resources=_resources(request.container),
        maskedPaths=[*MASKED_PATHS, *machine.masked],
        readonlyPaths=list(READONLY_PATHS),
        rootfsPropagation="private",
    )


def _devices(container: Container) -> list[Device]:
    """None when the manifest mounts a directory of its own at /dev: nodes would be made in the host's."""
    if any(_mount_point(mount.mount_path) == "/dev" for mount in container.volume_mounts):
        return []
    return [
        Device(path=path, type="c", major=major, minor=minor, fileMode=0o666, uid=0, gid=0)
        for path, major, minor in DEVICES
    ]


def _resources(container: Container) -> Resources:
    cpu = Cpu(shares=cpu_shares(requested(container, "cpu")))
    cpu_limit = container.resources.limits.get("cpu")
    if cpu_limit is not None and cpu_limit.milli > 0:
        cpu["quota"], cpu["period"] = cpu_quota(cpu_limit.milli), PERIOD
    memory = Memory()
    memory_limit = container.resources.limits.get("memory")
    if memory_limit is not None and memory_limit.milli > 0:
        memory["limit"] = memory_limit.value
    return Resources(cpu=cpu, memory=memory)


def _new(kind: str) -> Namespace:
    return Namespace(type=kind)


def _annotations(pod: Pod, kind: str, *, container: str = "", image: str = "") -> dict[str, str]:
    """Who this is, in the names that containerd gives. Nothing of the image's labels or the pod's annotations gets
    in."""
    annotations = {
        "io.kubernetes.cri.container-type": kind,
        "io.kubernetes.cri.sandbox-id": pod.uid,
        "io.kubernetes.cri.sandbox-name": pod.metadata.name,
        "io.kubernetes.cri.sandbox-namespace": pod.metadata.namespace,
        "io.kubernetes.cri.sandbox-uid": pod.uid,
    }
    if container:
        annotations["io.kubernetes.cri.container-name"] = container
        annotations["io.kubernetes.cri.image-name"] = image
    return annotations
