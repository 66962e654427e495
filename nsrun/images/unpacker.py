"""Unpacks a layer in a child process (``nsrun-unpack``, ``native/unpack.c``) that can reach nothing but its directory.

What comes out of a registry is read, and files are made of it, by code that has no other file, no network, no other
process and few system calls within reach. This process only writes the archive into a pipe, and turns the report that
comes back into a sentence. The child ends with its input, and so with this process.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from nsrun.errors import describe_errno
from nsrun.host.userns import UserNamespace
from nsrun.images.limits import Limits
from nsrun.images.wording import printable
from nsrun.support import native, unpacking
from nsrun.support.fds import Fd
from nsrun.support.unpacking import Report, abi

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

__all__ = ["PROGRAM", "MalformedArchive", "UnpackError", "Unpacked", "Unpacker", "unpack_error"]

PROGRAM: Final = Path(__file__).resolve().parent.parent / "_bin" / "nsrun-unpack"

_PIPE_SIZE = 1 << 20
_WALL = 0x40000000  # __WALL: waitid(2)
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

# What ``number`` and ``text`` of a report are put into.
_SENTENCES: Mapping[int, str] = MappingProxyType(
    {
        abi.NS_UNPACK_SETTINGS: "internal error: the unpacker was not told its limits",
        abi.NS_UNPACK_CUT: "the archive is cut off",
        abi.NS_UNPACK_ENTRIES: "it has more than {number} entries",
        abi.NS_UNPACK_ZEROS: "a block of zeros lies between its entries",
        abi.NS_UNPACK_CHECKSUM: "a header's checksum is wrong: it is no tar archive, or damaged",
        abi.NS_UNPACK_HEADER: "an extended header is larger than {number} bytes",
        abi.NS_UNPACK_MIDDLE: "the archive ends in the middle of an entry",
        abi.NS_UNPACK_KIND: "an entry is of the unknown type {flag!r}",
        abi.NS_UNPACK_NUL: "a name has a NUL in it",
        abi.NS_UNPACK_PATH: "a path is longer than {number} bytes",
        abi.NS_UNPACK_NUMBER: "a header's number is malformed",
        abi.NS_UNPACK_RANGE: "a header's number is out of range",
        abi.NS_UNPACK_TIME: "a PAX record's time is malformed",
        abi.NS_UNPACK_TIME_RANGE: "a time is out of range",
        abi.NS_UNPACK_PAX_RECORD: "a PAX record is malformed",
        abi.NS_UNPACK_PAX_NUMBER: "a PAX record's number is malformed",
        abi.NS_UNPACK_GLOBAL: 'a global header sets "{text}", which is not supported',
        abi.NS_UNPACK_SPARSE_ORDER: "the map of a sparse file is out of order",
        abi.NS_UNPACK_SPARSE_LONG: "the map of a sparse file is too long",
        abi.NS_UNPACK_SPARSE_DAMAGED: "the map of a sparse file is damaged",
        abi.NS_UNPACK_SPARSE_FIT: "the map of a sparse file does not fit the file",
        abi.NS_UNPACK_SPARSE_FORMAT: "a sparse file is of an unknown format",
        abi.NS_UNPACK_SPARSE_CUT: "the map of a sparse file is cut off",
        abi.NS_UNPACK_DOT_DOT: 'its path has ".." in it',
        abi.NS_UNPACK_DEPTH: "its path is deeper than {number} directories",
        abi.NS_UNPACK_NAME: "a name in its path is longer than {number} bytes",
        abi.NS_UNPACK_WHITEOUT_DIRECTORY: 'a directory in its path begins with ".wh."',
        abi.NS_UNPACK_OWNER: "its owner is out of range",
        abi.NS_UNPACK_ROOT: "it would replace the root directory",
        abi.NS_UNPACK_WHITEOUT_NAME: "a whiteout must name something",
        abi.NS_UNPACK_SIZE: "the files of the layer are larger than {number} bytes",
        abi.NS_UNPACK_EMPTY_LINK: "it is a link to nothing",
        abi.NS_UNPACK_LINK_ROOT: "it is a hard link to the root directory",
        abi.NS_UNPACK_LINK_SELF: "it is a hard link to itself",
        abi.NS_UNPACK_LINK_DIRECTORY: "it is a hard link to a directory",
        abi.NS_UNPACK_LINK_MISSING: 'it is a hard link to "{text}", which this layer does not have',
        abi.NS_UNPACK_PARENT_FILE: "its directory is not a directory in this layer",
        abi.NS_UNPACK_PARENT_LINK: "its directory is a link to nothing in this layer",
    }
)

# What would cost room, or is our own fault, whichever archive it is.
_LIMITS = frozenset({abi.NS_UNPACK_SETTINGS, abi.NS_UNPACK_ENTRIES, abi.NS_UNPACK_SIZE})


class UnpackError(Exception):
    """The archive cannot be unpacked: it is malformed, larger than the limits allow, or the disk refuses.

    ``cause``: half a sentence; ``entry``: the path of the entry that it is about, as archived; ``hint``: the remedy."""

    def __init__(self, cause: str, *, entry: bytes | None = None, hint: str | None = None) -> None:
        super().__init__(cause)
        self.cause = cause
        self.entry = entry
        self.hint = hint

    def __str__(self) -> str:
        """``entry "x": cause``, safe for a terminal."""
        if self.entry is None:
            return self.cause
        return f'entry "{_text(self.entry)}": {self.cause}'


class MalformedArchive(UnpackError):
    """The archive is malformed, hostile or cut off, or it is another one than was meant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """What came out. ``size``: of all files, in bytes."""

    entries: int
    size: int


