"""Makes a layer's files in the form that overlayfs stacks: whiteouts are devices 0:0, opaque directories have an xattr.

What a layer may not bring, and why:

* **Privilege.** Of device nodes, the harmless ones that every /dev has are made as they are; any other becomes a
  whiteout, so that nothing is there: a disk's node in an image must not be a way to the disk. Of extended attributes,
  ``user.*`` and ``security.capability`` are kept; ``trusted.*``, security labels and ACLs are the host's to give.
* **Words to overlayfs.** ``user.overlay.*`` is dropped with ``trusted.*``: a redirect would merge other directories in.

The directory is private (nobody else can reach it while it is filled), every name is used by descriptor, and nothing is
ever followed at the last component.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from nsrun.images.limits import Limits
from nsrun.images.parents import EntryError, Parents, is_whiteout, split_path
from nsrun.images.tarstream import Entry, Kind
from nsrun.images.whiteout import PREFIX, NameKind, read_name
from nsrun.support.fds import Fd
from nsrun.support.removal import remove_tree

__all__ = ["LayerDirectory"]

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_ID = 0xFFFFFFFE  # (uid_t)-1 means "leave it" to chown(2)
# null, zero, full, random, urandom, tty, console, ptmx; and 0:0, a whiteout, which says no more than a .wh. file does.
_HARMLESS = frozenset({(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (0, 0)})

Content = Iterator[memoryview]


class LayerDirectory:
    """The directory of one layer, being filled.

    ``_times``: the time of each directory that the archive lists, set last, as filling a directory changes it.
    ``size``: of all files so far, in bytes.
    """

    def __init__(self, root: int, *, limits: Limits, xattr_prefix: str) -> None:
        """``root``: the open, empty directory; it stays the caller's."""
        self._parents = Parents(root, opaque=f"{xattr_prefix}opaque")
        self._limits = limits
        self._times: dict[bytes, int] = {b"": 0}
        self.size = 0
        self._makers: dict[Kind, Callable[[Entry, bytes, int, bytes, Content], None]] = {
            Kind.FILE: self._file,
            Kind.HARD_LINK: self._hard_link,
            Kind.SYMLINK: self._symlink,
            Kind.DIRECTORY: self._directory,
            Kind.CHARACTER: self._node,
            Kind.BLOCK: self._node,
            Kind.FIFO: self._node,
        }
        os.fchmod(root, 0o755)

    def add(self, entry: Entry, content: Content) -> None:
        """Makes what the entry says; a later entry of the same name replaces an earlier one, directories merge.

        Raises EntryError, OSError.
        """
        parts = self._split(entry.path)
        if not (entry.uid <= _MAX_ID and entry.gid <= _MAX_ID):
            raise EntryError("its owner is out of range")
        if not parts:
            self._root(entry)
            return
        name = read_name(parts.pop())
        directory = b"/".join(parts)
        match name.kind:
            case NameKind.PLAIN:
                self._make(entry, directory, name.name, content)
            case NameKind.HIDE:
                self._hide(directory, name.name)
            case NameKind.OPAQUE:
                self._parents.make_opaque(self._parents.open(directory))
            case NameKind.IGNORE:
                pass

    def finish(self) -> None:
        """Sets the times of the directories, those that nobody listed to 1970, and closes what is open."""
        times = dict.fromkeys(self._parents.implied, 0) | self._times
        for path, mtime in times.items():
            directory, _, name = path.rpartition(b"/")
            try:
                fd = os.open(name or b".", _DIRECTORY, dir_fd=self._parents.find(directory))
            except (FileNotFoundError, NotADirectoryError):
                continue  # replaced since
            with Fd(fd):
                os.utime(fd, ns=(mtime, mtime))
        self._parents.forget()

    def close(self) -> None:
        self._parents.forget()

    def _split(self, path: bytes) -> list[bytes]:
        parts = split_path(path, depth=self._limits.depth, name=self._limits.name)
        if PREFIX in path and any(part.startswith(PREFIX) for part in parts[:-1]):
            raise EntryError('a directory in its path begins with ".wh."')
        return parts

    def _make(self, entry: Entry, directory: bytes, name: bytes, content: Content) -> None:
        maker = self._makers[entry.kind]
        try:
            maker(entry, directory, self._parents.open(directory), name, content)
        except FileExistsError:
            self._clear_the_way(self._parents.open(directory), name)
            maker(entry, directory, self._parents.open(directory), name, content)

    def _clear_the_way(self, parent: int, name: bytes) -> None:
        mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            remove_tree(Path(f"/proc/self/fd/{parent}") / os.fsdecode(name))
        else:
            os.unlink(name, dir_fd=parent)
        if stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
            self._parents.forget()

    def _file(self, entry: Entry, directory: bytes, parent: int, name: bytes, content: Content) -> None:
        fd = os.open(name, _CREATE, 0o600, dir_fd=parent)
        with Fd(fd):
            self._count(entry.size)
            if entry.regions is None:
                for piece in content:
                    _write(fd, piece)
            else:
                _write_sparse(fd, entry, content)
            _dress(fd, entry)

    def _count(self, size: int) -> None:
        self.size += size
        if self.size > self._limits.size:
            raise EntryError(f"the files of the layer are larger than {self._limits.size} bytes")

    def _directory(self, entry: Entry, directory: bytes, parent: int, name: bytes, content: Content) -> None:
        hidden = False
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            hidden = is_whiteout(status)
            if not (hidden or stat.S_ISDIR(status.st_mode)):
                raise
            if hidden:  # what is below was hidden first, so it stays hidden behind the directory
                os.unlink(name, dir_fd=parent)
                os.mkdir(name, 0o700, dir_fd=parent)
        fd = os.open(name, _DIRECTORY, dir_fd=parent)
        with Fd(fd):
            _dress(fd, entry)
            if hidden:
                self._parents.make_opaque(fd)
        self._times[b"/".join((directory, name)) if directory else name] = entry.mtime

    def _root(self, entry: Entry) -> None:
        if entry.kind is not Kind.DIRECTORY:
            raise EntryError("it would replace the root directory")
        _dress(self._parents.root, entry)
        self._times[b""] = entry.mtime

    def _symlink(self, entry: Entry, directory: bytes, parent: int, name: bytes, content: Content) -> None:
        if not entry.target:
            raise EntryError("it is a link to nothing")
        os.symlink(entry.target, name, dir_fd=parent)
        _dress_by_name(parent, name, entry)

    def _hard_link(self, entry: Entry, directory: bytes, parent: int, name: bytes, content: Content) -> None:
        """Links to what this layer has, and to a symbolic link itself if it is one (POSIX pax; linkat without
        AT_SYMLINK_FOLLOW)."""
        target = self._split(entry.target)
        if not target:
            raise EntryError("it is a hard link to the root directory")
        if target == [*filter(None, directory.split(b"/")), name]:
            raise EntryError("it is a hard link to itself")
        shown = entry.target.decode("utf-8", "backslashreplace")
        try:
            source = self._parents.find(b"/".join(target[:-1]))
            status = os.stat(target[-1], dir_fd=source, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                raise EntryError("it is a hard link to a directory")
            if is_whiteout(status):
                raise FileNotFoundError
            os.link(target[-1], name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            raise EntryError(f'it is a hard link to "{shown}", which this layer does not have') from None

    def _node(self, entry: Entry, directory: bytes, parent: int, name: bytes, content: Content) -> None:
        kind = {Kind.CHARACTER: stat.S_IFCHR, Kind.BLOCK: stat.S_IFBLK, Kind.FIFO: stat.S_IFIFO}[entry.kind]
        if entry.kind is not Kind.FIFO and (entry.kind is Kind.BLOCK or entry.device not in _HARMLESS):
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=parent)
            return
        os.mknod(name, kind | 0o600, os.makedev(*entry.device), dir_fd=parent)
        if not (entry.kind is Kind.CHARACTER and entry.device == (0, 0)):
            _dress_by_name(parent, name, entry)

    def _hide(self, directory: bytes, name: bytes) -> None:
        """A whiteout speaks of the layers below only: what this layer has by that name stays, but alone."""
        parent = self._parents.open(directory)
        try:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=parent)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                return
            with Fd(os.open(name, _DIRECTORY, dir_fd=parent)) as existing:
                self._parents.make_opaque(existing.fileno())


