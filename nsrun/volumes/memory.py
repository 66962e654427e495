"""File systems in memory: for emptyDir, and for what must never be on a disk."""

from __future__ import annotations

import errno
from pathlib import Path

from nsrun.model.node import Node
from nsrun.model.pod import Pod
from nsrun.model.resources import Quantity
from nsrun.model.totals import pod_limit
from nsrun.support import native

__all__ = ["memory_size", "mount_huge_pages", "mount_tmpfs"]

# The kubelet mounts with neither. But the volume is part of the host's tree too: what a container leaves in it shall be
# no device and no setuid program to anybody on the host, whatever becomes of the directories above.
_FLAGS = native.MS_NOSUID | native.MS_NODEV


def memory_size(pod: Pod, node: Node, size_limit: Quantity | None = None) -> int:
    """Bytes a volume in memory may hold: the least of what the node has for pods, the pod's limit and the volume's
    own. A limit of 0 is none. 0 when nobody knows a bound."""
    bounds = [-(-milli // 1000) for milli in (node.allocatable.get("memory"), pod_limit(pod, "memory")) if milli]
    if size_limit is not None and size_limit.value > 0:
        bounds.append(size_limit.value)
    return min(bounds, default=0)


def mount_tmpfs(directory: Path, *, size: int, mode: int, gid: int | None = None) -> None:
    """Mounts a tmpfs of ``size`` bytes (0: the kernel's default) on ``directory``, or keeps the one that is there.

    Never swapped where the kernel can promise it (``noswap``, Linux 6.4); secrets are put into memory for a reason.
    Raises OSError.
    """
    if _is_mounted(directory):
        return
    options = _options(mode, size, gid)
    try:
        native.mount("tmpfs", str(directory), "tmpfs", _FLAGS, f"{options},noswap")
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        native.mount("tmpfs", str(directory), "tmpfs", _FLAGS, options)


def mount_huge_pages(directory: Path, *, page_size: str, size: int, mode: int, gid: int | None = None) -> None:
    """The same of huge pages. ``page_size``: as hugetlbfs wants it (``2M``), "" for the host's default size."""
    if _is_mounted(directory):
        return
    options = _options(mode, size, gid)
    if page_size:
        options += f",pagesize={page_size}"
    native.mount("nodev", str(directory), "hugetlbfs", _FLAGS, options)
    directory.chmod(mode)  # of what it was told, hugetlbfs leaves the set-group-ID bit out


def _options(mode: int, size: int, gid: int | None) -> str:
    options = f"mode={mode:04o}"
    if size:
        options += f",size={size}"
    return options if gid is None else f"{options},gid={gid}"


def _is_mounted(directory: Path) -> bool:
    """Such a file system is a device number of its own."""
    return directory.stat(follow_symlinks=False).st_dev != directory.parent.stat().st_dev
