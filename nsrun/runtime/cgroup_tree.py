"""Our cgroups in one hierarchy: made, written, read and removed through the directory's own descriptor.

Paths here are relative to our root in the hierarchy, their names were checked by ``cgroups``, and cgroupfs holds no
links: nothing that a pod controls takes part in finding a cgroup.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator, Sequence

from nsrun.errors import RuntimeFailure, describe_errno
from nsrun.runtime.hugetlb import CONTROLLER, offered_sizes
from nsrun.runtime.resources import Setting
from nsrun.support.fds import Fd

__all__ = ["CgroupTree", "read_file", "write_file"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW

# How long a cgroup may stay busy after its last process was killed: the kernel lets go of the dead a little later.
_REMOVE_SECONDS = 2.0


class CgroupTree:
    """One hierarchy's part of our cgroups. ``directory``: where the hierarchy is mounted; ``root``: our top cgroup in
    it, open; ``controllers``: those that limit or count something there; ``page_sizes``: the sizes of huge pages that
    can be limited, in bytes."""

    def __init__(self, *, directory: str, name: str, controllers: frozenset[str], root: Fd) -> None:
        self.directory = directory
        self.controllers = controllers
        self._name = name
        self._root = root
        self.page_sizes = offered_sizes(os.listdir(root.fileno())) if CONTROLLER in controllers else frozenset()

    @classmethod
    def make_root(cls, directory: str, name: str) -> Fd:
        """Makes our top cgroup (``name`` may have several components). Raises OSError."""
        parts = name.split("/")
        with Fd.open(directory, _DIRECTORY) as top:
            for depth in range(1, len(parts) + 1):
                _make(top, "/".join(parts[:depth]))
            return Fd.open(name, _DIRECTORY, dir_fd=top.fileno())

    def make(self, path: str) -> tuple[Fd, bool]:
        """The cgroup, open, and whether it is new. Its parent must be there. Raises RuntimeFailure."""
        try:
            fresh = _make(self._root, path)
            return Fd.open(path, _DIRECTORY, dir_fd=self._root.fileno()), fresh
        except OSError as error:
            raise RuntimeFailure(
                f'cannot create cgroup "{self.directory}/{self._name}/{path}": {describe_errno(error.errno or 0)}',
                hint=_hint(error.errno or 0),
            ) from error

    def open(self, path: str) -> Fd | None:
        """The cgroup, open; None when there is none."""
        try:
            return Fd.open(path or ".", _DIRECTORY, dir_fd=self._root.fileno())
        except (FileNotFoundError, NotADirectoryError):
            return None

    def exists(self, path: str) -> bool:
        return os.access(path, os.F_OK, dir_fd=self._root.fileno(), follow_symlinks=False)

    def apply(self, cgroup: Fd, settings: Sequence[Setting], *, fresh: bool) -> Iterator[str]:
        """Writes what this hierarchy's controllers are asked for; yields a warning for what the kernel refused."""
        for setting in settings:
            if setting.controller not in self.controllers or (fresh and setting.value == setting.default):
                continue
            try:
                write_file(cgroup, setting.file, setting.value)
            except FileNotFoundError:
                if not setting.optional:
                    yield _refused(setting, "this kernel has no such file")
            except OSError as error:
                yield _refused(setting, describe_errno(error.errno or 0))

    def read(self, path: str, name: str) -> str:
        """The content of a cgroup's file; empty when cgroup or file are not there."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            file = os.open(f"{path}/{name}" if path else name, flags, dir_fd=self._root.fileno())
        except OSError:
            return ""
        try:
            return _content(file)
        except OSError:
            return ""  # removed meanwhile, or a controller that was switched off
        finally:
            os.close(file)

    def children(self, path: str) -> tuple[str, ...]:
        """Names of the cgroups directly below; none when ``path`` is not there."""
        cgroup = self.open(path)
        if cgroup is None:
            return ()
        with cgroup:
            return _subdirectories(cgroup)

    def pids(self, path: str) -> set[int]:
        """Processes in the cgroup and below it, as this process's PID namespace numbers them."""
        cgroup = self.open(path)
        if cgroup is None:
            return set()
        with cgroup:
            return _pids(cgroup)

    def remove(self, path: str) -> None:
        """Removes the cgroup with all below it; fine when it is not there. Raises RuntimeFailure when it stays busy."""
        cgroup = self.open(path)
        if cgroup is None:
            return
        with cgroup:
            for name in _subdirectories(cgroup):
                self.remove(f"{path}/{name}" if path else name)
        if path:
            self._rmdir(self._root, path)

    def remove_root(self) -> None:
        """Removes everything, our top cgroup too. Raises RuntimeFailure when something stays busy."""
        self.remove("")
        try:
            with Fd.open(self.directory, _DIRECTORY) as top:
                parts = self._name.split("/")
                self._rmdir(top, self._name)
                for depth in range(len(parts) - 1, 0, -1):
                    os.rmdir("/".join(parts[:depth]), dir_fd=top.fileno())
        except OSError:
            return  # parents that others use too stay

    def close(self) -> None:
        self._root.close()

    def _rmdir(self, parent: Fd, path: str) -> None:
        deadline = time.monotonic() + _REMOVE_SECONDS
        pause = 0.001
        while True:
            try:
                os.rmdir(path, dir_fd=parent.fileno())
                return
            except FileNotFoundError:
                return
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise RuntimeFailure(
                        f'cannot remove cgroup "{path}" from "{self.directory}": {describe_errno(error.errno or 0)}',
                        hint="processes are still in it" if error.errno == errno.EBUSY else None,
                    ) from error
            # The kernel tells of no moment when a dead process lets go of a v1 cgroup.
            time.sleep(pause)
            pause = min(pause * 2, 0.05)


