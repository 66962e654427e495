"""What only Linux has, of OCI configurations: namespaces, devices, limits, and what of /proc and /sys is hidden.

A namespace that the list leaves out is the host's: that of nsrun itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from nsrun.errors import RuntimeFailure
from nsrun.model.container import Container
from nsrun.model.pod import Pod
from nsrun.model.running import ContainerRequest
from nsrun.model.security import ProcMount
from nsrun.model.sysctls import SysctlNamespace, dotted, namespace_of
from nsrun.model.totals import request as requested
from nsrun.runtime.labels import mount_label
from nsrun.runtime.ociconfig import Cpu, Device, IdMapping, Linux, Memory, Namespace, Resources
from nsrun.runtime.ocimounts import mount_point
from nsrun.runtime.resources import PERIOD, cpu_quota, cpu_shares, with_pod_limits
from nsrun.runtime.surroundings import Machine, Surroundings
from nsrun.support.idranges import IdRange

__all__ = [
    "DEVICES",
    "DEV_LINKS",
    "MASKED_PATHS",
    "READONLY_PATHS",
    "SANDBOX_SYSCTLS",
    "add_mappings",
    "container_linux",
    "sandbox_namespaces",
    "sandbox_sysctls",
]

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

SANDBOX_SYSCTLS = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}


def container_linux(request: ContainerRequest, machine: Machine, surroundings: Surroundings) -> Linux:
    """Linux' part of a container's configuration. Raises RuntimeFailure."""
    context = request.container.security_context
    open_kernel = context.privileged or context.proc_mount is ProcMount.UNMASKED
    linux = Linux(
        namespaces=list(_container_namespaces(request, surroundings)),
        devices=_devices(request.container, surroundings),
        cgroupsPath=surroundings.cgroup_path,
        resources=_resources(with_pod_limits(request.pod, request.container)),
        maskedPaths=[] if open_kernel else [*MASKED_PATHS, *machine.masked],
        readonlyPaths=[] if open_kernel else list(READONLY_PATHS),
        rootfsPropagation="private",
    )
    add_mappings(linux, surroundings.ids)
    if label := mount_label(context):
        linux["mountLabel"] = label
    return linux


def add_mappings(linux: Linux, ids: IdRange | None) -> None:
    """Says which ids of the host's a user namespace has; None: it is the host's."""
    if ids is not None:
        mapping = IdMapping(containerID=0, hostID=ids.first, size=ids.count)
        linux["uidMappings"], linux["gidMappings"] = [mapping], [mapping]


def sandbox_namespaces(pod: Pod, netns: str) -> list[Namespace]:
    """Those that pause makes and holds for the pod. ``netns``: where its network namespace is pinned.

    The host name belongs to the network: a pod in the host's network has the host's (containerd's rule)."""
    spec = pod.spec
    result = [Namespace(type="mount")]
    if not spec.host_pid:
        result.append(Namespace(type="pid"))
    if not spec.host_ipc:
        result.append(Namespace(type="ipc"))
    if not spec.host_network:
        result += [Namespace(type="uts"), Namespace(type="network", path=netns)]
    if not spec.host_users:
        result.append(Namespace(type="user"))
    return result


def sandbox_sysctls(pod: Pod, machine: Machine) -> dict[str, str]:
    """What containerd sets in every sandbox, so that ports below 1024 and ping need no capability in a network of the
    pod's own; then what the manifest says. Names with dots. Raises RuntimeFailure for what belongs to the host."""
    result = {} if pod.spec.host_network else dict(SANDBOX_SYSCTLS)
    if result and machine.users is not None:  # groups that are not there are refused (net/ipv4/sysctl_net_ipv4.c)
        result["net.ipv4.ping_group_range"] = f"0 {machine.users.gids - 1}"
    for sysctl in pod.spec.security_context.sysctls:
        name = dotted(sysctl.name)
        namespace = namespace_of(name)
        own = {SysctlNamespace.NET: not pod.spec.host_network, SysctlNamespace.IPC: not pod.spec.host_ipc}
        if namespace is None or not own[namespace]:
            raise RuntimeFailure(
                f'cannot set sysctl "{name}": it belongs to the host, not to the pod', reason="CreatePodSandboxError"
            )
        result[name] = sysctl.value
    return result


def _container_namespaces(request: ContainerRequest, surroundings: Surroundings) -> Iterator[Namespace]:
    spec = request.pod.spec
    of_pause = f"/proc/{surroundings.pause_pid}/ns"
    yield Namespace(type="mount")
    if not request.container.security_context.privileged:  # it sees the host's, and may change them
        yield Namespace(type="cgroup")
    if spec.share_process_namespace and not spec.host_pid:
        yield Namespace(type="pid", path=f"{of_pause}/pid")
    elif not spec.host_pid:
        yield Namespace(type="pid")
    if not spec.host_ipc:
        yield Namespace(type="ipc", path=f"{of_pause}/ipc")
    if not spec.host_network:
        yield Namespace(type="uts", path=f"{of_pause}/uts")
        yield Namespace(type="network", path=request.attachment.netns)
    if not spec.host_users:
        yield Namespace(type="user", path=f"{of_pause}/user")


def _devices(container: Container, surroundings: Surroundings) -> list[Device]:
    """None when the manifest mounts a directory of its own at /dev: nodes would be made in the host's."""
    if any(mount_point(mount.mount_path) == "/dev" for mount in container.volume_mounts):
        return []
    links = {path for _, path in DEV_LINKS}
    devices = {device["path"]: device for device in surroundings.host_devices if device["path"] not in links}
    for path, major, minor in DEVICES:
        devices[path] = Device(path=path, type="c", major=major, minor=minor, fileMode=0o666, uid=0, gid=0)
    return list(devices.values())


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