def _write(fd: int, piece: memoryview) -> None:
    while piece:
        piece = piece[os.write(fd, piece) :]


def _write_sparse(fd: int, entry: Entry, content: Content) -> None:
    """Spreads the stored bytes over the regions; what lies between stays a hole."""
    regions = iter(entry.regions or ())
    offset = room = 0
    for piece in content:
        while piece:
            while not room:
                offset, room = next(regions)
            written = os.pwrite(fd, piece[:room], offset)
            piece, offset, room = piece[written:], offset + written, room - written
    os.ftruncate(fd, entry.size)


def _dress(fd: int, entry: Entry) -> None:
    """Owner first: chown(2) takes set-user-ID bits and file capabilities away."""
    os.fchown(fd, entry.uid, entry.gid)
    os.fchmod(fd, entry.mode)
    if entry.xattrs:
        _set_xattrs(fd, entry)
    os.utime(fd, ns=(entry.mtime, entry.mtime))


def _dress_by_name(parent: int, name: bytes, entry: Entry) -> None:
    """The same for what cannot be opened: links and nodes."""
    os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
    if entry.kind is not Kind.SYMLINK:
        os.chmod(name, entry.mode, dir_fd=parent)  # made by us just now, and no link
    os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=parent, follow_symlinks=False)


def _set_xattrs(fd: int, entry: Entry) -> None:
    for name, value in entry.xattrs.items():
        if not _is_kept(name):
            continue
        try:
            os.setxattr(fd, name, value)
        except OSError as error:
            # Many file systems have no user.*, and nothing depends on it. A lost capability would break the program.
            if not (error.errno == errno.EOPNOTSUPP and name.startswith("user.")):
                raise


def _is_kept(name: str) -> bool:
    return name == "security.capability" or (name.startswith("user.") and not name.startswith("user.overlay."))
