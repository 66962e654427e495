"""Files that change together, as the kubelet writes them (``pkg/volume/util/atomic_writer.go``).

    ..2026_05_01_10_00_00.1f2e3d4c/     the files, in their directories
    ..data -> ..2026_05_01_10_00_00.1f2e3d4c
    key -> ..data/key                   one for each first part of a path

A new version is written in full beside the old one; one rename of ``..data`` shows it. Whoever resolves ``..data`` once
sees one version, whole. Nothing is written when nothing changed, so that whoever watches the files hears nothing.
"""

from __future__ import annotations

import os
import secrets
import stat
import time
from pathlib import Path

from nsrun.support.fds import Fd
from nsrun.support.removal import remove_tree
from nsrun.volumes.group import shared_mode
from nsrun.volumes.payload import File, Payload, check_paths

__all__ = ["is_written", "write_files"]

_DATA, _NEXT = "..data", "..data_tmp"
_DIRECTORY_MODE = 0o755
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def is_written(directory: Path) -> bool:
    """Whether some version is shown there."""
    return (directory / _DATA).is_dir()


def write_files(directory: Path, payload: Payload, *, gid: int | None, now: float) -> bool:
    """Makes ``directory`` hold just ``payload``; False when it did already. ``gid``: the group that may read it.
    ``now``: for the new version's name, seconds since the epoch.

    What a crash left half done is finished or removed. Raises VolumeError (without the volume's name) for a path that
    may not be, OSError.
    """
    check_paths(payload)
    with Fd.open(directory, _OPEN_DIRECTORY) as top:
        current = _current(top)
        changed = current is None or _read(top, current) != _expected(payload, gid)
        if changed:
            current = time.strftime("..%Y_%m_%d_%H_%M_%S.", time.gmtime(now)) + secrets.token_hex(4)
            try:
                _write_version(top, current, payload, gid)
            except BaseException:
                remove_tree(directory / current)  # the disk may be full
                raise
            _show(top, current)
        shown = {path.partition("/")[0] for path in payload}
        for name in sorted(shown):
            _link(top, name)
        for name in sorted(set(os.listdir(top.fileno())) - shown - {_DATA, current}):
            remove_tree(directory / name)
    return changed


# --- what is there


def _current(top: Fd) -> str | None:
    """The name of the version that is shown."""
    try:
        name = os.readlink(_DATA, dir_fd=top.fileno())
    except OSError:
        return None
    return name if "/" not in name and name.startswith("..") and name != ".." else None


_Found = dict[str, tuple[bytes, int, int]]
"""By path: content, mode, group; for a directory no content."""


def _expected(payload: Payload, gid: int | None) -> _Found:
    group = os.getegid() if gid is None else gid
    found: _Found = {}
    for path, file in payload.items():
        parts = path.split("/")
        for end in range(1, len(parts)):
            found["/".join(parts[:end]) + "/"] = (b"", _directory_mode(gid), group)
        found[path] = (file.data, _file_mode(file, gid), group)
    return found


def _read(top: Fd, name: str) -> _Found | None:
    """None when it cannot be read as a version."""
    found: _Found = {}
    try:
        with Fd.open(name, _OPEN_DIRECTORY, dir_fd=top.fileno()) as version:
            _read_directory(version, "", found)
    except OSError:
        return None
    return found


def _read_directory(directory: Fd, prefix: str, found: _Found) -> None:
    for name in os.listdir(directory.fileno()):
        with Fd.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory.fileno()) as entry:
            status = os.fstat(entry.fileno())
            mode, path = stat.S_IMODE(status.st_mode), prefix + name
            if stat.S_ISDIR(status.st_mode):
                found[path + "/"] = (b"", mode, status.st_gid)
                _read_directory(entry, path + "/", found)
            else:
                with open(os.dup(entry.fileno()), "rb") as file:
                    found[path] = (file.read(), mode, status.st_gid)


# --- a new version


def _file_mode(file: File, gid: int | None) -> int:
    return file.mode if gid is None else shared_mode(file.mode, directory=False, read_only=True)


def _directory_mode(gid: int | None) -> int:
    return _DIRECTORY_MODE if gid is None else shared_mode(_DIRECTORY_MODE, directory=True, read_only=True)


def _write_version(top: Fd, name: str, payload: Payload, gid: int | None) -> None:
    with _make_directory(top, name, gid) as version:
        for path, file in payload.items():
            *parents, last = path.split("/")
            _write_file(version, parents, last, file, gid)


def _write_file(version: Fd, parents: list[str], name: str, file: File, gid: int | None) -> None:
    if parents:
        with _make_directory(version, parents[0], gid) as below:
            _write_file(below, parents[1:], name, file, gid)
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with Fd.open(name, flags, 0o600, dir_fd=version.fileno()) as made:
        rest = memoryview(file.data)
        while rest:
            rest = rest[os.write(made.fileno(), rest) :]
        _set(made, _file_mode(file, gid), gid)


def _make_directory(parent: Fd, name: str, gid: int | None) -> Fd:
    try:
        os.mkdir(name, 0o700, dir_fd=parent.fileno())
    except FileExistsError:
        return Fd.open(name, _OPEN_DIRECTORY, dir_fd=parent.fileno())
    made = Fd.open(name, _OPEN_DIRECTORY, dir_fd=parent.fileno())
    try:
        _set(made, _directory_mode(gid), gid)
    except BaseException:
        made.close()
        raise
    return made


def _set(made: Fd, mode: int, gid: int | None) -> None:
    """Mode and group, whatever the umask, and whatever group a set-group-ID bit above would give."""
    os.fchown(made.fileno(), -1, os.getegid() if gid is None else gid)
    os.fchmod(made.fileno(), mode)


# --- showing it


def _show(top: Fd, version: str) -> None:
    try:
        os.unlink(_NEXT, dir_fd=top.fileno())
    except FileNotFoundError:
        pass
    os.symlink(version, _NEXT, dir_fd=top.fileno())
    os.rename(_NEXT, _DATA, src_dir_fd=top.fileno(), dst_dir_fd=top.fileno())


def _link(top: Fd, name: str) -> None:
    target = f"{_DATA}/{name}"
    try:
        os.symlink(target, name, dir_fd=top.fileno())
    except FileExistsError:
        if _target(top, name) == target:
            return
        os.symlink(target, _NEXT, dir_fd=top.fileno())
        os.rename(_NEXT, name, src_dir_fd=top.fileno(), dst_dir_fd=top.fileno())


def _target(top: Fd, name: str) -> str | None:
    try:
        return os.readlink(name, dir_fd=top.fileno())
    except OSError:
        return None
