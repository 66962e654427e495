"""What this machine can do, probed once. Parsing is pure (text in, values out); only ``probe`` looks at the machine."""

from __future__ import annotations

import errno
import os
import re
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from nsrun.host.cgroups import CgroupMode, CgroupSetup, Share, describe_cgroups, user_service
from nsrun.host.mountinfo import parse_mountinfo
from nsrun.host.overlay import Overlay, OverlayFlavour, kernels_own, probe_overlay
from nsrun.host.userns import UserNamespace, own_user_namespace

__all__ = [
    "CAPABILITIES",
    "Features",
    "HostFacts",
    "Kernel",
    "has_module",
    "huge_pages",
    "parse_capabilities",
    "parse_kernel",
    "parse_meminfo",
    "probe",
]

# capabilities(7), by number.
CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)

# The sysctls that the doctor has an opinion on.
_SYSCTLS = (
    "fs.inotify.max_user_instances",
    "fs.inotify.max_user_watches",
    "kernel.keys.root_maxkeys",
    "kernel.pid_max",
    "net.ipv4.ip_forward",
    "user.max_mnt_namespaces",
    "user.max_net_namespaces",
    "user.max_user_namespaces",
)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Kernel:
    """A kernel's version. ``release`` as uname(2) gives it."""

    major: int
    minor: int
    release: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What the kernel offers, loaded or ready to be loaded."""

    overlay: bool
    user_namespaces: bool
    nf_tables: bool
    seccomp: bool
    rcu_expedited: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """This machine. Memory in bytes; ``withheld``: capabilities the kernel knows and this process does not have;
    ``sysctls``: only those that exist; ``lsms``: active security modules; ``huge_pages``: how many are set aside, by
    their size in bytes; ``users``: the user namespace that this process is in, None for the initial one; ``overlay``:
    by what root file systems lie over images."""

    kernel: Kernel
    machine: str
    boot_id: str
    cpus: int
    memory_total: int
    swap_total: int
    cgroups: CgroupSetup
    capabilities: frozenset[str]
    withheld: tuple[str, ...]
    lsms: tuple[str, ...]
    features: Features
    systemd: bool
    sysctls: Mapping[str, str] = field(default_factory=dict)
    huge_pages: Mapping[int, int] = field(default_factory=dict)
    users: UserNamespace | None = None
    overlay: Overlay = Overlay(flavour=OverlayFlavour.TRUSTED)

    @property
    def has_pod_users(self) -> bool:
        """Whether a pod can have a user namespace of its own (hostUsers: false): overlayfs takes idmapped layers from
        Linux 5.19 on, and who idmaps a mount needs power over its file system (mount_setattr(2)), which in a child
        user namespace is the host's."""
        return self.users is None and self.features.user_namespaces and self.kernel >= Kernel(major=5, minor=19)

    @property
    def makes_devices(self) -> bool:
        """Whether mknod(2) makes devices: it asks for CAP_MKNOD of the initial user namespace."""
        return self.users is None

    @property
    def has_resources(self) -> bool:
        """Whether limits can be exceeded and an oom_score_adj lowered: CAP_SYS_RESOURCE of the initial user
        namespace."""
        return self.users is None and "CAP_SYS_RESOURCE" in self.capabilities


def parse_kernel(release: str) -> Kernel:
    """``6.1.0-18-amd64`` → 6.1; what does not look like a version is 0.0."""
    match = re.match(r"(\d+)\.(\d+)", release)
    major, minor = (int(match[1]), int(match[2])) if match else (0, 0)
    return Kernel(major=major, minor=minor, release=release)


def parse_capabilities(status: str, last: int) -> tuple[frozenset[str], tuple[str, ...]]:
    """``/proc/self/status`` and the kernel's last capability → (effective, withheld)."""
    match = re.search(r"^CapEff:\s*([0-9a-fA-F]+)$", status, re.MULTILINE)
    bits = int(match[1], 16) if match else 0
    known = CAPABILITIES[: last + 1]
    effective = frozenset(name for number, name in enumerate(known) if bits >> number & 1)
    return effective, tuple(name for name in known if name not in effective)


def parse_meminfo(text: str) -> tuple[int, int]:
    """``/proc/meminfo`` → (memory, swap) in bytes; 0 for what it does not tell."""
    values = dict(re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE))
    return int(values.get("MemTotal", 0)) * 1024, int(values.get("SwapTotal", 0)) * 1024


def has_module(name: str, *lists: str) -> bool:
    """Whether modules.builtin, modules.dep or /proc/modules (``lists``) name a module, loaded or not."""
    pattern = re.compile(rf"(^|/){re.escape(name)}(\.ko(\.\w+)?)?[:\s]", re.MULTILINE)
    return any(pattern.search(text + "\n") is not None for text in lists)


