"""What becomes a container's root: layers that the kernel is to lay over each other, or a mount that shows them so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nsrun.host.overlay import OverlayFlavour
from nsrun.runtime.copied_root import copy_layers
from nsrun.runtime.fuse_overlay import fuse_overlay
from nsrun.runtime.plan import OverlayParts, RootTree
from nsrun.runtime.travel import Luggage
from nsrun.support import native
from nsrun.support.fds import Fd

__all__ = ["root_parts"]

_AT_FDCWD = -100


def root_parts(
    layers: Sequence[str], files: Path, flavour: OverlayFlavour, luggage: Luggage
) -> OverlayParts | RootTree:
    """``layers``: topmost first. ``files``: the container's own directory, with ``upper`` and ``work`` in it, both
    empty. Blocks. Raises RuntimeFailure, OSError."""
    upper, work = str(files / "upper"), str(files / "work")
    if flavour is OverlayFlavour.FUSE:
        tree = fuse_overlay(layers, upper=upper, work=work)
        return RootTree(fd=luggage.add(tree), source="the image's layers by fuse-overlayfs")
    if flavour is OverlayFlavour.COPY:
        copy_layers(layers, upper)
        return RootTree(fd=luggage.add(_detached(upper)), source="a copy of the image's layers")
    return OverlayParts(layers=tuple(layers), upper=upper, work=work, user_xattrs=flavour is OverlayFlavour.USER)


def _detached(directory: str) -> Fd:
    tree = native.open_tree(_AT_FDCWD, directory, native.OPEN_TREE_CLONE)
    try:
        attributes, private = native.MOUNT_ATTR_NODEV, native.MS_PRIVATE
        native.mount_setattr(tree.fileno(), "", native.AT_EMPTY_PATH, set=attributes, propagation=private)
    except BaseException:
        tree.close()
        raise
    return tree
