"""The mounts of a container's OCI configuration: the defaults, the pod's own files, the manifest's volumes."""

from __future__ import annotations

import posixpath

from nsrun.errors import RuntimeFailure
from nsrun.host.userns import UserNamespace
from nsrun.model.running import ContainerRequest
from nsrun.runtime.ociconfig import Mount
from nsrun.runtime.surroundings import Machine, Surroundings
from nsrun.runtime.volume_mounts import volume_mount

__all__ = ["PROC_OPTIONS", "SHM_OPTIONS", "container_mounts", "mount", "mount_point"]

SHM_OPTIONS = ("nosuid", "noexec", "nodev", "mode=1777", "size=65536k")
PROC_OPTIONS = ("nosuid", "noexec", "nodev")
_TTY_GROUP = "gid=5"
_DEFAULT_MOUNTS = (
    ("/proc", "proc", "proc", PROC_OPTIONS),
    ("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    ("/dev/pts", "devpts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", _TTY_GROUP)),
    ("/dev/mqueue", "mqueue", "mqueue", ("nosuid", "noexec", "nodev")),
    ("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev", "ro")),
)


def container_mounts(request: ContainerRequest, surroundings: Surroundings, machine: Machine) -> list[Mount]:
    """Default mounts, the pod's own files, volumes; parents before children. What the manifest mounts at a place
    replaces what would be there. Raises RuntimeFailure."""
    mounts = {entry[0]: mount(*entry) for entry in _DEFAULT_MOUNTS}
    if request.container.security_context.privileged:
        mounts["/sys"]["options"].remove("ro")
    if machine.users is not None:
        _within(machine, machine.users, request, mounts)
    if request.pod.spec.share_process_namespace and not request.pod.spec.host_pid:
        mounts["/proc"] = _shared_proc(surroundings)
    mounts["/dev/shm"] = _shm(request, surroundings)
    for view in surroundings.cgroup_mounts:
        mounts[view["destination"]] = view
    access = "ro" if request.container.security_context.read_only_root_filesystem else "rw"
    for path, source in surroundings.etc.items():
        mounts[path] = mount(path, "bind", source, ("bind", "rprivate", access))
    for entry in _termination_log(request, surroundings):
        mounts[entry["destination"]] = entry
    for entry in _volume_mounts(request):
        mounts.pop(entry["destination"], None)  # so that it comes after defaults of the same depth
        mounts[entry["destination"]] = entry
    return sorted(mounts.values(), key=_depth)


def _within(machine: Machine, users: UserNamespace, request: ContainerRequest, mounts: dict[str, Mount]) -> None:
    """In a child user namespace, a file system that shows a namespace can be mounted only by who has power over that
    namespace; the host's are shown as they are mounted there (mount_namespaces(7); fs/namespace.c,
    mount_too_revealing)."""
    spec = request.pod.spec
    if spec.host_network:
        access = "rw" if request.container.security_context.privileged else "rro"
        mounts["/sys"] = mount("/sys", "bind", "/sys", ("rbind", "rprivate", "nosuid", "noexec", "nodev", access))
    if spec.host_pid:
        mounts["/proc"] = mount("/proc", "bind", "/proc", ("rbind", "rprivate", *PROC_OPTIONS, "rw"))
    if spec.host_ipc and machine.host_queues:
        options = ("rbind", "rprivate", "nosuid", "noexec", "nodev", "rw")
        mounts["/dev/mqueue"] = mount("/dev/mqueue", "bind", "/dev/mqueue", options)
    elif spec.host_ipc:
        del mounts["/dev/mqueue"]
    if users.gids <= int(_TTY_GROUP.removeprefix("gid=")):
        mounts["/dev/pts"]["options"].remove(_TTY_GROUP)


def mount(destination: str, kind: str, source: str, options: tuple[str, ...]) -> Mount:
    """One mount."""
    return Mount(destination=destination, type=kind, source=source, options=list(options))


def mount_point(path: str) -> str:
    """The path in its shortest form. /proc is what the kernel says of the container: nothing may cover it, or security
    settings would be written into a fake. Raises RuntimeFailure."""
    clean = posixpath.normpath("/" + path.lstrip("/"))
    if clean == "/" or clean == "/proc" or clean.startswith("/proc/"):
        raise RuntimeFailure(
            f'cannot mount a volume at "{path}": this place is the container\'s own',
            reason="CreateContainerConfigError",
            hint="choose another mountPath",
        )
    return clean


def _termination_log(request: ContainerRequest, surroundings: Surroundings) -> list[Mount]:
    """Writable, whatever the root file system is."""
    path = request.container.termination_message_path
    if not path or not surroundings.termination_log:
        return []
    return [mount(mount_point(path), "bind", surroundings.termination_log, ("bind", "rprivate", "rw"))]


def _shared_proc(surroundings: Surroundings) -> Mount:
    """Who could mount it would have to be in the process namespace, with the host's power and among the pod's other
    containers. So pause did, before there were any."""
    source = f"/proc/{surroundings.pause_pid}/root/proc"
    return mount("/proc", "bind", source, ("rbind", *PROC_OPTIONS, "rw"))


def _shm(request: ContainerRequest, surroundings: Surroundings) -> Mount:
    """Shared memory goes with the ipc namespace: the sandbox's, or the host's."""
    source = "/dev/shm" if request.pod.spec.host_ipc else f"/proc/{surroundings.pause_pid}/root/dev/shm"
    return mount("/dev/shm", "bind", source, ("rbind", "nosuid", "noexec", "nodev", "rw"))


def _volume_mounts(request: ContainerRequest) -> list[Mount]:
    result = []
    for asked in request.container.volume_mounts:
        volume = request.volumes.get(asked.name)
        if volume is None:
            raise RuntimeFailure(f'volume "{asked.name}" is not prepared', reason="CreateContainerConfigError")
        result.append(volume_mount(asked, volume, mount_point(asked.mount_path)))
    return result


def _depth(entry: Mount) -> int:
    return entry["destination"].count("/")