def probe(store: Path | None = None) -> HostFacts:
    """Looks at this machine. ``store``: where layers are, to try what can lie over them. Never fails: what cannot be
    read counts as absent. Blocks for some milliseconds."""
    kernel = parse_kernel(os.uname().release)
    last = _read("/proc/sys/kernel/cap_last_cap").strip()
    capabilities, withheld = parse_capabilities(
        _read("/proc/self/status"), int(last) if last else len(CAPABILITIES) - 1
    )
    memory, swap = parse_meminfo(_read("/proc/meminfo"))
    users = own_user_namespace()
    sysctls = {name: _read("/proc/sys/" + name.replace(".", "/")).strip() for name in _SYSCTLS}
    return HostFacts(
        kernel=kernel,
        machine=os.uname().machine,
        boot_id=_read("/proc/sys/kernel/random/boot_id").strip(),
        cpus=len(os.sched_getaffinity(0)),
        memory_total=memory,
        swap_total=swap,
        cgroups=_probe_cgroups(),
        capabilities=capabilities,
        withheld=withheld,
        lsms=_lsms(),
        features=_probe_features(kernel, sysctls),
        systemd=Path("/run/systemd/system").is_dir(),
        sysctls={name: value for name, value in sysctls.items() if value},
        huge_pages=huge_pages(Path("/sys/kernel/mm/hugepages")),
        users=users,
        overlay=probe_overlay(store, users) if store is not None else kernels_own(users),
    )


def huge_pages(directory: Path) -> dict[int, int]:
    """``hugepages-2048kB/nr_hugepages`` and its siblings → {2097152: pages}; {} when there is no such directory."""
    found = {}
    for pool in sorted(directory.glob("hugepages-*kB")):
        size, count = pool.name.removeprefix("hugepages-").removesuffix("kB"), _read(str(pool / "nr_hugepages")).strip()
        if size.isdecimal() and count.isdecimal():
            found[int(size) * 1024] = int(count)
    return found


def _probe_cgroups() -> CgroupSetup:
    mounts = parse_mountinfo(_read("/proc/self/mountinfo"))
    setup = describe_cgroups(mounts, _read("/proc/cgroups"))
    tops = setup.tops()
    if tops and not any(os.access(top, os.W_OK) for top in tops):
        setup = replace(setup, share=_probe_share(setup))
    if setup.unified is None:
        return setup
    directory = setup.unified.directory
    return setup.with_unified(
        controllers=_read(f"{directory}/cgroup.controllers"), subtree=_read(f"{directory}/cgroup.subtree_control")
    )


def _probe_share(setup: CgroupSetup) -> Share:
    if setup.mode is not CgroupMode.V2 or setup.unified is None:
        return Share(manager=False)
    service = Path(setup.unified.directory, user_service(_read("/proc/self/cgroup"), os.geteuid()))
    return Share(manager=service.is_dir(), controllers=frozenset(_read(f"{service}/cgroup.controllers").split()))


def _probe_features(kernel: Kernel, sysctls: Mapping[str, str]) -> Features:
    loaded = _read("/proc/modules")
    where = f"/lib/modules/{kernel.release}"
    loadable = [loaded, _read(f"{where}/modules.builtin"), _read(f"{where}/modules.dep")]
    filesystems = _read("/proc/filesystems").split()
    return Features(
        overlay="overlay" in filesystems or has_module("overlay", *loadable),
        user_namespaces=Path("/proc/self/ns/user").exists() and sysctls["user.max_user_namespaces"] != "0",
        nf_tables=_nf_tables_answers(),
        seccomp="errno" in _read("/proc/sys/kernel/seccomp/actions_avail").split(),
        rcu_expedited=_read("/sys/kernel/rcu_expedited").strip() == "1",
    )


def _lsms() -> tuple[str, ...]:
    """securityfs lists them, but is seldom mounted in containers; there the modules' own directories speak."""
    listed = _read("/sys/kernel/security/lsm").strip()
    if listed:
        return tuple(listed.split(","))
    found = []
    if _read("/sys/module/apparmor/parameters/enabled").startswith("Y"):
        found.append("apparmor")
    if Path("/sys/fs/selinux/enforce").exists():
        found.append("selinux")
    return tuple(found)


def _nf_tables_answers() -> bool:
    """Asks nf_tables for its generation; the kernel loads the module for whoever may ask. No rule is touched."""
    nfnetlink, get_generation, request_flags = 12, (10 << 8) | 16, 1
    message = struct.pack("=IHHIIBBH", 20, get_generation, request_flags, 1, 0, 0, 0, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, nfnetlink) as channel:
            channel.settimeout(1)
            channel.sendto(message, (0, 0))
            answer = channel.recv(4096)
    except OSError:
        return False
    kind = struct.unpack_from("=H", answer, 4)[0]
    nlmsg_error = 2
    # Without CAP_NET_ADMIN the answer is EPERM: nf_tables is there, this process may not speak to it.
    return kind != nlmsg_error or struct.unpack_from("=i", answer, 16)[0] in (0, -errno.EPERM)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
