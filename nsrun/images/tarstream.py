"""Reads a tar stream entry by entry: ustar, GNU and PAX (POSIX.1-2017 pax, "Interchange Format"; GNU tar manual, D).

For what is copied in and out of containers, and archives of images; layers are read by ``nsrun-unpack``
(``native/unpack_tar.c``). A reader of ours and not ``tarfile``: bytes stay bytes, the archive is read once and forward,
and every number, length and record is checked before it is used. It reads; it touches no file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from nsrun.images import sparse
from nsrun.images.limits import Limits

__all__ = ["ByteStream", "Entry", "Kind", "TarError", "TarReader"]

BLOCK = 512
ZEROS = bytes(BLOCK)
_HEADER = struct.Struct("100s8s8s8s12s12s8s1s100s8s32s32s8s8s155s12x")
_POSIX_MAGIC = b"ustar\x0000"
_MAX_NUMBER = (1 << 63) - 1
# Nanoseconds. Far beyond what any file system keeps, well within what utimensat(2) takes.
_MAX_TIME = (1 << 40) * 1_000_000_000
_SPARSE_ITEMS = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
# A global header speaks for every entry after it. Git's comment is harmless; what changes what an entry is, is refused.
_GLOBAL_REFUSED = (b"path", b"linkpath", b"size", b"uid", b"gid", b"hdrcharset", b"GNU.sparse.", b"SCHILY.xattr.")


class TarError(ValueError):
    """The archive is malformed, cut off, beyond the limits, or uses what is not supported."""


class Kind(Enum):
    """What an entry makes."""

    FILE = "file"
    HARD_LINK = "hard link"
    SYMLINK = "symbolic link"
    CHARACTER = "character device"
    BLOCK = "block device"
    DIRECTORY = "directory"
    FIFO = "fifo"


# b"S" is GNU's sparse file; "7" is a contiguous file, which is a file. A v7 file whose name ends in "/" is a directory.
_KINDS: Mapping[bytes, Kind] = {
    b"0": Kind.FILE,
    b"\0": Kind.FILE,
    b"7": Kind.FILE,
    b"S": Kind.FILE,
    b"1": Kind.HARD_LINK,
    b"2": Kind.SYMLINK,
    b"3": Kind.CHARACTER,
    b"4": Kind.BLOCK,
    b"5": Kind.DIRECTORY,
    b"6": Kind.FIFO,
}
_DEVICES = frozenset({Kind.CHARACTER, Kind.BLOCK})


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry. ``size``: of the file as it will appear; ``stored``: bytes of data in the archive. ``mtime`` in ns.

    ``regions`` is None, or where the data of a sparse file goes. Paths are as archived: nothing about them is checked
    but their length and that there is no NUL in them.
    """

    kind: Kind
    path: bytes
    target: bytes
    mode: int
    uid: int
    gid: int
    size: int
    stored: int
    mtime: int
    device: tuple[int, int] = (0, 0)
    regions: sparse.SparseMap | None = None


class ByteStream:
    """Chunks of bytes, read by the count. Nothing is copied that lies in one chunk, but for ``exactly``."""

    __slots__ = ("_at", "_chunks", "_view")

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._view = memoryview(b"")
        self._at = 0

    def pieces(self, count: int) -> Iterator[memoryview]:
        """The next ``count`` bytes. Raises TarError when there are fewer."""
        while count > 0:
            if self._at == len(self._view) and not self._next_chunk():
                raise TarError("the archive is cut off")
            piece = self._view[self._at : self._at + count]
            self._at += len(piece)
            count -= len(piece)
            yield piece

    def exactly(self, count: int) -> bytes:
        """The next ``count`` bytes in one. Raises TarError."""
        end = self._at + count
        if end <= len(self._view):
            data = bytes(self._view[self._at : end])
            self._at = end
            return data
        return b"".join(self.pieces(count))

    def skip(self, count: int) -> None:
        """Raises TarError."""
        if self._at + count <= len(self._view):
            self._at += count
            return
        for _ in self.pieces(count):
            pass

    def at_end(self) -> bool:
        return self._at == len(self._view) and not self._next_chunk()

    def drain(self) -> None:
        """Reads the rest, whatever it is: a digest covers it."""
        while not self.at_end():
            self._at = len(self._view)

    def _next_chunk(self) -> bool:
        for chunk in self._chunks:
            if chunk:
                self._view, self._at = memoryview(chunk), 0
                return True
        return False


