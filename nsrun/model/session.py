"""Sessions: a command in a container, or the container itself, with somebody at the other end of its streams."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SessionRequest", "TerminalSize"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminalSize:
    """In characters."""

    columns: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRequest:
    """What somebody wants to see and say. ``command`` None: attach to the container's own process. ``stdin``,
    ``stdout``, ``stderr``: which streams. ``terminal``: a terminal of the container's own for the command, whose
    standard error is its standard output; without meaning for attach, where the container's manifest decides."""

    command: tuple[str, ...] | None
    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    terminal: bool = False
    size: TerminalSize | None = None