def read_file(cgroup: Fd, name: str) -> str:
    """The content of one of the cgroup's files. Raises OSError."""
    with Fd.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=cgroup.fileno()) as file:
        return _content(file.fileno())


def _content(file: int) -> str:
    chunks = []
    while chunk := os.read(file, 65536):
        chunks.append(chunk)
    return b"".join(chunks).decode("ascii", "replace")


def write_file(cgroup: Fd, name: str, value: str) -> None:
    """Writes one of the cgroup's files. Raises OSError with the controller's answer."""
    with Fd.open(name, os.O_WRONLY | os.O_NOFOLLOW, dir_fd=cgroup.fileno()) as file:
        os.write(file.fileno(), value.encode("ascii"))


def _make(parent: Fd, path: str) -> bool:
    try:
        os.mkdir(path, 0o755, dir_fd=parent.fileno())
        return True
    except FileExistsError:
        return False


def _subdirectories(cgroup: Fd) -> tuple[str, ...]:
    with os.scandir(cgroup.fileno()) as entries:
        return tuple(sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False)))


def _pids(cgroup: Fd) -> set[int]:
    try:
        found = {int(line) for line in read_file(cgroup, "cgroup.procs").split()}
    except OSError:
        return set()  # removed meanwhile
    for name in _subdirectories(cgroup):
        try:
            with Fd.open(name, _DIRECTORY, dir_fd=cgroup.fileno()) as child:
                found |= _pids(child)
        except FileNotFoundError:
            continue
    return found - {0}  # 0: a process of a PID namespace that this one does not see


def _refused(setting: Setting, cause: str) -> str:
    what = setting.asked or setting.file
    return f'cannot apply {what}: writing "{setting.value}" to {setting.file}: {cause}'


def _hint(number: int) -> str | None:
    return {
        errno.EROFS: "the hierarchy is mounted read-only",
        errno.EACCES: "this part of the hierarchy belongs to somebody else",
        errno.EAGAIN: "a cgroup.max.descendants or cgroup.max.depth above it is reached",
        errno.ENOSPC: "the kernel allows no more cgroups",
    }.get(number)
