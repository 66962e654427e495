"""The machine's disks: one with the distribution, made from its packages, and one with the tree of this checkout.

Everything is kept in ``build/vm`` under a name that follows from what went into it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vagrant.kernels import Kernel, make_initramfs, offered, unpack

__all__ = ["REPO", "BaseImage", "ImageError", "build_base", "make_tree_disk"]

REPO = Path(__file__).resolve().parent.parent

# For a machine that a person can look around in; what nsrun and its tests need comes from `./dev packages`.
# AppArmor is on most machines that will run nsrun, and a default profile for containers with it.
_SYSTEM_PACKAGES = (
    "systemd",
    "systemd-sysv",
    "udev",
    "dbus",
    "kmod",
    "apparmor",
    "iputils-ping",
    "less",
    "sudo",
    "strace",
)
# Large, and for looking at the text, or for making images to compare with: that is done outside the machine.
_PODMAN = ("podman", "crun", "conmon", "catatonit")
_LEFT_OUT = frozenset({"clang", "clang-format", *_PODMAN, "qemu-system-x86", "qemu-utils", "mmdebstrap", "vagrant"})

# Of the tree, what the machine has no use for.
_NOT_SHARED = frozenset({".git", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"})

_EXCLUDED = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")

_AGENT_UNIT = """[Unit]
Description=carries out what the host asks
DefaultDependencies=no
After=systemd-modules-load.service systemd-tmpfiles-setup.service systemd-udevd.service

[Service]
ExecStartPre=/bin/udevadm settle --timeout=60 --exit-if-exists=/dev/virtio-ports/nsrun
ExecStart=/usr/bin/python3 -I -S /usr/local/lib/nsrun-vm/guest.py
Restart=always
RestartSec=1
KillMode=process
TasksMax=infinity
LimitNOFILE=524288
OOMScoreAdjust=-900

[Install]
WantedBy=multi-user.target
"""

_NETWORK = """[Match]
Name=eth0

[Network]
Address=10.0.2.15/24
Gateway=10.0.2.2
DNS=10.0.2.3
LinkLocalAddressing=no
"""

_UNUSED_MODULES = ("kvm", "kvm_amd", "kvm_intel", "powernow_k8", "ata_piix", "ata_generic", "aesni_intel", "psmouse")

_FILES: dict[str, str] = {
    "etc/hostname": "nsrun-vm\n",
    "etc/hosts": "127.0.0.1 localhost nsrun-vm\n::1 localhost\n",
    "etc/resolv.conf": "nameserver 10.0.2.3\n",
    "etc/fstab": "LABEL=nsrun-vm / ext4 defaults 0 0\n",
    "etc/systemd/network/eth0.network": _NETWORK,
    "etc/systemd/system/nsrun-vm.service": _AGENT_UNIT,
    "etc/modules-load.d/nsrun-vm.conf": "virtio_console\n",
    # Hardware that no pod needs, and that takes an emulated processor seconds to look at.
    "etc/modprobe.d/nsrun-vm.conf": "".join(f"blacklist {name}\n" for name in _UNUSED_MODULES),
    "etc/sudoers.d/dev": "dev ALL=(ALL) NOPASSWD: ALL\n",
    "etc/machine-id": "",
}

_MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "serial-getty@ttyS0.service",
    "docker-registry.service",
    "systemd-timesyncd.service",
    "systemd-resolved.service",
    "systemd-networkd-wait-online.service",
)


class ImageError(Exception):
    """A disk cannot be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseImage:
    """The distribution's disk and its kernels, oldest first. ``stamp`` follows from what went into it."""

    disk: Path
    kernels: tuple[Kernel, ...]
    stamp: str

    def vmlinuz(self, kernel: Kernel) -> Path:
        return self.disk.parent / f"vmlinuz-{kernel.release}"

    def initramfs(self, kernel: Kernel) -> Path:
        return self.disk.parent / f"initramfs-{kernel.release}"


def run(*argv: str) -> None:
    """Raises ImageError with the last words of a command that fails."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ImageError(f"cannot run {argv[0]}: {(done.stderr or done.stdout)[-2000:]}")


def build_base(directory: Path, packages: Sequence[str], say: Callable[[str], None]) -> BaseImage:
    """Makes the distribution's disk, unless the one at hand was made of the same. Raises ImageError."""
    names = sorted({*packages, *_SYSTEM_PACKAGES, *_python_packages()} - _LEFT_OUT)
    stamp = fingerprint(names)
    done = directory / f"base-{stamp}"
    if not done.is_dir():
        if os.geteuid() != 0:
            raise ImageError("cannot make the machine's disk: this needs root, once")
        say("making the machine's disk from packages (two minutes or so)")
        partial = directory / f"base-{stamp}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _make(partial, directory / "packages", names, say)
        for old in directory.glob("base-*"):
            if old != partial:
                shutil.rmtree(old)
        partial.rename(done)
    return BaseImage(disk=done / "disk.raw", kernels=_kernels_in(done), stamp=stamp)


def fingerprint(names: Iterable[str]) -> str:
    digest = hashlib.sha256(" ".join(names).encode())
    for source in ("image.py", "kernels.py", "guest.py"):
        digest.update((REPO / "vagrant" / source).read_bytes())
    return digest.hexdigest()[:12]


