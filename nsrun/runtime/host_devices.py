"""The devices that this machine has in /dev, for privileged containers (containerd: pkg/oci, HostDevices)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from nsrun.runtime.ociconfig import Device

__all__ = ["host_devices"]

# File systems of their own, and what other runtimes keep there.
_SKIPPED = frozenset({"pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"})


def host_devices(directory: str = "/dev") -> tuple[Device, ...]:
    """Every device below the directory, with the owner and mode it has on the host; the console is the host's alone.
    Blocks. Raises OSError when there is no such directory."""
    return tuple(_devices(directory))


def _devices(directory: str) -> Iterator[Device]:
    with os.scandir(directory) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # unplugged meanwhile
            if stat.S_ISDIR(status.st_mode):
                if entry.name not in _SKIPPED:
                    yield from _devices(entry.path)
            elif entry.name != "console" and (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
                yield _device(entry.path, status)


def _device(path: str, status: os.stat_result) -> Device:
    return Device(
        path=path,
        type="b" if stat.S_ISBLK(status.st_mode) else "c",
        major=os.major(status.st_rdev),
        minor=os.minor(status.st_rdev),
        fileMode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
    )
