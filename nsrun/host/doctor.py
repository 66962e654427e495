"""What to say about a machine: facts in, findings out. ``nsrun doctor`` prints them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from nsrun.host.cgroups import CgroupMode, CgroupSetup, Share
from nsrun.host.facts import HostFacts, Kernel
from nsrun.host.overlay import OverlayFlavour

__all__ = ["Finding", "Level", "examine"]


class Level(StrEnum):
    """How bad it is: nothing to do, something will be missing, pods cannot run."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing about this machine. ``hint``: the remedy, empty when there is nothing to do."""

    level: Level
    subject: str
    text: str
    hint: str = ""


# mount_setattr(2) is the newest call that nothing here can do without; the oldest kernel that is tested is newer.
_OLDEST, _TESTED = Kernel(major=5, minor=12), Kernel(major=5, minor=15)

# Without these no pod can be made. Capability → what it is needed for.
_INDISPENSABLE = {
    "CAP_CHOWN": "unpacking images",
    "CAP_DAC_OVERRIDE": "unpacking images",
    "CAP_FOWNER": "unpacking images",
    "CAP_MKNOD": "the devices of containers",
    "CAP_NET_ADMIN": "the pod network",
    "CAP_SETFCAP": "unpacking images with file capabilities",
    "CAP_SETGID": "running containers as other groups",
    "CAP_SETUID": "running containers as other users",
    "CAP_SYS_ADMIN": "namespaces and mounts",
    "CAP_SYS_CHROOT": "the root directories of containers",
}

# Without these something is missing. Capability → what.
_USEFUL = {
    "CAP_SYS_RESOURCE": "limits above this process's own hard limits, and an oom_score_adj below its own, are refused",
    "CAP_KILL": "processes of other users are killed through their cgroup only",
    "CAP_SYS_PTRACE": "namespaces of processes of other users cannot be looked into",
}

_CGROUP_NEED = {
    "cpu": "cpu requests and limits are not enforced",
    "memory": "memory limits are not enforced",
    "pids": "the number of a pod's processes is not limited",
}


_OTHER_DISK = "choose a --root on ext4, xfs or btrfs"
_WITHOUT_CGROUPS = "pods run, but no limit is enforced, and what they use is counted process by process"

# systemd before 252 keeps cpu to itself, and all keep what a drop-in does not name (systemd.resource-control(5)).
_DELEGATE = (
    "sudo mkdir -p /etc/systemd/system/user@.service.d && "
    "printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' | "
    "sudo tee /etc/systemd/system/user@.service.d/delegate.conf && sudo systemctl daemon-reload, then log in anew"
)


def examine(facts: HostFacts) -> list[Finding]:
    """Every finding, in the order to read them; at least one for each subject."""
    return [
        *_kernel(facts),
        *_cgroups(facts),
        *_capabilities(facts),
        *_features(facts),
        *_security(facts),
        *_limits(facts),
    ]


def _ok(subject: str, text: str) -> Finding:
    return Finding(level=Level.OK, subject=subject, text=text)


def _warning(subject: str, text: str, hint: str = "") -> Finding:
    return Finding(level=Level.WARNING, subject=subject, text=text, hint=hint)


def _error(subject: str, text: str, hint: str = "") -> Finding:
    return Finding(level=Level.ERROR, subject=subject, text=text, hint=hint)


def _kernel(facts: HostFacts) -> Iterator[Finding]:
    kernel = facts.kernel
    text = f"Linux {kernel.release} on {facts.machine}"
    if kernel < _OLDEST:
        yield _error("kernel", f"{text} is too old", f"boot Linux {_TESTED.major}.{_TESTED.minor} or newer")
    elif kernel < _TESTED:
        yield _warning("kernel", f"{text} was never tested", f"boot Linux {_TESTED.major}.{_TESTED.minor} or newer")
    else:
        yield _ok("kernel", text)


def _cgroups(facts: HostFacts) -> Iterator[Finding]:
    setup = facts.cgroups
    if setup.mode is CgroupMode.NONE:
        yield _warning(
            "cgroups",
            f"no hierarchy is mounted: {_WITHOUT_CGROUPS}",
            "as root: mount -t cgroup2 cgroup2 /sys/fs/cgroup",
        )
        return
    if setup.share is not None:
        yield from _shared_cgroups(setup, setup.share)
        return
    places = setup.unified.directory if setup.unified is not None else ""
    if setup.mode is CgroupMode.V2:
        yield _ok("cgroups", f"v2 at {places}")
    else:
        also = f", with a v2 hierarchy at {places}" if places else ""
        yield _warning(
            "cgroups",
            f"{setup.mode}: v1 controllers{also}; containers start some milliseconds later than on v2",
            "boot with systemd.unified_cgroup_hierarchy=1"
            if facts.systemd
            else "mount cgroup2 instead of the v1 controllers",
        )
    for name in setup.missing:
        yield _warning("cgroups", f'no "{name}" controller: {_CGROUP_NEED[name]}', _controller_hint(facts, name))
    if setup.unified is not None and not setup.unified.writable:
        yield _warning("cgroups", f"{places} is mounted read-only", f"mount -o remount,rw {places}")
    for hierarchy in setup.hierarchies:
        if not hierarchy.writable and set(hierarchy.controllers) & set(_CGROUP_NEED):
            yield _warning(
                "cgroups", f"{hierarchy.directory} is mounted read-only", f"mount -o remount,rw {hierarchy.directory}"
            )


