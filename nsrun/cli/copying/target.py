"""Makes files below a directory from entries, whoever they come from and whoever else is at work there.

* Directories are opened by openat2(2), beneath the target and through no link; the last component is used by its bare
  name and never followed. So nothing is made, changed or removed outside of the target.
* Files are made anew. What has the name already is unlinked, never written through: it may be a link, or a file that
  has another name elsewhere. Only what is mounted there (a container's /etc/hosts) is written in place.
* Devices, FIFOs and sockets are passed over; set-user-ID and set-group-ID come along only when that is asked for.
* A directory that is there already keeps its owner and mode.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nsrun.cli.copying.tree import Content
from nsrun.images.entrypath import EntryError, split_path
from nsrun.images.limits import DEFAULT_LIMITS
from nsrun.images.tarstream import Entry, Kind
from nsrun.support import native
from nsrun.support.fds import Fd
from nsrun.support.idranges import IdRange

__all__ = ["Dress", "Target"]

_BENEATH = native.RESOLVE_BENEATH | native.RESOLVE_NO_SYMLINKS | native.RESOLVE_NO_MAGICLINKS
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_IN_PLACE = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_OPEN_DIRECTORIES = 256
_TRIES = 16
"""How often something else may take a name that was just made free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dress:
    """What of an entry's owner, mode and time its file gets.

    ``archive``: its owner, and its whole mode. Else the owner is ``owner``, or with None whoever makes the file, and of
    the mode only the permissions are taken. ``preserve`` False: neither times, nor what a umask of 022 takes away.
    ``users``: the target is in this user namespace; owners are given as it numbers them."""

    owner: tuple[int, int] | None = None
    archive: bool = False
    preserve: bool = True
    users: IdRange | None = None

    def owner_of(self, entry: Entry) -> tuple[int, int] | None:
        """In the host's numbers; None: as it is. Raises EntryError for one that cannot be."""
        owner = (entry.uid, entry.gid) if self.archive else self.owner
        if owner is None or self.users is None:
            return owner
        if max(owner) >= self.users.count:
            raise EntryError(f"its owner {owner[0]}:{owner[1]} is not among the pod's {self.users.count} users")
        return self.users.first + owner[0], self.users.first + owner[1]

    def mode_of(self, entry: Entry) -> int:
        """The permissions, and with ``archive`` all of the mode."""
        if not self.preserve:
            return entry.mode & 0o755
        return entry.mode & 0o7777 if self.archive else entry.mode & 0o777