class Unpacker:
    """A child that can reach nothing but the directory of a layer, and makes there what an uncompressed tar says.

    Used by one thread at a time, whichever. ``_input`` is closed once the archive has ended, ``_child`` once it is
    reaped; ``_end``: how it ended.
    """

    def __init__(
        self,
        root: int,
        *,
        limits: Limits,
        xattr_prefix: str,
        users: UserNamespace | None = None,
        program: Path = PROGRAM,
    ) -> None:
        """``root``: the open, empty, private directory; it stays the caller's. ``users``: whose ids there are, None for
        all; where there is nobody but root, it owns everything, and who should is recorded. Raises OSError: the kernel
        refuses the namespaces."""
        self._end = "without a word"
        with ExitStack() as made:
            tree = made.enter_context(_private_mount(root))
            theirs, self._input = _pipe(made)
            self._report, told = _pipe(made)
            with suppress(PermissionError):  # a user may have so much of pipes, and no more
                fcntl.fcntl(theirs.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
            os.write(self._input.fileno(), _settings(limits, xattr_prefix, users))
            self._child = unpacking.spawn_unpack(
                str(program), input_fd=theirs.fileno(), report_fd=told.fileno(), tree=tree.fileno()
            )
            made.pop_all()
            for fd in (tree, theirs, told):
                fd.close()

    def write(self, data: Buffer) -> None:
        """The archive's next bytes. Blocks, without the interpreter's lock. Raises UnpackError."""
        rest = memoryview(data).cast("B")
        try:
            while rest:
                rest = rest[os.write(self._input.fileno(), rest) :]
        except BrokenPipeError:
            raise self._error(self._outcome()) from None

    def finish(self) -> Unpacked:
        """To be called once, at the archive's end: waits until all of it is there. Raises UnpackError."""
        self._input.close()
        report = self._outcome()
        if report is None or report.cause != abi.NS_UNPACK_DONE:
            raise self._error(report)
        return Unpacked(entries=report.entries, size=report.size)

    def close(self) -> None:
        """Kills and reaps the child if it has not ended; closing twice is harmless."""
        self._input.close()
        if self._child.number >= 0:
            signal.pidfd_send_signal(self._child.fileno(), signal.SIGKILL)
            self._reap()
        self._report.close()

    def _error(self, report: Report | None) -> UnpackError:
        if report is not None:
            return unpack_error(report)
        return UnpackError(f"internal error: the unpacker ended {self._end}")

    def _outcome(self) -> Report | None:
        """What the child said at its end; None when it said nothing."""
        said = b""
        while len(said) <= unpacking.REPORT_SIZE and (more := os.read(self._report.fileno(), unpacking.REPORT_SIZE)):
            said += more
        self._reap()
        return unpacking.read_report(said)

    def _reap(self) -> None:
        with self._child:
            result = os.waitid(os.P_PIDFD, self._child.fileno(), os.WEXITED | _WALL)
        if result is not None and result.si_code != os.CLD_EXITED:
            self._end = f"by {signal.Signals(result.si_status).name}"


def unpack_error(report: Report) -> UnpackError:
    """The sentence of a report."""
    if report.cause == abi.NS_UNPACK_ERRNO:
        hint = "free some space below --root" if report.error in _FULL else None
        return UnpackError(describe_errno(report.error), entry=report.path, hint=hint)
    if report.cause == abi.NS_UNPACK_CONFINE:
        cause = f"the unpacker cannot lock itself in (step {report.number}): {describe_errno(report.error)}"
        return UnpackError(cause, hint="nsrun doctor tells what this machine withholds")
    if report.cause == abi.NS_UNPACK_UNMAPPED:
        cause = f"it belongs to id {report.number}, which whoever runs nsrun has not got"
        hint = f"/etc/subuid and /etc/subgid must give them {report.number} ids or more, then nsrun down"
        return UnpackError(cause, entry=report.path, hint=hint)
    sentence = _SENTENCES.get(report.cause)
    if sentence is None:
        return UnpackError("internal error: the unpacker reports what nobody knows", entry=report.path)
    kind = UnpackError if report.cause in _LIMITS else MalformedArchive
    flag = bytes([report.number & 0xFF])
    return kind(sentence.format(number=report.number, text=_text(report.text), flag=flag), entry=report.path)


def _text(raw: bytes) -> str:
    return printable(raw.decode("utf-8", "backslashreplace"))


def _settings(limits: Limits, xattr_prefix: str, users: UserNamespace | None) -> bytes:
    everybody = 1 << 32
    return unpacking.pack_settings(
        path=limits.path,
        name=limits.name,
        depth=limits.depth,
        header=limits.header,
        regions=limits.sparse_pieces,
        entries=limits.entries,
        size=limits.size,
        opaque=f"{xattr_prefix}opaque".encode(),
        uids=everybody if users is None else users.uids,
        gids=everybody if users is None else users.gids,
        squash=users is not None and users.is_single,
    )


def _private_mount(root: int) -> Fd:
    """The directory as a detached mount: nothing in it is executed or opened as a device, whatever is made there."""
    tree = native.open_tree(root, "", native.OPEN_TREE_CLONE | native.AT_EMPTY_PATH)
    try:
        attributes = native.MOUNT_ATTR_NOSUID | native.MOUNT_ATTR_NODEV | native.MOUNT_ATTR_NOEXEC
        native.mount_setattr(tree.fileno(), "", native.AT_EMPTY_PATH, set=attributes, propagation=native.MS_PRIVATE)
    except BaseException:
        tree.close()
        raise
    return tree


def _pipe(made: ExitStack) -> tuple[Fd, Fd]:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    return made.enter_context(Fd(reader)), made.enter_context(Fd(writer))
