"""The kernels that the machine can be started with: the distribution's own for clouds, and a small initramfs.

The kernel's package is unpacked, not installed: nothing of it runs, and the initramfs holds what a QEMU machine needs
to mount its first disk and no more, so that an emulated processor is through with it in two seconds.
"""

from __future__ import annotations

import lzma
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rootfs.apt import C_LOCALE, PackageCache, PackageIndex

__all__ = ["Kernel", "KernelError", "choose", "make_initramfs", "offered", "unpack"]

# To mount a virtio disk. What a kernel has built in is missing, and fine.
_MODULES = ("virtio_pci", "virtio_blk")

_INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
for module in /modules/*.ko; do /bin/busybox insmod "$module"; done
read -r line < /proc/cmdline
case " $line " in *" probe "*) echo "the processor works" > /dev/console; /bin/busybox poweroff -f ;; esac
n=0
while [ ! -b /dev/vda ] && [ $n -lt 100 ]; do n=$((n+1)); /bin/busybox usleep 50000; done
/bin/busybox mount -t ext4 -o rw,relatime /dev/vda /root
/bin/busybox umount /proc
/bin/busybox mount --move /dev /root/dev
exec /bin/busybox switch_root /root /sbin/init
"""


class KernelError(Exception):
    """The distribution offers no kernel that fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """``meta``: the package that always depends on the newest ``image`` of its series. ``version``: of both."""

    meta: str
    image: str
    version: str

    @property
    def release(self) -> str:
        """As ``uname -r`` tells it."""
        return self.image.removeprefix("linux-image-")


def offered(architecture: str) -> list[Kernel]:
    """The newest kernel of each series that the configured suites offer, oldest series first."""
    pattern = rf"^linux-image-([0-9.]+-)?cloud-{architecture}$"
    found = subprocess.run(
        ["apt-cache", "search", "--names-only", pattern], capture_output=True, text=True, check=True, env=C_LOCALE
    )
    kernels = [_image_of(line.split()[0]) for line in found.stdout.splitlines()]
    return sorted((kernel for kernel in kernels if kernel is not None), key=lambda kernel: _number(kernel.image))


def choose(kernels: list[Kernel], which: str) -> Kernel:
    """``oldest``, ``newest``, or the beginning of a version. Raises KernelError."""
    if not kernels:
        raise KernelError("cannot choose a kernel: the configured suites offer no cloud kernel (apt-get update?)")
    if which in ("oldest", "newest"):
        return kernels[0 if which == "oldest" else -1]
    for kernel in kernels:
        if kernel.release.startswith(which):
            return kernel
    raise KernelError(f'cannot choose kernel "{which}": offered are {", ".join(k.release for k in kernels)}')


def _image_of(meta: str) -> Kernel | None:
    packages = PackageIndex().closure([meta], follow=[])
    package = next((package for package in packages if package.name == meta), None)
    if package is None:
        return None
    for alternatives in package.depends:
        if alternatives[0].startswith("linux-image-"):
            return Kernel(meta=meta, image=alternatives[0], version=package.version)
    return None


def _number(text: str) -> tuple[int, ...]:
    return tuple(int(digits) for digits in re.findall(r"\d+", text))


def unpack(kernel: Kernel, root: Path, packages: Path) -> None:
    """Puts the kernel and its modules into a directory: ``boot/vmlinuz-…``, ``usr/lib/modules/…``."""
    cache = PackageCache(packages)
    wanted = [package for package in PackageIndex().closure([kernel.image], follow=[]) if package.name == kernel.image]
    if missing := cache.missing(wanted):
        cache.fetch(missing)
    taken = root.parent / f"{kernel.release}.unpacked"
    subprocess.run(["dpkg-deb", "-x", str(cache.path(wanted[0])), str(taken)], check=True)
    (root / "boot").mkdir(parents=True, exist_ok=True)
    modules = root / "usr/lib/modules"
    modules.mkdir(parents=True, exist_ok=True)
    (taken / f"boot/vmlinuz-{kernel.release}").rename(root / f"boot/vmlinuz-{kernel.release}")
    (taken / f"lib/modules/{kernel.release}").rename(modules / kernel.release)
    subprocess.run(["rm", "-rf", str(taken)], check=True)
    subprocess.run(["depmod", "-b", str(root), kernel.release], check=True)


def make_initramfs(modules: Path, busybox: Path) -> bytes:
    """A cpio archive (``newc``) with busybox, the modules and ``/init``."""
    entries: list[tuple[str, int, bytes]] = [
        (name, 0o040755, b"") for name in ("bin", "dev", "proc", "root", "modules")
    ]
    entries.append(("bin/busybox", 0o100755, busybox.read_bytes()))
    entries.append(("init", 0o100755, _INIT.encode()))
    entries += [(f"modules/{n:02}-{name}.ko", 0o100644, data) for n, (name, data) in enumerate(_loadable(modules))]
    return b"".join(_entry(*entry, number) for number, entry in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1))


def _loadable(modules: Path) -> Iterator[tuple[str, bytes]]:
    """The modules with all they depend on, in the order of loading: depmod lists what is needed last first."""
    rows = [line.split() for line in (modules / "modules.dep").read_text().splitlines()]
    needs = {Path(row[0].rstrip(":")): [Path(name) for name in row[1:]] for row in rows}
    order = dict.fromkeys(
        path
        for name in _MODULES
        for top in needs
        if top.name.partition(".")[0] == name
        for path in (*reversed(needs[top]), top)
    )
    for path in order:
        data = (modules / path).read_bytes()
        yield path.name.partition(".")[0], lzma.decompress(data) if path.suffix == ".xz" else data


def _entry(name: str, mode: int, data: bytes, number: int) -> bytes:
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return _padded(header) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