class Target:
    """A directory that is filled. ``root`` stays the caller's.

    ``_known``: directories that are open, by path, least recently used first. ``_made``: the time of each directory
    that was made, which is set last: filling a directory changes it."""

    def __init__(self, root: Fd, dress: Dress, *, passed_over: Callable[[bytes, str], None]) -> None:
        self._root = root
        self._dress = dress
        self._passed_over = passed_over
        self._known: OrderedDict[bytes, Fd] = OrderedDict()
        self._made: dict[bytes, int] = {}

    def fill(self, entries: Iterator[tuple[Entry, Content]]) -> None:
        """Makes them all. Raises EntryError and OSError; ``EntryError.args`` and ``OSError.filename`` tell where."""
        try:
            for entry, content in entries:
                try:
                    self._add(entry, content)
                except EntryError as error:
                    raise EntryError(f'entry "{os.fsdecode(entry.path)}": {error}') from None
                except OSError as error:
                    raise OSError(error.errno, error.strerror, entry.path) from error
            self._set_times()
        finally:
            while self._known:
                self._known.popitem()[1].close()

    def _add(self, entry: Entry, content: Content) -> None:
        parts = _split(entry.path)
        if not parts:
            if entry.kind is not Kind.DIRECTORY:
                raise EntryError("it would replace the directory that is copied to")
            return
        directory, name = b"/".join(parts[:-1]), parts[-1]
        match entry.kind:
            case Kind.FILE:
                self._file(entry, self._open(directory), name, content)
            case Kind.DIRECTORY:
                self._directory(entry, directory, name)
            case Kind.SYMLINK:
                self._replace(directory, name, lambda parent: os.symlink(entry.target, name, dir_fd=parent))
                self._dress_link(entry, self._open(directory), name)
            case Kind.HARD_LINK:
                self._hard_link(entry, directory, name)
            case _:
                self._passed_over(entry.path, f"a {entry.kind.value}")

    # --- directories

    def _open(self, path: bytes) -> int:
        """The directory, a borrowed descriptor; what is missing on the way is made. Raises EntryError, OSError."""
        if not path:
            return self._root.fileno()
        known = self._known.get(path)
        if known is None:
            known = self._known[path] = self._find(path) or self._make(path)
            if len(self._known) > _OPEN_DIRECTORIES:
                self._known.popitem(last=False)[1].close()
        self._known.move_to_end(path)
        return known.fileno()

    def _find(self, path: bytes) -> Fd | None:
        """None when nothing is there. Raises EntryError when it is no directory, or behind a link."""
        try:
            return native.openat2(self._root.fileno(), os.fsdecode(path), _DIRECTORY, resolve=_BENEATH)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise EntryError("in its way is something that is no directory") from None
            raise

    def _make(self, path: bytes) -> Fd:
        parent, _, name = path.rpartition(b"/")
        try:
            os.mkdir(name, 0o755, dir_fd=self._open(parent))
        except FileExistsError:
            pass
        found = self._find(path)
        if found is None:
            raise EntryError("its directory vanished while it was made")
        return found

    def _directory(self, entry: Entry, directory: bytes, name: bytes) -> None:
        path = b"/".join(filter(None, (directory, name)))
        try:
            os.mkdir(name, 0o700, dir_fd=self._open(directory))
        except FileExistsError:
            with self._existing(path):
                return
        with self._existing(path) as made:
            self._put_on(made.fileno(), entry)
        if self._dress.preserve:
            self._made[path] = entry.mtime

    def _existing(self, path: bytes) -> Fd:
        found = self._find(path)
        if found is None:
            raise EntryError("it vanished while it was made")
        return found

    def _set_times(self) -> None:
        for path, mtime in self._made.items():
            try:
                directory = self._find(path)
            except EntryError:
                continue  # replaced since, by somebody else
            if directory is not None:
                with directory:
                    os.utime(directory.fileno(), ns=(mtime, mtime))

    # --- files and links

    def _file(self, entry: Entry, parent: int, name: bytes, content: Content) -> None:
        with self._fresh(parent, name) as file:
            try:
                _write(file.fileno(), entry, content)
                self._put_on(file.fileno(), entry)
            except BaseException:
                _unlink(parent, name)  # no half of a file
                raise

    def _fresh(self, parent: int, name: bytes) -> Fd:
        """A new, empty file; or the old one, emptied, when something is mounted there."""
        for _ in range(_TRIES):
            try:
                return Fd.open(os.fsdecode(name), _CREATE, 0o600, dir_fd=parent)
            except FileExistsError:
                pass
            if not _unlink(parent, name):
                return _emptied(parent, name)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    def _replace(self, directory: bytes, name: bytes, make: Callable[[int], None]) -> None:
        """``make`` it, with what has its name out of the way. Raises OSError."""
        parent = self._open(directory)
        for _ in range(_TRIES):
            try:
                make(parent)
                return
            except FileExistsError:
                if not _unlink(parent, name):
                    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY)) from None
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    def _hard_link(self, entry: Entry, directory: bytes, name: bytes) -> None:
        """To what lies in the target; to a symbolic link itself if it is one."""
        target = _split(entry.target)
        if not target or target == _split(entry.path):
            raise EntryError("it is a hard link to a directory, or to itself")
        with self._existing(b"/".join(target[:-1])) if target[:-1] else _again(self._root) as source:

            def link(parent: int) -> None:
                os.link(target[-1], name, src_dir_fd=source.fileno(), dst_dir_fd=parent, follow_symlinks=False)

            self._replace(directory, name, link)

    def _dress_link(self, entry: Entry, parent: int, name: bytes) -> None:
        owner = self._dress.owner_of(entry)
        if owner is not None:
            os.chown(name, *owner, dir_fd=parent, follow_symlinks=False)
        if self._dress.preserve:
            os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=parent, follow_symlinks=False)

    def _put_on(self, fd: int, entry: Entry) -> None:
        """Owner first: chown(2) takes set-user-ID bits away."""
        owner = self._dress.owner_of(entry)
        if owner is not None:
            os.fchown(fd, *owner)
        os.fchmod(fd, self._dress.mode_of(entry))
        if self._dress.preserve:
            os.utime(fd, ns=(entry.mtime, entry.mtime))


def _split(path: bytes) -> list[bytes]:
    return split_path(path, depth=DEFAULT_LIMITS.depth + 1, name=DEFAULT_LIMITS.name)


def _again(directory: Fd) -> Fd:
    return Fd(os.dup(directory.fileno()))


def _unlink(parent: int, name: bytes) -> bool:
    """Whether the name is free now: a mount cannot be unlinked. Raises OSError, also for a directory."""
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno == errno.EBUSY:
            return False
        raise
    return True


def _emptied(parent: int, name: bytes) -> Fd:
    file = Fd.open(os.fsdecode(name), _IN_PLACE, dir_fd=parent)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        raise EntryError("something that is no file is mounted in its place")
    os.ftruncate(file.fileno(), 0)
    return file


def _write(fd: int, entry: Entry, content: Content) -> None:
    """What lies between the regions of a sparse file stays a hole."""
    if entry.regions is None:
        for piece in content:
            while piece:
                piece = piece[os.write(fd, piece) :]
        return
    regions = iter(entry.regions)
    offset = room = 0
    for piece in content:
        while piece:
            while not room:
                offset, room = next(regions)
            written = os.pwrite(fd, piece[:room], offset)
            piece, offset, room = piece[written:], offset + written, room - written
    os.ftruncate(fd, entry.size)
