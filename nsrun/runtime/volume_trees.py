"""The mounts that a container gets from outside, as detached trees: copied and given their attributes while nobody can
see them, then attached by the child."""

from __future__ import annotations

import os
import stat

from nsrun.errors import RuntimeFailure, describe_errno
from nsrun.runtime.ociconfig import Mount, OciConfig
from nsrun.runtime.plan import VolumeTree
from nsrun.runtime.travel import Luggage
from nsrun.support import native
from nsrun.support.fds import Fd

__all__ = ["pack_trees"]


def pack_trees(luggage: Luggage, config: OciConfig, *, sandbox_root: str) -> dict[str, VolumeTree]:
    """A detached copy of each bind mount's source, its attributes set while nobody can see it."""
    trees: dict[str, VolumeTree] = {}
    for mount in config["mounts"]:
        if mount["type"] != "bind" or mount["source"].startswith(f"{sandbox_root}/"):
            continue
        try:
            tree = _detached(mount)
        except OSError as error:
            raise RuntimeFailure(
                f'cannot mount "{mount["source"]}" at "{mount["destination"]}": {describe_errno(error.errno or 0)}',
                reason="CreateContainerError",
            ) from error
        is_file = not stat.S_ISDIR(os.fstat(tree.fileno()).st_mode)
        trees[mount["destination"]] = VolumeTree(fd=luggage.add(tree), file=is_file)
    return trees


def _detached(mount: Mount) -> Fd:
    """Recursive binds take along what is mounted below. ``ro`` is not recursive (the kubelet's ``readOnly``); nothing
    propagates either way (``rprivate``)."""
    recursive = native.AT_RECURSIVE if "rbind" in mount["options"] else 0
    tree = native.open_tree(-100, mount["source"], native.OPEN_TREE_CLONE | recursive)
    try:
        at = native.AT_EMPTY_PATH
        native.mount_setattr(tree.fileno(), "", at | native.AT_RECURSIVE, propagation=native.MS_PRIVATE)
        if "ro" in mount["options"]:
            native.mount_setattr(tree.fileno(), "", at, set=native.MOUNT_ATTR_RDONLY)
    except BaseException:
        tree.close()
        raise
    return tree
