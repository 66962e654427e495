"""What is in a directory of manifests, and what is in its files. Nothing here waits for anybody: a FIFO, a device or a
file without end cannot hold the reader up."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from nsrun.errors import describe_errno
from nsrun.model.document import MAX_BYTES

__all__ = [
    "SUFFIXES",
    "Found",
    "Listing",
    "Signature",
    "Unreadable",
    "list_manifests",
    "read_manifest",
]

SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What changes when a file's content does."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A file that is a manifest by its name. ``signature`` None: it cannot be looked at (a link to nothing).

    ``linked``: it can appear under this name at once and whole, as a symbolic or a further hard link.
    """

    name: str
    path: str
    signature: Signature | None
    linked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A directory. ``skipped``: other paths, each with the reason and when it appeared (seconds since the epoch)."""

    files: tuple[Found, ...] = ()
    skipped: tuple[tuple[str, str, float], ...] = ()
    missing: bool = False


class Unreadable(Exception):
    """A file or directory cannot be read; the text says why. ``busy``: it was written to meanwhile."""

    def __init__(self, text: str, *, busy: bool = False) -> None:
        super().__init__(text)
        self.busy = busy


def list_manifests(path: str) -> Listing:
    """The manifests in a directory, by name; of a path that is a regular file: that file. Raises Unreadable."""
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            return _directory(path)
    except (FileNotFoundError, NotADirectoryError):
        return Listing(missing=True)
    except OSError as error:
        raise Unreadable(f"cannot read: {describe_errno(error.errno or 0)}") from None
    if not stat.S_ISREG(status.st_mode):
        raise Unreadable("must be a directory or a regular file")
    linked = os.path.islink(path) or status.st_nlink > 1
    return Listing(files=(Found(name=os.path.basename(path), path=path, signature=_signature(status), linked=linked),))


def _directory(path: str) -> Listing:
    files: list[Found] = []
    skipped: list[tuple[str, str, float]] = []
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            status = _status(entry)
            reason = _reason(entry.name, status)
            if reason is None:
                signature = None if status is None else _signature(status)
                linked = entry.is_symlink() or (status is not None and status.st_nlink > 1)
                files.append(Found(name=entry.name, path=entry.path, signature=signature, linked=linked))
            else:
                skipped.append((entry.path, reason, 0.0 if status is None else status.st_ctime))
    return Listing(files=tuple(files), skipped=tuple(skipped))


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat()
    except OSError:
        return None


def _reason(name: str, status: os.stat_result | None) -> str | None:
    """Why an entry is not a manifest."""
    if status is not None and stat.S_ISDIR(status.st_mode):
        return "skipped, it is a directory"
    if not name.endswith(SUFFIXES):
        return f"skipped, its name does not end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
    if status is not None and not stat.S_ISREG(status.st_mode):
        return "skipped, it is not a regular file"
    return None


def _signature(status: os.stat_result) -> Signature:
    return Signature(
        device=status.st_dev,
        inode=status.st_ino,
        size=status.st_size,
        modified_ns=status.st_mtime_ns,
        changed_ns=status.st_ctime_ns,
    )


def read_manifest(path: str) -> bytes:
    """The content of a regular file. Raises Unreadable."""
    try:
        # Not blocking, because between the listing and now the file may have become a FIFO.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            return _read(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise Unreadable(f"cannot read: {describe_errno(error.errno or 0)}") from None


def _read(fd: int) -> bytes:
    before = os.fstat(fd)
    if not stat.S_ISREG(before.st_mode):
        raise Unreadable("cannot read: it is not a regular file")
    data = b""
    while more := os.read(fd, MAX_BYTES + 1 - len(data)):
        data += more
    if _signature(os.fstat(fd)) != _signature(before):
        raise Unreadable("cannot read: it is being written", busy=True)
    return data