def _python_packages() -> tuple[str, ...]:
    """The same Python that the checkout's .venv uses, so that the .venv is good in the machine too."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return (version, f"{version}-venv", f"{version}-dev", "python3")


def _make(directory: Path, packages: Path, names: Sequence[str], say: Callable[[str], None]) -> None:
    root = directory / "root"
    options = [f"--dpkgopt=path-exclude={pattern}" for pattern in _EXCLUDED]
    # In a mount namespace of its own: what it mounts, and may leave behind, is gone with it.
    command = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "mmdebstrap",
        "--mode=root",
        "--variant=apt",
        f"--include={','.join(names)}",
        *options,
    ]
    run(*command, _codename(), str(root), *_sources())
    kernels = offered(_architecture())
    for kernel in {kernels[0], kernels[-1]} if kernels else ():
        say(f"kernel {kernel.release} ({kernel.version})")
        unpack(kernel, root, packages)
        shutil.move(root / f"boot/vmlinuz-{kernel.release}", directory / f"vmlinuz-{kernel.release}")
        initramfs = make_initramfs(root / "usr/lib/modules" / kernel.release, root / "bin/busybox")
        (directory / f"initramfs-{kernel.release}").write_bytes(initramfs)
        with (directory / "kernels").open("a") as listing:
            listing.write(f"{kernel.meta} {kernel.image} {kernel.version}\n")
    _furnish(root)
    make_ext4(directory / "disk.raw", root, label="nsrun-vm", size=8 << 30)
    shutil.rmtree(root)


def _kernels_in(directory: Path) -> tuple[Kernel, ...]:
    rows = [line.split() for line in (directory / "kernels").read_text().splitlines()]
    kernels = [Kernel(meta=meta, image=image, version=version) for meta, image, version in rows]
    return tuple(
        sorted(kernels, key=lambda kernel: [int(n) for n in kernel.release.split("-")[0].split("+")[0].split(".")])
    )


def _furnish(root: Path) -> None:
    """What makes a tree of packages a machine: its files, users and services."""
    for name, text in _FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(text)
    (root / "etc/sudoers.d/dev").chmod(0o440)
    agent = root / "usr/local/lib/nsrun-vm/guest.py"
    agent.parent.mkdir(parents=True)
    shutil.copyfile(REPO / "vagrant/guest.py", agent)
    for unit in _MASKED:
        (root / "etc/systemd/system" / unit).unlink(missing_ok=True)
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    run("chroot", str(root), "useradd", "--create-home", "--shell", "/bin/bash", "--uid", "1000", "dev")
    run("chroot", str(root), "passwd", "--delete", "root")
    run("chroot", str(root), "systemctl", "enable", "nsrun-vm.service", "systemd-networkd.service")


def _sources() -> list[str]:
    """apt's configuration of this machine, as far as it is the distribution's own."""
    lists = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    own = [str(path) for path in lists if path.is_file() and _codename() in path.read_text().split() and _is_own(path)]
    if not own:
        raise ImageError(f'cannot find the sources of "{_codename()}" in /etc/apt')
    return own


def _is_own(path: Path) -> bool:
    return path.suffix in (".list", ".sources") and any(
        word in path.read_text() for word in ("debian-archive-keyring", "ubuntu-archive-keyring", "/debian", "/ubuntu")
    )


def _codename() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        key, _, text = line.partition("=")
        if key == "VERSION_CODENAME":
            return text.strip('"')
    raise ImageError("cannot tell which distribution this is: /etc/os-release has no VERSION_CODENAME")


def _architecture() -> str:
    done = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def make_ext4(disk: Path, content: Path, *, label: str, size: int) -> None:
    """A sparse file with an ext4 file system that holds a copy of a directory."""
    disk.unlink(missing_ok=True)
    with disk.open("wb") as file:
        file.truncate(size)
    # No journal to replay and no tables to initialise in the background: both cost an emulated processor dearly.
    features = "lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0"
    run("mkfs.ext4", "-q", "-F", "-m0", "-L", label, "-E", features, "-d", str(content), str(disk))


def make_tree_disk(disk: Path) -> None:
    """A disk with a copy of the checkout, its .venv and build products included, and nsrun's bytecode: an emulated
    processor takes minutes for that, each time where none can be kept. Raises ImageError."""
    subprocess.run([sys.executable, "-m", "compileall", "-q", "nsrun"], cwd=REPO, check=False)
    staging = disk.with_suffix(".staging")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        _link_tree(REPO, staging)
        make_ext4(disk, staging, label="nsrun-tree", size=2 << 30)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _link_tree(source: Path, target: Path) -> None:
    """The same files under other names, by hard links: nothing is copied."""
    target.mkdir()
    shutil.copystat(source, target)
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.name in _NOT_SHARED or Path(entry.path) == REPO / "build/vm":
                continue
            if entry.is_dir(follow_symlinks=False):
                _link_tree(Path(entry.path), target / entry.name)
            elif entry.is_symlink() or entry.is_file():
                os.link(entry.path, target / entry.name, follow_symlinks=False)
