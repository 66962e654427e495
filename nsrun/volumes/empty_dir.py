"""``emptyDir``: a directory that is empty when the pod starts and lives as long as the pod does.

On disk it survives everything but the pod's removal. ``medium: Memory`` is a tmpfs: it survives nsrun, and is empty
again after a reboot, as the memory it lives in.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from nsrun.model.pod import Pod
from nsrun.model.running import PreparedVolume
from nsrun.model.totals import pod_limit
from nsrun.model.volume import EmptyDir, EmptyDirMedium
from nsrun.support import native
from nsrun.support.fds import Fd

__all__ = ["PLUGIN", "memory_size", "prepare_empty_dir"]

PLUGIN = "kubernetes.io~empty-dir"

_MODE = 0o777  # the kubelet's: whoever the container runs as may write

# The kubelet mounts with neither. But the volume is part of the host's tree too: what a container leaves in it shall be
# no device and no setuid program to anybody on the host, whatever becomes of the directories above.
_FLAGS = native.MS_NOSUID | native.MS_NODEV


def prepare_empty_dir(pod: Pod, name: str, source: EmptyDir, directory: Path, *, memory_total: int) -> PreparedVolume:
    """Makes ``directory`` (and with ``medium: Memory`` mounts a tmpfs on it), or keeps what is there. Raises
    OSError."""
    _make_private(directory.parent)
    if not directory.is_dir():
        _make_world_writable(directory)
    warnings: tuple[str, ...] = ()
    if source.medium is EmptyDirMedium.MEMORY:
        if not _is_mounted(directory):
            _mount_tmpfs(directory, memory_size(pod, source, memory_total))
    elif source.size_limit is not None:
        warnings = (f'cannot enforce sizeLimit {source.size_limit.text} of volume "{name}": it is on disk',)
    return PreparedVolume(name=name, path=str(directory), warnings=warnings)


def memory_size(pod: Pod, source: EmptyDir, memory_total: int) -> int:
    """Bytes a memory volume may hold: the least of the machine's memory, the pod's limit and the volume's own."""
    bounds = [memory_total]
    limit = pod_limit(pod, "memory")
    if limit is not None:
        bounds.append(-(-limit // 1000))
    if source.size_limit is not None and source.size_limit.value > 0:
        bounds.append(source.size_limit.value)
    return min(bounds)


def _mount_tmpfs(directory: Path, size: int) -> None:
    """Never swapped where the kernel can promise it (``noswap``, Linux 6.4); secrets are put into memory for a
    reason."""
    options = f"mode={_MODE:04o},size={size}"
    try:
        native.mount("tmpfs", str(directory), "tmpfs", _FLAGS, f"{options},noswap")
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        native.mount("tmpfs", str(directory), "tmpfs", _FLAGS, options)


def _is_mounted(directory: Path) -> bool:
    """A tmpfs is a device number of its own."""
    return directory.stat(follow_symlinks=False).st_dev != directory.parent.stat().st_dev


def _make_private(directory: Path) -> None:
    """The directory with its parents, 0700 each that is new."""
    if directory.is_dir():
        return
    _make_private(directory.parent)
    directory.mkdir(mode=0o700, exist_ok=True)


def _make_world_writable(directory: Path) -> None:
    """The umask takes bits from mkdir, and a chmod afterwards could be lost in a crash for ever, since what exists is
    kept: so the directory appears under its name with its mode, or not at all."""
    unfinished = directory.with_name(f".{directory.name}.new")
    unfinished.mkdir(mode=0o700, exist_ok=True)
    with Fd.open(unfinished, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW) as opened:
        os.fchmod(opened.fileno(), _MODE)
    unfinished.rename(directory)
