"""The mounts that a container gets from outside, as detached trees: copied and given their attributes while nobody can
see them, then attached by the child.

A ``subPath`` lies in what containers can write, also while it is resolved. So it is resolved once, from a descriptor of
the volume, by the kernel, which lets no link and no ``..`` lead out of it; and what that gave, not its path, is mounted
(CVE-2017-1002101, CVE-2021-25741).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from nsrun.errors import RuntimeFailure, describe_errno
from nsrun.host.mountinfo import parse_mountinfo
from nsrun.host.userns import own_user_namespace
from nsrun.model.running import ContainerRequest, PreparedVolume
from nsrun.model.volume import MountPropagation, RecursiveReadOnly, VolumeMount
from nsrun.runtime.mountplan import VolumeTree
from nsrun.runtime.ociconfig import Mount, OciConfig
from nsrun.runtime.ocimounts import mount_point
from nsrun.runtime.travel import Luggage
from nsrun.runtime.volume_mounts import is_read_only
from nsrun.support import native
from nsrun.support.fds import Fd

__all__ = ["open_sub_path", "pack_trees", "volume_tree"]

_AT_FDCWD = -100
_NOT_OURS = "nsrun may use what whoever runs it may: give them access, or run nsrun as root"
# Shown to the privileged, and not given to them: its owners are the host's, in every pod.
_HOSTS_OWN = frozenset({"/sys/fs/cgroup"})
# A link of the image's in their place would lead what is mounted or masked there astray.
_REAL_PLACES = frozenset({"/proc", "/sys"})
_BENEATH = native.RESOLVE_BENEATH | native.RESOLVE_NO_MAGICLINKS
_IN_IMAGE = native.RESOLVE_IN_ROOT | native.RESOLVE_NO_MAGICLINKS
_OF_IMAGE = native.MOUNT_ATTR_RDONLY | native.MOUNT_ATTR_NOSUID | native.MOUNT_ATTR_NODEV | native.MOUNT_ATTR_NOEXEC
_PROPAGATION = {
    MountPropagation.NONE: native.MS_PRIVATE,
    MountPropagation.HOST_TO_CONTAINER: native.MS_SLAVE,
    MountPropagation.BIDIRECTIONAL: native.MS_SHARED,
}


def pack_trees(
    luggage: Luggage,
    request: ContainerRequest,
    config: OciConfig,
    *,
    sandbox_root: str,
    stage: str,
    users: Fd | None = None,
) -> dict[str, VolumeTree]:
    """A detached copy for each mount of the configuration that shows something of the host, by destination. ``stage``:
    an empty host directory; ``users``: the pod's user namespace, whose owners are shown. Raises RuntimeFailure."""
    volumes = {mount_point(asked.mount_path): asked for asked in request.container.volume_mounts}
    trees: dict[str, VolumeTree] = {}
    for mount in config["mounts"]:
        destination = mount["destination"]
        asked = volumes.get(destination)
        if asked is not None:
            volume = request.volumes[asked.name]
            tree = volume_tree(asked, volume, container=request.container.name, stage=stage, users=users)
        elif mount["type"] == "bind" and not mount["source"].startswith(f"{sandbox_root}/"):
            with _mounting(f'"{mount["source"]}"', destination):
                tree = _plain_tree(mount)
                tree = tree if mount["source"] in _HOSTS_OWN else _with_owners(tree, users)
        else:
            continue
        is_file = not stat.S_ISDIR(os.fstat(tree.fileno()).st_mode)
        real = asked is None and destination in _REAL_PLACES
        trees[destination] = VolumeTree(fd=luggage.add(tree), file=is_file, real=real)
    return trees


def volume_tree(
    asked: VolumeMount, volume: PreparedVolume, *, container: str, stage: str, users: Fd | None = None
) -> Fd:
    """A volume, or what is at its subPath, as one mount of a container wants it. ``users``: the user namespace whose
    owners it shows. Raises RuntimeFailure."""
    with _mounting(f'"{volume.path}"' if volume.path else f'the image of volume "{asked.name}"', asked.mount_path):
        if volume.layers:
            return _image_tree(asked, volume.layers, stage, users)
        with Fd.open(volume.path, os.O_PATH) as top:
            if not asked.sub_path:
                return _with_owners(_tree(top, asked, volume), users)
            with _sub_path(asked, volume, container, top) as found:
                return _with_owners(_tree(found, asked, volume), users)


