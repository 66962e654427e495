"""A layer's blob, or an archive, as uncompressed chunks, never more than one in memory: gzip (isal), zstd (zstandard),
xz, bzip2, or plain."""

from __future__ import annotations

from bz2 import BZ2Decompressor
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from lzma import FORMAT_XZ, LZMADecompressor, LZMAError
from typing import Protocol

import zstandard
from isal.igzip_lib import DECOMP_GZIP, IgzipDecompressor, IsalError

from nsrun.images.limits import Limits

__all__ = ["CorruptBlob", "Readable", "decompressed", "is_layer_type"]

# Small enough to stay in the processor's cache while it is hashed and handed on.
CHUNK = 1 << 18
# Compressed bytes read at a time: little, as all that was read counts when the ratio is looked at; and less where gzip
# members follow one another, as what follows the end of one is copied each time.
READ = 1 << 17
SHORT = 1 << 14
# xz -9 needs 65 MiB.
_XZ_MEMORY = 128 << 20
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
# A zstd stream may begin with a skippable frame (RFC 8878, 3.1.2): 0x184D2A50 to 0x184D2A5F.
ZSTD_SKIPPABLE = frozenset(bytes((0x50 + n, 0x2A, 0x4D, 0x18)) for n in range(16))

_LAYER_TYPES = frozenset(
    {
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    }
)


class CorruptBlob(ValueError):
    """The blob is no layer that can be read: damaged, cut off, or a bomb."""


class Bomb(CorruptBlob):
    """More came out of it than the limits allow."""


def is_layer_type(media_type: str) -> bool:
    """Whether a descriptor of this media type is a layer that can be unpacked."""
    return media_type in _LAYER_TYPES


def decompressed(blob: Readable, *, limits: Limits) -> Iterator[bytes]:
    """The chunks of the blob, uncompressed, up to its very end.

    The first bytes decide how it is compressed: media types and content disagree in the wild, a tar cannot begin like
    gzip or zstd, and the diff_id has the last word anyway. Raises CorruptBlob, Bomb, and what ``blob.read`` raises.
    """
    source = _Source(blob)
    magic = source.peek(max(len(format.magic) for format in _FORMATS))
    format = next((format for format in _FORMATS if magic.startswith(format.magic)), None)
    if format is not None:
        chunks = _streams(source, format)
    elif magic[:4] == ZSTD_MAGIC or magic[:4] in ZSTD_SKIPPABLE:
        chunks = _zstd(source, limits)
    else:
        chunks = iter(lambda: source.read(CHUNK), b"")
    return _bounded(chunks, source, limits)


class Readable(Protocol):
    """Where a blob comes from."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most ``size``; empty at the end only."""
        ...


class _Source:
    """The blob, read from its start; counts what was read."""

    def __init__(self, blob: Readable) -> None:
        self._blob = blob
        self._ahead = b""
        self.consumed = 0

    def peek(self, count: int) -> bytes:
        """The next bytes, fewer than ``count`` at the end only; they are still to be read."""
        while len(self._ahead) < count and (piece := self._blob.read(READ)):
            self._ahead += piece
        return self._ahead[:count]

    def read(self, size: int = READ) -> bytes:
        data, self._ahead = self._ahead, b""
        data = data or self._blob.read(size if 0 <= size <= CHUNK else CHUNK)
        self.consumed += len(data)
        return data


def _bounded(chunks: Iterator[bytes], source: _Source, limits: Limits) -> Iterator[bytes]:
    produced = 0
    for chunk in chunks:
        produced += len(chunk)
        if produced > limits.size:
            raise Bomb(f"it is larger than {limits.size} bytes uncompressed")
        if produced > limits.ratio_from and produced > limits.ratio * source.consumed:
            raise Bomb(f"it grows more than {limits.ratio} times when uncompressed, like a decompression bomb")
        yield chunk


class _Decompressor(Protocol):
    """What the decompressors of isal, lzma and bz2 have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Format:
    """One in which streams may follow one another: gzip (RFC 1952, 2.2; pigz and eStargz write many), xz and bzip2."""

    name: str
    magic: bytes
    begin: Callable[[], _Decompressor]
    errors: type[Exception] | tuple[type[Exception], ...]


_FORMATS = (
    _Format(
        name="gzip",
        magic=b"\x1f\x8b",
        begin=lambda: IgzipDecompressor(flag=DECOMP_GZIP),
        errors=IsalError,  # type: ignore[arg-type]  # its stub makes it an instance
    ),
    _Format(
        name="xz",
        magic=b"\xfd7zXZ\0",
        begin=lambda: LZMADecompressor(FORMAT_XZ, memlimit=_XZ_MEMORY),
        errors=LZMAError,
    ),
    _Format(name="bzip2", magic=b"BZh", begin=BZ2Decompressor, errors=(OSError, ValueError)),
)


def _streams(source: _Source, format: _Format) -> Iterator[bytes]:
    data = source.read()
    while data:
        stream = format.begin()
        while not stream.eof:
            if stream.needs_input and not data:
                raise CorruptBlob(f"its {format.name} stream is cut off")
            try:
                chunk = stream.decompress(data, CHUNK)
            except format.errors as error:
                raise CorruptBlob(f"its {format.name} stream is damaged: {_cause(error)}") from None
            data = source.read() if stream.needs_input and not stream.eof else b""
            yield chunk
        data = stream.unused_data or source.read()
        if len(data) < len(format.magic):
            data += source.read()
        if data and not data.startswith(format.magic):
            raise CorruptBlob(f"something follows the end of its {format.name} stream")


def _zstd(source: _Source, limits: Limits) -> Iterator[bytes]:
    decompressor = zstandard.ZstdDecompressor(max_window_size=limits.zstd_window)
    with decompressor.stream_reader(source, read_across_frames=True, closefd=False) as reader:  # type: ignore[arg-type]
        try:
            while chunk := reader.read(CHUNK):
                yield chunk
        except zstandard.ZstdError as error:
            raise CorruptBlob(f"its zstd stream is damaged: {_cause(error)}") from None


def _cause(error: Exception) -> str:
    text = str(error).removeprefix("zstd decompress error: ").lower()
    return "it needs too large a window" if "frame requires too much memory" in text else text
