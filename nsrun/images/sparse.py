"""The maps of sparse files in tar archives: GNU's old format and PAX formats 0.0, 0.1 and 1.0 (GNU tar manual, D.2).

A map lists the regions that hold data, as (offset, length), in order; the archive stores them one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

__all__ = ["SparseMap", "check_map", "list_map", "old_map", "pax_version", "text_map"]

SparseMap = tuple[tuple[int, int], ...]

OLD_SLOTS_IN_HEADER, OLD_SLOTS_IN_BLOCK = 4, 21


def pax_version(records: Mapping[bytes, bytes]) -> tuple[int, int] | None:
    """The version of the PAX sparse format that an entry's records speak of, None when it is not sparse."""
    if b"GNU.sparse.major" in records:
        return _number(records[b"GNU.sparse.major"]), _number(records.get(b"GNU.sparse.minor", b"0"))
    return (0, 1) if b"GNU.sparse.map" in records else None


def old_map(block: bytes, start: int, slots: int, number: Callable[[bytes], int]) -> list[tuple[int, int]]:
    """The regions in a header (``start`` 386) or an extension block (0); ``number`` reads a field."""
    found = []
    for at in range(start, start + 24 * slots, 24):
        if not block[at : at + 24].strip(b"\0 "):
            break
        found.append((number(block[at : at + 12]), number(block[at + 12 : at + 24])))
    return found


def list_map(text: bytes) -> SparseMap:
    """``0,512,4096,10`` of formats 0.0 and 0.1. Raises ValueError."""
    return _pairs(_number(part) for part in text.split(b",")) if text else ()


def text_map(blocks: Callable[[], bytes], limit: int) -> SparseMap:
    """The map that format 1.0 puts before the data: lines of decimal numbers, their count first, in whole blocks.

    ``blocks`` reads the next block. Raises ValueError.
    """
    text = bytearray(blocks())
    while b"\n" not in text and len(text) < 1024:
        text += blocks()
    count, _, _ = bytes(text).partition(b"\n")
    wanted = 2 * _number(count) + 1
    if wanted > 2 * limit + 1:
        raise ValueError("the map of a sparse file is too long")
    while text.count(b"\n") < wanted:
        text += blocks()
        if len(text) > 64 * (limit + 16):
            raise ValueError("the map of a sparse file is too long")
    return _pairs(_number(line) for line in bytes(text).split(b"\n")[1:wanted])


def check_map(regions: SparseMap, *, stored: int, size: int, limit: int) -> None:
    """Regions are in order, apart, within the file, and their sum is what the archive stores. Raises ValueError."""
    end = total = 0
    if len(regions) > limit:
        raise ValueError("the map of a sparse file is too long")
    for offset, length in regions:
        if offset < end or length < 0:
            raise ValueError("the map of a sparse file is out of order")
        end, total = offset + length, total + length
    if end > size or total != stored:
        raise ValueError("the map of a sparse file does not fit the file")


def _pairs(numbers: Iterable[int]) -> SparseMap:
    flat = list(numbers)
    if len(flat) % 2:
        raise ValueError("the map of a sparse file is damaged")
    return tuple(zip(flat[::2], flat[1::2], strict=True))


def _number(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19:
        raise ValueError("the map of a sparse file is damaged")
    return int(text)