class _NotMappable(Exception):
    """A file system without idmapped mounts."""


# --- parts of volumes


def open_sub_path(top: Fd, path: str, *, make: bool) -> Fd:
    """What is at ``path`` in the volume ``top``, O_PATH. ``make``: directories that are missing are made, with the
    volume's own mode, as the kubelet does. Raises OSError: EXDEV when it would lead out of the volume."""
    try:
        return native.openat2(top.fileno(), path, os.O_PATH, resolve=_BENEATH)
    except FileNotFoundError:
        if not make:
            raise
    mode = stat.S_IMODE(os.fstat(top.fileno()).st_mode) & (0o777 | stat.S_ISGID)
    parent = native.openat2(top.fileno(), ".", os.O_PATH | os.O_DIRECTORY, resolve=_BENEATH)
    walked = ""
    for name in (part for part in path.split("/") if part not in ("", ".")):
        walked = f"{walked}/{name}".lstrip("/")
        with parent as above:
            parent = _open_or_make(top, above, walked, name, mode)
    return parent


def _open_or_make(top: Fd, parent: Fd, walked: str, name: str, mode: int) -> Fd:
    """Each part is resolved from the volume again, so that links in it mean what they mean to the kernel's own walk; it
    is made only in a directory that this walk has just given."""
    flags = os.O_PATH | os.O_DIRECTORY
    try:
        return native.openat2(top.fileno(), walked, flags, resolve=_BENEATH)
    except FileNotFoundError:
        pass
    try:
        os.mkdir(name, 0o700, dir_fd=parent.fileno())
    except FileExistsError:  # another container of the pod was faster; else it is a link to nothing
        return native.openat2(top.fileno(), walked, flags, resolve=_BENEATH)
    made = native.openat2(
        parent.fileno(), name, os.O_RDONLY | os.O_DIRECTORY, resolve=_BENEATH | native.RESOLVE_NO_SYMLINKS
    )
    os.fchmod(made.fileno(), mode)
    return made


@contextmanager
def _sub_path(asked: VolumeMount, volume: PreparedVolume, container: str, top: Fd) -> Iterator[Fd]:
    try:
        found = open_sub_path(top, asked.sub_path, make=not volume.read_only)
    except OSError as error:
        number = error.errno or 0
        cause = "it leads out of the volume" if number == errno.EXDEV else describe_errno(number)
        what = f'subPath "{asked.sub_path}" for volumeMount "{asked.name}" of container "{container}"'
        raise RuntimeFailure(
            f"cannot prepare {what}: {cause}",
            reason="CreateContainerConfigError",
        ) from error
    with found:
        yield found


# --- trees


def _tree(found: Fd, asked: VolumeMount, volume: PreparedVolume) -> Fd:
    _check_propagation(found, asked)
    at = native.AT_EMPTY_PATH
    tree = native.open_tree(found.fileno(), "", native.OPEN_TREE_CLONE | at | native.AT_RECURSIVE)
    try:
        native.mount_setattr(tree.fileno(), "", at | native.AT_RECURSIVE, propagation=_PROPAGATION[asked.propagation])
        if is_read_only(asked, volume):
            below = 0 if asked.recursive_read_only is RecursiveReadOnly.DISABLED else native.AT_RECURSIVE
            _make_read_only(tree, at, below, required=asked.recursive_read_only is RecursiveReadOnly.ENABLED)
    except BaseException:
        tree.close()
        raise
    return tree


def _make_read_only(tree: Fd, at: int, below: int, *, required: bool) -> None:
    """``readOnly`` alone is not recursive, as with the kubelet."""
    try:
        native.mount_setattr(tree.fileno(), "", at | below, set=native.MOUNT_ATTR_RDONLY)
    except OSError:
        if required or not below:
            raise
        native.mount_setattr(tree.fileno(), "", at, set=native.MOUNT_ATTR_RDONLY)


def _with_owners(tree: Fd, users: Fd | None) -> Fd:
    """Shows the owners of a user namespace. What is mounted below it keeps its own: nobody, to that namespace."""
    if users is None:
        return tree
    try:
        native.mount_idmap(tree.fileno(), users.fileno())
    except OSError as error:
        tree.close()
        raise _NotMappable if error.errno == errno.EINVAL else error from error
    return tree