def _shared_cgroups(setup: CgroupSetup, share: Share) -> Iterator[Finding]:
    """Of somebody who is not root."""
    if setup.mode is not CgroupMode.V2:
        yield _warning(
            "cgroups",
            f"{setup.mode}, where only root makes cgroups: {_WITHOUT_CGROUPS}",
            "boot with systemd.unified_cgroup_hierarchy=1, or run nsrun as root",
        )
    elif not share.manager:
        yield _warning(
            "cgroups",
            f"v2, and no user manager of systemd's that would hand over a part of it: {_WITHOUT_CGROUPS}",
            "log in at the console or with ssh, not with su; or: sudo loginctl enable-linger USER",
        )
    else:
        yield _ok("cgroups", "v2, a part of which systemd's user manager hands over")
        for name in _CGROUP_NEED:
            if name not in share.controllers:
                yield _warning("cgroups", f'no "{name}" controller: {_CGROUP_NEED[name]}', _DELEGATE)


def _controller_hint(facts: HostFacts, name: str) -> str:
    if name in facts.cgroups.disabled:
        return f"boot with cgroup_enable={name}" + (" swapaccount=1" if name == "memory" else "")
    if facts.cgroups.mode is CgroupMode.V2:
        return f"write +{name} to cgroup.subtree_control of the cgroup above, or run nsrun outside of a container"
    return f"mount -t cgroup -o {name} cgroup /sys/fs/cgroup/{name}"


def _capabilities(facts: HostFacts) -> Iterator[Finding]:
    lacking = [name for name in facts.withheld if name in _INDISPENSABLE]
    for name in lacking:
        yield _error("capabilities", f"no {name}, needed for {_INDISPENSABLE[name]}", "run as root")
    for name in facts.withheld:
        if name in _USEFUL:
            yield _warning("capabilities", f"no {name}: {_USEFUL[name]}", f"give nsrun {name}")
    others = [name for name in facts.withheld if name not in _INDISPENSABLE and name not in _USEFUL]
    if others:
        yield _warning(
            "capabilities", f"containers cannot be given {', '.join(others)}", "run as root on the host itself"
        )
    if not facts.withheld:
        yield _ok("capabilities", "all of them")


def _features(facts: HostFacts) -> Iterator[Finding]:
    features = facts.features
    yield from _overlay(facts)
    if features.nf_tables:
        yield _ok("nf_tables", "available")
    else:
        yield _error(
            "nf_tables",
            "it does not answer: no masquerading, no host ports",
            "modprobe nf_tables, or a kernel with CONFIG_NF_TABLES",
        )
    if features.seccomp:
        yield _ok("seccomp", "available")
    else:
        yield _error("seccomp", "this kernel has no system call filters", "a kernel with CONFIG_SECCOMP_FILTER")
    if features.user_namespaces and facts.users is not None:
        yield _warning(
            "user namespaces",
            "pods cannot have one of their own: owners are shown anew by who has power over the file system alone",
            "run pods with hostUsers: false as root",
        )
    elif features.user_namespaces and not facts.has_pod_users:
        yield _warning("user namespaces", "pods cannot have one of their own", "boot Linux 5.19 or newer")
    elif features.user_namespaces:
        yield _ok("user namespaces", "available")
    else:
        yield _warning("user namespaces", "none may be made", "sysctl -w user.max_user_namespaces=10000")


def _overlay(facts: HostFacts) -> Iterator[Finding]:
    overlay = facts.overlay
    if overlay.flavour is OverlayFlavour.FUSE:
        yield _warning(
            "overlayfs",
            f"{overlay.refused}; containers' files go through fuse-overlayfs, a process for each, and are slower",
            _OTHER_DISK,
        )
    elif overlay.flavour is OverlayFlavour.COPY:
        yield _warning(
            "overlayfs",
            f"{overlay.refused}, and {overlay.lacking}: every container begins with a copy of its whole image",
            f"{_OTHER_DISK}, or install fuse-overlayfs and let users open /dev/fuse",
        )
    elif not facts.features.overlay:
        yield _error("overlayfs", "this kernel has none", "modprobe overlay, or a kernel with CONFIG_OVERLAY_FS")
    else:
        yield _ok("overlayfs", "available" if facts.users is None else "available, with marks in user.* (userxattr)")


def _security(facts: HostFacts) -> Iterator[Finding]:
    modules = [name for name in facts.lsms if name in ("apparmor", "selinux", "smack", "tomoyo")]
    if modules:
        yield _ok("security modules", ", ".join(modules))
    else:
        yield _warning(
            "security modules",
            "no AppArmor, no SELinux: namespaces, capabilities and seccomp alone hold containers",
            "boot with apparmor=1 security=apparmor where the kernel has it",
        )


def _limits(facts: HostFacts) -> Iterator[Finding]:
    yield _ok("memory", f"{facts.memory_total >> 20} MiB, {facts.cpus} cpus")
    if facts.swap_total and facts.cgroups.mode is not CgroupMode.V2:
        yield _warning(
            "memory",
            f"{facts.swap_total >> 20} MiB of swap: with cgroup v1 pods can swap beyond their limits",
            "swapoff -a",
        )
    for name, least, why in (
        ("fs.inotify.max_user_instances", 16, "nsrun and programs in pods watch files"),
        ("kernel.pid_max", 4096, "every container is at least two processes"),
        ("user.max_net_namespaces", 1000, "every pod is one"),
        ("user.max_mnt_namespaces", 1000, "every container is one"),
    ):
        value = facts.sysctls.get(name, "")
        if value.isdigit() and int(value) < least:
            yield _warning("sysctls", f"{name} is {value}: {why}", f"sysctl -w {name}={least}")
