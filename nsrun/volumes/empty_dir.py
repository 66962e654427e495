"""``emptyDir``: a directory that is empty when the pod starts and lives as long as the pod does.

On disk it survives everything but the pod's removal; its size limit is kept by eviction, which asks for its usage.
``medium: Memory`` is a tmpfs: it survives nsrun, and is empty again after a reboot, as the memory it lives in.
``medium: HugePages`` is a hugetlbfs.
"""

from __future__ import annotations

import re
from pathlib import Path

from nsrun.errors import VolumeError
from nsrun.model.node import Node
from nsrun.model.pod import Pod
from nsrun.model.running import PreparedVolume
from nsrun.model.volume import EmptyDir, EmptyDirMedium
from nsrun.volumes.group import shared_mode
from nsrun.volumes.memory import memory_size, mount_huge_pages, mount_tmpfs
from nsrun.volumes.places import make_place
from nsrun.volumes.within import check_mountable

__all__ = ["PLUGIN", "huge_page_size", "prepare_empty_dir"]

PLUGIN = "kubernetes.io~empty-dir"

_MODE = 0o777  # the kubelet's: whoever the container runs as may write
_HUGE = "hugepages-"
_PAGE_SIZE = re.compile(r"([0-9]+)([KMG])i")


def prepare_empty_dir(pod: Pod, name: str, source: EmptyDir, directory: Path, node: Node) -> PreparedVolume:
    """Makes ``directory``, mounts on it what is not of the disk, or keeps what is there. The pod's fsGroup owns it from
    its beginning, and nothing is done to its content later. Raises OSError, VolumeError (without the volume's name)."""
    gid = pod.spec.security_context.fs_group
    mode = _MODE if gid is None else shared_mode(_MODE, directory=True)
    make_place(directory, mode, gid=-1 if gid is None else gid)
    match source.medium:
        case EmptyDirMedium.MEMORY:
            mount_tmpfs(directory, size=memory_size(pod, node, source.size_limit), mode=mode, gid=gid)
        case EmptyDirMedium.HUGE_PAGES:
            check_mountable("huge pages", "leave out the medium, or run nsrun as root")
            page_size = huge_page_size(pod, source)
            size = source.size_limit.value if source.size_limit is not None else 0
            mount_huge_pages(directory, page_size=page_size, size=size, mode=mode, gid=gid)
        case EmptyDirMedium.DISK:
            pass
    return PreparedVolume(name=name, path=str(directory))


def huge_page_size(pod: Pod, source: EmptyDir) -> str:
    """The size of the volume's pages as hugetlbfs wants it: what the medium says, else what the containers limit, else
    "", the host's default. Raises VolumeError (without the volume's name) when they limit pages of several sizes."""
    said = source.page_size
    if not said:
        limits = {
            key for container in pod.all_containers for key in container.resources.limits if key.startswith(_HUGE)
        }
        if len(limits) > 1:
            raise VolumeError(
                f"medium HugePages with pages of several sizes: {', '.join(sorted(limits))}",
                hint="name the size: medium: HugePages-2Mi",
            )
        said = next(iter(limits), "").removeprefix(_HUGE)
    if not said:
        return ""
    match = _PAGE_SIZE.fullmatch(said)
    if match is None:
        raise VolumeError(f'"{said}" is no size of huge pages')
    return match[1] + match[2]