def _image_tree(asked: VolumeMount, layers: tuple[str, ...], stage: str, users: Fd | None) -> Fd:
    """Links mean what they mean in the image: it is nobody's to change meanwhile."""
    opened = [Fd.open(layer, os.O_PATH | os.O_DIRECTORY) for layer in layers]
    try:
        path = asked.sub_path or "."
        if len(opened) > 1:
            numbers = [layer.fileno() for layer in opened]
            own = users.fileno() if users is not None else None
            in_user = own_user_namespace() is not None
            return native.rootfs_tree(stage, numbers, path, users=own, user_xattrs=in_user)
        at = native.AT_EMPTY_PATH
        with native.openat2(opened[0].fileno(), path, os.O_PATH, resolve=_IN_IMAGE) as found:
            tree = native.open_tree(found.fileno(), "", native.OPEN_TREE_CLONE | at)
        native.mount_setattr(tree.fileno(), "", at, set=_OF_IMAGE, propagation=native.MS_PRIVATE)
        return _with_owners(tree, users)
    finally:
        for layer in opened:
            layer.close()


def _plain_tree(mount: Mount) -> Fd:
    """A file or directory of nsrun's own, or of the host's. Recursive binds take along what is mounted below; nothing
    propagates. ``rro``: read-only with all of that, without devices, programs and set-ID."""
    recursive = native.AT_RECURSIVE if "rbind" in mount["options"] else 0
    tree = native.open_tree(_AT_FDCWD, mount["source"], native.OPEN_TREE_CLONE | recursive)
    try:
        at = native.AT_EMPTY_PATH
        native.mount_setattr(tree.fileno(), "", at | native.AT_RECURSIVE, propagation=native.MS_PRIVATE)
        if "ro" in mount["options"]:
            native.mount_setattr(tree.fileno(), "", at, set=native.MOUNT_ATTR_RDONLY)
        if "rro" in mount["options"]:
            native.mount_setattr(tree.fileno(), "", at | native.AT_RECURSIVE, set=_OF_IMAGE)
    except BaseException:
        tree.close()
        raise
    return tree


# --- propagation


def _check_propagation(found: Fd, asked: VolumeMount) -> None:
    """A copy of a private mount would be private too, and nothing would ever arrive: containerd refuses that."""
    if asked.propagation is MountPropagation.NONE:
        return
    groups, point = _peer_groups(found)
    wanted = ("shared:",) if asked.propagation is MountPropagation.BIDIRECTIONAL else ("shared:", "master:")
    if not any(group.startswith(wanted) for group in groups):
        kind = "shared" if len(wanted) == 1 else "shared or slave"
        raise RuntimeFailure(
            f'cannot propagate mounts of volume "{asked.name}" ({asked.propagation}): "{point}" is not a {kind} mount',
            reason="CreateContainerConfigError",
            hint=f'mount --make-rshared "{point}"',
        )


def _peer_groups(found: Fd) -> tuple[frozenset[str], str]:
    """Of the mount that a descriptor lies on, and where that is mounted."""
    with open(f"/proc/self/fdinfo/{found.fileno()}", encoding="ascii") as info:
        number = next((int(line.split()[1]) for line in info if line.startswith("mnt_id:")), -1)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        mounts = parse_mountinfo(file.read())
    return next(((mount.propagation, mount.point) for mount in mounts if mount.id == number), (frozenset(), "/"))


@contextmanager
def _mounting(what: str, destination: str) -> Iterator[None]:
    try:
        yield
    except _NotMappable as error:
        raise RuntimeFailure(
            f'cannot mount {what} at "{destination}": its file system cannot show other owners (idmapped mounts)',
            reason="CreateContainerError",
            hint="put it on ext4, xfs, btrfs or (from Linux 6.3 on) tmpfs, or leave out hostUsers: false",
        ) from error
    except OSError as error:
        raise RuntimeFailure(
            f'cannot mount {what} at "{destination}": {describe_errno(error.errno or 0)}',
            reason="CreateContainerError",
            hint=_NOT_OURS if error.errno == errno.EACCES and own_user_namespace() is not None else None,
        ) from error
