"""A root file system as a copy of an image's layers, where nothing can lay them over each other.

The layers are read as overlayfs stacks them (Documentation/filesystems/overlayfs.rst): a character device 0:0 hides
what the layers below have by its name, a directory marked opaque what they have in it. They are walked by descriptors,
and no link in them is followed. Content is shared where the file system can (FICLONE). Blocks.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress

from nsrun.support import native
from nsrun.support.fds import Fd

__all__ = ["copy_layers"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_RESOLVE = native.RESOLVE_BENEATH | native.RESOLVE_NO_SYMLINKS
_FICLONE = 0x40049409
_CHUNK = 1 << 30
_MARKS = ("user.overlay.", "trusted.overlay.")
_OPAQUE = tuple(f"{mark}opaque" for mark in _MARKS)


def copy_layers(layers: Sequence[str], target: str) -> None:
    """Fills the empty directory ``target`` with what the layers, topmost first, show. Raises OSError."""
    with ExitStack() as opened:
        tops = [opened.enter_context(Fd.open(layer, _DIRECTORY)) for layer in layers]
        _Copy(tops, opened.enter_context(Fd.open(target, _DIRECTORY))).run()


class _Copy:
    """``_linked``: where a file with several names was put first, by device and inode. ``_dressed``: directories whose
    time is set last, since filling them changes it."""

    def __init__(self, layers: Sequence[Fd], target: Fd) -> None:
        self._layers = layers
        self._target = target
        self._linked: dict[tuple[int, int], str] = {}
        self._dressed: list[tuple[str, os.stat_result]] = []

    def run(self) -> None:
        work: list[tuple[str, tuple[int, ...]]] = [(".", tuple(range(len(self._layers))))]
        while work:
            path, numbers = work.pop()
            work += self._directory(path, numbers)
        for path, status in reversed(self._dressed):
            with _open(self._target, path) as made:
                os.utime(made.fileno(), ns=(status.st_mtime_ns, status.st_mtime_ns))

    def _directory(self, path: str, numbers: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Copies what is in it; the directories below, with the layers that show them."""
        with ExitStack() as opened:
            made = opened.enter_context(_open(self._target, path))
            sources = [(number, opened.enter_context(_open(self._layers[number], path))) for number in numbers]
            _dress(made.fileno(), sources[0][1].fileno())
            self._dressed.append((path, os.fstat(sources[0][1].fileno())))
            for name, shown in _stacked(sources).items():
                below = f"{path}/{name}"
                source = next(fd for number, fd in sources if number == shown[0])
                status = os.stat(name, dir_fd=source.fileno(), follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    os.mkdir(name, 0o700, dir_fd=made.fileno())
                    yield below, shown
                else:
                    self._entry(below, name, source, made, status)

    def _entry(self, path: str, name: str, source: Fd, made: Fd, status: os.stat_result) -> None:
        """Whatever is no directory."""
        inode = (status.st_dev, status.st_ino)
        if (first := self._linked.get(inode)) is not None:
            os.link(first, name, src_dir_fd=self._target.fileno(), dst_dir_fd=made.fileno(), follow_symlinks=False)
            return
        if status.st_nlink > 1:
            self._linked[inode] = path
        if stat.S_ISREG(status.st_mode):
            _copy_file(name, source, made)
        elif stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=source.fileno()), name, dir_fd=made.fileno())
        elif stat.S_ISFIFO(status.st_mode):
            os.mkfifo(name, 0o600, dir_fd=made.fileno())
        else:
            return  # a device, which no container could open
        if not stat.S_ISREG(status.st_mode):
            os.chown(name, status.st_uid, status.st_gid, dir_fd=made.fileno(), follow_symlinks=False)
        if stat.S_ISFIFO(status.st_mode):
            os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=made.fileno())
        times = (status.st_mtime_ns, status.st_mtime_ns)
        os.utime(name, ns=times, dir_fd=made.fileno(), follow_symlinks=False)


def _stacked(sources: Sequence[tuple[int, Fd]]) -> dict[str, tuple[int, ...]]:
    """Every name that shows, with the numbers of the layers that show it, topmost first: several only of directories
    that merge."""
    shown: dict[str, tuple[int, ...]] = {}
    closed: set[str] = set()
    for number, directory in sources:
        with os.scandir(directory.fileno()) as entries:
            for entry in entries:
                if entry.name in closed:
                    continue
                status = entry.stat(follow_symlinks=False)
                is_directory = stat.S_ISDIR(status.st_mode)
                hides = stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
                if (is_directory or entry.name not in shown) and not hides:
                    shown[entry.name] = (*shown.get(entry.name, ()), number)
                if not is_directory or _is_opaque(directory, entry.name):
                    closed.add(entry.name)
    return shown


def _is_opaque(parent: Fd, name: str) -> bool:
    with _open(parent, name) as directory:
        for mark in _OPAQUE:
            with suppress(OSError):
                if os.getxattr(directory.fileno(), mark) == b"y":
                    return True
    return False


def _copy_file(name: str, source: Fd, made: Fd) -> None:
    with (
        native.openat2(source.fileno(), name, _FILE, resolve=_RESOLVE) as old,
        Fd(os.open(name, _NEW | os.O_CLOEXEC, 0o600, dir_fd=made.fileno())) as new,
    ):
        try:
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
        except OSError:
            while os.copy_file_range(old.fileno(), new.fileno(), _CHUNK):
                pass
        _dress(new.fileno(), old.fileno())


def _dress(new: int, old: int) -> None:
    """Owner first: chown(2) takes set-ID bits and capabilities away."""
    status = os.fstat(old)
    os.fchown(new, status.st_uid, status.st_gid)
    os.fchmod(new, stat.S_IMODE(status.st_mode))
    for name in os.listxattr(old):
        if name.startswith(_MARKS) or not name.startswith(("user.", "security.capability")):
            continue
        try:
            os.setxattr(new, name, os.getxattr(old, name))
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise


def _open(root: Fd, path: str) -> Fd:
    return native.openat2(root.fileno(), path, _DIRECTORY, resolve=_RESOLVE)
