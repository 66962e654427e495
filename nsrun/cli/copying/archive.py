"""Writes entries as a tar archive: POSIX pax, as GNU tar, bsdtar and Python read it."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from nsrun.cli.copying.tree import Content
from nsrun.images.tarstream import Entry, Kind

__all__ = ["write_archive"]

_TYPES: Mapping[Kind, bytes] = {
    Kind.FILE: tarfile.REGTYPE,
    Kind.DIRECTORY: tarfile.DIRTYPE,
    Kind.SYMLINK: tarfile.SYMTYPE,
    Kind.HARD_LINK: tarfile.LNKTYPE,
}
_ZEROS = memoryview(bytes(1 << 16))


def write_archive(entries: Iterator[tuple[Entry, Content]], out: BinaryIO) -> None:
    """Entries of other types are none of an archive's. Holes are written as zeros, and so is what a file has lost since
    its size was told. Raises OSError."""
    for entry, content in entries:
        out.write(_header(entry))
        if entry.kind is Kind.FILE:
            written = 0
            for offset, piece in _placed(entry, content):
                _fill(out, offset - written)
                out.write(piece)
                written = offset + len(piece)
            _fill(out, entry.size - written)
            _fill(out, -entry.size % tarfile.BLOCKSIZE)
    _fill(out, 2 * tarfile.BLOCKSIZE)
    out.flush()


def _header(entry: Entry) -> bytes:
    info = tarfile.TarInfo(os.fsdecode(entry.path) or ".")
    info.type = _TYPES[entry.kind]
    info.linkname = os.fsdecode(entry.target)
    info.mode, info.uid, info.gid = entry.mode, entry.uid, entry.gid
    info.size = entry.size
    info.mtime = entry.mtime // 1_000_000_000
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _placed(entry: Entry, content: Content) -> Iterator[tuple[int, memoryview]]:
    """Each piece of the content with its offset in the file."""
    regions = iter(entry.regions if entry.regions is not None else ((0, entry.size),))
    offset = room = 0
    for piece in content:
        while piece:
            while not room:
                offset, room = next(regions)
            part = piece[:room]
            yield offset, part
            piece, offset, room = piece[len(part) :], offset + len(part), room - len(part)


def _fill(out: BinaryIO, count: int) -> None:
    while count > 0:
        count -= out.write(_ZEROS[:count])
