"""The doorway to ``nsrun-unpack`` (``native/unpack.h``): how it is started, told its limits, and what it reports."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

import nsrun._native as _native
from nsrun.support.fds import Fd

__all__ = ["REPORT_SIZE", "Report", "abi", "pack_settings", "read_report", "spawn_unpack"]

_ffi = _native.ffi
_lib = _native.lib

abi: Final = _lib
"""Every enumerator of unpack.h as a plain int: ``abi.NS_UNPACK_CUT`` …"""

REPORT_SIZE: Final[int] = _ffi.sizeof("struct ns_unpack_report") + 2 * _lib.NS_UNPACK_TEXT_MAX
"""What a report and the bytes behind it can have at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How unpacking ended. ``cause``: ``NS_UNPACK_*``, which says what ``error``, ``number`` and ``text`` mean;
    ``entries`` made, ``size`` of all files in bytes; ``path``: of the entry that it was about, as archived."""

    cause: int
    error: int
    number: int
    entries: int
    size: int
    path: bytes | None
    text: bytes


def spawn_unpack(program: str, *, input_fd: int, report_fd: int, tree: int) -> Fd:
    """Starts ``program`` in namespaces of its own, with these pipes and the detached mount; its pidfd, to be reaped by.

    Raises OSError.
    """
    pidfd = _ffi.new("int *", -1)
    result = _lib.ns_spawn_unpack(os.fsencode(program), input_fd, report_fd, tree, pidfd)
    if result < 0:
        raise OSError(-result, os.strerror(-result), program)
    return Fd(pidfd[0])


def pack_settings(
    *,
    path: int,
    name: int,
    depth: int,
    header: int,
    regions: int,
    entries: int,
    size: int,
    opaque: bytes,
    uids: int,
    gids: int,
    squash: bool,
) -> bytes:
    """What it reads first. ``uids``, ``gids``: the ids that there are, from 0 on; ``squash``: owners that are not there
    become root, and are recorded. Limits beyond what it has room for are taken down to that. Raises ValueError when the
    attribute's name is too long."""
    if len(opaque) >= _lib.NS_UNPACK_OPAQUE_MAX:
        raise ValueError("the name of the attribute is too long")
    settings = _ffi.new("struct ns_unpack_settings *")
    settings.magic = _lib.NS_UNPACK_MAGIC
    settings.path = min(path, _lib.NS_UNPACK_PATH_MAX)
    settings.name = min(name, _lib.NS_UNPACK_NAME_MAX)
    settings.depth = depth
    settings.header = min(header, _lib.NS_UNPACK_HEADER_MAX)
    settings.regions = min(regions, _lib.NS_UNPACK_REGIONS_MAX)
    settings.entries, settings.size, settings.opaque = entries, size, opaque
    settings.uids, settings.gids, settings.squash = uids, gids, squash
    return bytes(_ffi.buffer(settings))


def read_report(data: bytes) -> Report | None:
    """None when this is no report: it ended without one. What it says is not believed beyond its length."""
    head = _ffi.sizeof("struct ns_unpack_report")
    if len(data) < head:
        return None
    raw = _ffi.cast("struct ns_unpack_report *", _ffi.from_buffer(data))
    end = head + raw.path_length
    if len(data) != end + raw.text_length:
        return None
    return Report(
        cause=raw.cause,
        error=raw.error,
        number=raw.number,
        entries=raw.entries,
        size=raw.size,
        path=data[head:end] if raw.has_path else None,
        text=data[end:],
    )
