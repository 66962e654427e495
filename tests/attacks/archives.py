"""Writes tar archives that no honest program would: every field can be given as it is."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Archive", "diff_id", "gzipped", "header"]


def header(
    name: bytes,
    *,
    kind: bytes = b"0",
    size: int | bytes = 0,
    mode: int = 0o644,
    uid: int | bytes = 0,
    gid: int | bytes = 0,
    mtime: int | bytes = 0,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
    prefix: bytes = b"",
    magic: bytes = b"ustar\x0000",
    checksum: bytes | None = None,
) -> bytes:
    """One header block. Numbers given as bytes are taken as they are."""

    def number(value: int | bytes, width: int) -> bytes:
        return value.ljust(width, b"\0") if isinstance(value, bytes) else b"%0*o\0" % (width - 1, value)

    block = bytearray(
        name[:100].ljust(100, b"\0")
        + number(mode, 8)
        + number(uid, 8)
        + number(gid, 8)
        + number(size, 12)
        + number(mtime, 12)
        + b" " * 8
        + kind
        + link[:100].ljust(100, b"\0")
        + magic.ljust(8, b"\0")
        + bytes(64)
        + number(device[0], 8)
        + number(device[1], 8)
        + prefix[:155].ljust(155, b"\0")
        + bytes(12)
    )
    block[148:156] = checksum if checksum is not None else b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def pax_record(key: bytes, value: bytes) -> bytes:
    body = b" " + key + b"=" + value + b"\n"
    length = len(body)
    while len(b"%d" % length) + len(body) != length:
        length = len(b"%d" % length) + len(body)
    return b"%d" % length + body


@dataclass(slots=True)
class Archive:
    """An archive in the making; every method returns it, so that a case reads as one sentence."""

    blocks: list[bytes] = field(default_factory=list)

    def raw(self, data: bytes) -> Archive:
        self.blocks.append(data)
        return self

    def file(self, name: bytes, data: bytes = b"x", *, mode: int = 0o644, uid: int | bytes = 0) -> Archive:
        return self.raw(header(name, size=len(data), mode=mode, uid=uid) + padded(data))

    def directory(self, name: bytes, *, mode: int = 0o755) -> Archive:
        return self.raw(header(name, kind=b"5", mode=mode))

    def symlink(self, name: bytes, target: bytes) -> Archive:
        return self.raw(header(name, kind=b"2", link=target, mode=0o777))

    def hard_link(self, name: bytes, target: bytes) -> Archive:
        return self.raw(header(name, kind=b"1", link=target))

    def node(self, name: bytes, kind: bytes, major: int = 0, minor: int = 0) -> Archive:
        return self.raw(header(name, kind=kind, device=(major, minor)))

    def pax(self, records: Mapping[bytes, bytes], kind: bytes = b"x") -> Archive:
        data = b"".join(pax_record(key, value) for key, value in records.items())
        return self.raw(header(b"pax", kind=kind, size=len(data)) + padded(data))

    def long_name(self, name: bytes, kind: bytes = b"L") -> Archive:
        data = name + b"\0"
        return self.raw(header(b"././@LongLink", kind=kind, size=len(data), magic=b"ustar  \0") + padded(data))

    def bytes(self, *, end: bool = True) -> bytes:
        return b"".join(self.blocks) + (bytes(1024) if end else b"")


def diff_id(tar: bytes) -> str:
    return f"sha256:{hashlib.sha256(tar).hexdigest()}"


def gzipped(tar: bytes) -> bytes:
    return gzip.compress(tar, compresslevel=1)
