"""CRI log lines: ``<RFC3339Nano> <stdout|stderr> <P|F> <content>`` (the kubelet's format; the shim writes it)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LogRecord", "parse_line"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRecord:
    """One record. ``partial``: the next record of this stream continues the line."""

    time: str
    stream: str
    partial: bool
    content: bytes


def parse_line(line: bytes) -> LogRecord:
    """Takes one line without its newline. Raises ValueError when it is not a CRI log line."""
    parts = line.split(b" ", 3)
    if len(parts) < 3 or parts[1] not in (b"stdout", b"stderr"):
        raise ValueError("not a CRI log line")
    tag = parts[2].split(b":", 1)[0]
    if tag not in (b"P", b"F"):
        raise ValueError("not a CRI log line")
    content = parts[3] if len(parts) == 4 else b""
    return LogRecord(time=parts[0].decode("ascii"), stream=parts[1].decode(), partial=tag == b"P", content=content)
