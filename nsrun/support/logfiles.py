"""The files of one run's log, as the kubelet names them: ``0.log``, which is written to, and what was rotated away from
it, ``0.log.20060102-150405``, the time in UTC. The shim rotates; whatever is rotated is never written to again."""

from __future__ import annotations

import os
import re
from pathlib import Path

from nsrun.support.crilog import parse_line

__all__ = ["content_of", "log_files", "read_tail"]

_ROTATED = re.compile(r"\.[0-9]{8}-[0-9]{6}")
_BLOCK = 1 << 16


def log_files(log: Path) -> list[Path]:
    """Those that are there, oldest first. ``log``: the one that is written to; it comes last, if it is there."""
    try:
        names = os.listdir(log.parent)
    except (FileNotFoundError, NotADirectoryError):
        return []
    rotated = sorted(
        name for name in names if name.startswith(log.name) and _ROTATED.fullmatch(name.removeprefix(log.name))
    )
    return [log.parent / name for name in (*rotated, *([log.name] if log.name in names else ()))]


def read_tail(log: Path, lines: int, limit: int) -> bytes:
    """What a container wrote last: of the last ``lines`` records (up to 80 or so) the last ``limit`` bytes (up to 2048
    or so). Empty when there is no log. Raises OSError."""
    block = b""
    for path in reversed(log_files(log)):
        with open(path, "rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - _BLOCK)
            file.seek(start)
            block = file.read(_BLOCK) + block
        if len(block) >= _BLOCK:
            break
    records = block.split(b"\n")[:-1]  # a record that is being written has no newline yet
    return content_of(records[-lines:])[-limit:]


def content_of(records: list[bytes]) -> bytes:
    """What the container wrote, from CRI log lines; lines that are none are passed over."""
    parts = []
    for line in records:
        try:
            record = parse_line(line)
        except ValueError:
            continue
        parts.append(record.content if record.partial else record.content + b"\n")
    return b"".join(parts)
