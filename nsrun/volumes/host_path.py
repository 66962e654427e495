"""``hostPath``: something of the host, checked to be what the manifest says, or made (``pkg/volume/hostpath``).

The path is the manifest's, and whoever writes manifests is root here: links in it are followed, as the kubelet does.
Its content is never touched.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from nsrun.errors import VolumeError
from nsrun.model.running import PreparedVolume
from nsrun.model.volume import HostPath, HostPathType
from nsrun.support.fds import Fd

__all__ = ["prepare_host_path"]

_IS: Mapping[HostPathType, tuple[Callable[[int], bool], str]] = MappingProxyType(
    {
        HostPathType.DIRECTORY: (stat.S_ISDIR, "directory"),
        HostPathType.DIRECTORY_OR_CREATE: (stat.S_ISDIR, "directory"),
        HostPathType.FILE: (stat.S_ISREG, "file"),
        HostPathType.FILE_OR_CREATE: (stat.S_ISREG, "file"),
        HostPathType.SOCKET: (stat.S_ISSOCK, "socket file"),
        HostPathType.CHAR_DEVICE: (stat.S_ISCHR, "character device"),
        HostPathType.BLOCK_DEVICE: (stat.S_ISBLK, "block device"),
    }
)

_DIRECTORY_MODE, _FILE_MODE = 0o755, 0o644


def prepare_host_path(name: str, source: HostPath) -> PreparedVolume:
    """Makes what the type says to make, then checks the type. ``""`` checks nothing and makes a missing directory, as
    container runtimes do. Raises VolumeError (without the volume's name), or OSError when something cannot be made."""
    path = Path(source.path)
    if not path.is_absolute():
        raise VolumeError(f'hostPath "{source.path}" is not absolute')
    if source.type in (HostPathType.ANY, HostPathType.DIRECTORY_OR_CREATE):
        _make_directory(path)
    elif source.type is HostPathType.FILE_OR_CREATE:
        _make_file(path)
    if source.type in _IS:
        is_that, what = _IS[source.type]
        if not is_that(_mode(path)):
            raise VolumeError(
                f"hostPath type check failed: {source.path} is not a {what}",
                hint=None if path.exists() else "there is nothing at that path",
            )
    return PreparedVolume(name=name, path=source.path)


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def _make_directory(path: Path) -> None:
    """The directory with its parents, 0755 each that is new, whatever the umask; anything that is there is kept."""
    if path.exists():
        return
    _make_directory(path.parent)
    try:
        path.mkdir()
    except FileExistsError:
        return  # somebody else made it, or it is a link to nothing, which the mount will tell
    with Fd.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW) as made:
        os.fchmod(made.fileno(), _DIRECTORY_MODE)


def _make_file(path: Path) -> None:
    """An empty file, 0644 whatever the umask; its directory must be there. Anything that is there is kept."""
    try:
        made = Fd.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE)
    except FileExistsError:
        return
    with made:
        os.fchmod(made.fileno(), _FILE_MODE)