class TarReader:
    """Iterate for the entries; ``data`` gives the current one's content, which is skipped if nobody asks.

    ``_left``: bytes of the current entry's data that were not read; ``_padding`` follows them.
    """

    def __init__(self, stream: ByteStream, *, limits: Limits) -> None:
        self._stream = stream
        self._limits = limits
        self._left = 0
        self._padding = 0
        self._headers = 0

    def __iter__(self) -> Iterator[Entry]:
        """Raises TarError."""
        records: dict[bytes, bytes] = {}
        longs: dict[bytes, bytes] = {}
        while (header := self._header()) is not None:
            kind = header[156:157]
            if kind in b"LKxg":
                content = self._meta(header)
                if kind == b"x":
                    records = self._pax(content)
                elif kind == b"g":
                    _check_global(self._pax(content))
                else:
                    longs[kind] = content.partition(b"\0")[0]
                continue
            yield self._entry(header, records, longs)
            records, longs = {}, {}
        if records or longs:
            raise TarError("the archive ends in the middle of an entry")

    def data(self) -> Iterator[memoryview]:
        """The stored bytes of the current entry, from where they were left. Raises TarError."""
        while self._left > 0:
            for piece in self._stream.pieces(min(self._left, BLOCK * 2048)):
                self._left -= len(piece)
                yield piece

    def _header(self) -> bytes | None:
        """The next header, None at the end: two blocks of zeros, or nothing at all."""
        self._stream.skip(self._left + self._padding)
        self._left = self._padding = 0
        if self._stream.at_end():
            return None
        block = self._stream.exactly(BLOCK)
        if block == ZEROS:
            if not self._stream.at_end() and self._stream.exactly(BLOCK) != ZEROS:
                raise TarError("a block of zeros lies between its entries")
            return None
        self._headers += 1
        if self._headers > self._limits.entries:
            raise TarError(f"it has more than {self._limits.entries} entries")
        _check_sum(block)
        return block

    def _meta(self, header: bytes) -> bytes:
        """What a header that belongs to the next one holds."""
        size = _number(header[124:136])
        if size > self._limits.header:
            raise TarError(f"an extended header is larger than {self._limits.header} bytes")
        content = self._stream.exactly(size)
        self._stream.skip(-size % BLOCK)
        return content

    def _pax(self, content: bytes) -> dict[bytes, bytes]:
        return dict(_merge_sparse(_pax_records(content)))

    def _entry(self, header: bytes, records: Mapping[bytes, bytes], longs: Mapping[bytes, bytes]) -> Entry:
        """PAX records override the header; GNU's long names are nearer than both (as in Go's archive/tar)."""
        name, mode, uid, gid, size, mtime, _, flag, target, magic, _, _, major, minor, prefix = _HEADER.unpack(header)
        path = longs.get(b"L") or records.get(b"GNU.sparse.name") or records.get(b"path") or _join(magic, prefix, name)
        target = longs.get(b"K") or records.get(b"linkpath") or _text(target)
        kind = self._kind(flag, path)
        self._check_names(path, target)
        size = _field(records, b"size", size) if kind is Kind.FILE else 0
        self._left, self._padding = size, -size % BLOCK
        regions, size = self._sparse(header, flag, records, size) if kind is Kind.FILE else (None, 0)
        return Entry(
            kind=kind,
            path=path,
            target=target,
            mode=_number(mode) & 0o7777,
            uid=_field(records, b"uid", uid),
            gid=_field(records, b"gid", gid),
            size=size,
            stored=self._left,
            mtime=_mtime(records, mtime),
            device=(_number(major), _number(minor)) if kind in _DEVICES else (0, 0),
            regions=regions,
        )

    def _kind(self, flag: bytes, path: bytes) -> Kind:
        """Only files have data, whatever the size in another header says: so does Go's archive/tar, by which layers are
        made and read, and directories with a size exist."""
        if flag not in _KINDS:
            raise TarError(f"an entry is of the unknown type {flag!r}")
        return Kind.DIRECTORY if flag == b"\0" and path.endswith(b"/") else _KINDS[flag]

    def _check_names(self, *texts: bytes) -> None:
        for text in texts:
            if b"\0" in text:
                raise TarError("a name has a NUL in it")
            if len(text) > self._limits.path:
                raise TarError(f"a path is longer than {self._limits.path} bytes")

    def _sparse(
        self, header: bytes, flag: bytes, records: Mapping[bytes, bytes], size: int
    ) -> tuple[sparse.SparseMap | None, int]:
        """The map and the full size of a file that may be sparse. Reads the map that lies before the data."""
        version = sparse.pax_version(records) if records else None
        if flag != b"S" and version is None:
            return None, size
        try:
            if flag == b"S":
                regions, size = self._old_sparse(header), _number(header[483:495])
            elif version == (0, 1):
                regions, size = (
                    sparse.list_map(records[b"GNU.sparse.map"]),
                    _decimal(records.get(b"GNU.sparse.size", b"")),
                )
            elif version == (1, 0):
                regions = sparse.text_map(self._data_block, self._limits.sparse_pieces)
                size = _decimal(records.get(b"GNU.sparse.realsize", b""))
            else:
                raise TarError("a sparse file is of an unknown format")
            sparse.check_map(regions, stored=self._left, size=size, limit=self._limits.sparse_pieces)
        except TarError:
            raise
        except ValueError as error:
            raise TarError(str(error)) from None
        return regions, size

    def _old_sparse(self, header: bytes) -> sparse.SparseMap:
        regions = sparse.old_map(header, 386, sparse.OLD_SLOTS_IN_HEADER, _number)
        more = header[482]
        while more:
            block = self._stream.exactly(BLOCK)
            regions += sparse.old_map(block, 0, sparse.OLD_SLOTS_IN_BLOCK, _number)
            if len(regions) > self._limits.sparse_pieces:
                raise TarError("the map of a sparse file is too long")
            more = block[504]
        return tuple(regions)

    def _data_block(self) -> bytes:
        if self._left < BLOCK:
            raise TarError("the map of a sparse file is cut off")
        self._left -= BLOCK
        return self._stream.exactly(BLOCK)


def _check_sum(block: bytes) -> None:
    """Old tars summed signed characters; both sums are good."""
    stored = _number(block[148:156])
    unsigned = sum(block) - sum(block[148:156]) + 8 * 32
    if stored == unsigned:
        return
    high = sum(1 for index, byte in enumerate(block) if byte > 127 and not 148 <= index < 156)
    if stored != unsigned - 256 * high:
        raise TarError("a header's checksum is wrong: it is no tar archive, or damaged")


def _text(raw: bytes) -> bytes:
    return raw.partition(b"\0")[0]


def _number(raw: bytes, *, signed: bool = False) -> int:
    """A number of a header: octal, or base-256 when its first bit is set. Negative ones are for times only."""
    if raw[0] & 0x80:
        value = int.from_bytes(raw, "big", signed=False) & ((1 << (8 * len(raw) - 1)) - 1)
        if raw[0] & 0x40:
            value -= 1 << (8 * len(raw) - 1)
    else:
        digits = raw.strip(b"\0 ").partition(b"\0")[0]
        if digits and not digits.isdigit():
            raise TarError("a header's number is malformed")
        try:
            value = int(digits or b"0", 8)
        except ValueError:
            raise TarError("a header's number is malformed") from None
    if value > _MAX_NUMBER or value < (-_MAX_NUMBER if signed else 0):
        raise TarError("a header's number is out of range")
    return value


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19 or int(text) > _MAX_NUMBER:
        raise TarError("a PAX record's number is malformed")
    return int(text)


def _time(text: bytes) -> int:
    """``-1.5`` → nanoseconds, exactly; digits beyond are dropped."""
    whole, _, fraction = text.removeprefix(b"-").partition(b".")
    if fraction and not fraction.isdigit():
        raise TarError("a PAX record's time is malformed")
    value = _decimal(whole) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0"))
    return -value if text.startswith(b"-") else value


def _pax_records(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """``27 path=…\\n`` and so on: the length counts itself, the blank and the newline."""
    at = 0
    while at < len(content):
        length, blank, _ = content[at : at + 8].partition(b" ")
        if not blank or not length.isdigit():
            raise TarError("a PAX record is malformed")
        end = at + int(length)
        start = at + len(length) + 1
        if end > len(content) or end <= start or content[end - 1] != 0x0A:
            raise TarError("a PAX record is malformed")
        key, equals, value = content[start : end - 1].partition(b"=")
        if not key or not equals:
            raise TarError("a PAX record is malformed")
        yield key, value
        at = end


def _merge_sparse(records: Iterator[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """Format 0.0 repeats two keys, once for each region; together they are format 0.1's list."""
    items: list[bytes] = []
    for key, value in records:
        if key in _SPARSE_ITEMS:
            if key != _SPARSE_ITEMS[len(items) % 2]:
                raise TarError("the map of a sparse file is out of order")
            items.append(value)
        else:
            yield key, value
    if items:
        yield b"GNU.sparse.map", b",".join(items)


def _check_global(records: Mapping[bytes, bytes]) -> None:
    for key in records:
        if key.startswith(_GLOBAL_REFUSED):
            raise TarError(f'a global header sets "{key.decode("ascii", "backslashreplace")}", which is not supported')


def _join(magic: bytes, prefix: bytes, name: bytes) -> bytes:
    return _text(prefix) + b"/" + _text(name) if magic == _POSIX_MAGIC and prefix[0] else _text(name)


def _field(records: Mapping[bytes, bytes], key: bytes, raw: bytes) -> int:
    """An empty PAX value takes the record back."""
    return _decimal(text) if records and (text := records.get(key)) else _number(raw)


def _mtime(records: Mapping[bytes, bytes], raw: bytes) -> int:
    text = records.get(b"mtime") if records else None
    value = _time(text) if text else _number(raw, signed=True) * 1_000_000_000
    if abs(value) > _MAX_TIME:
        raise TarError("a time is out of range")
    return value
