"""Foreign text in our sentences: names and answers of strangers, made safe for a terminal and a log."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str, limit: int = 255) -> str:
    """``text`` in printable ASCII on one line, what is not being escaped, cut to ``limit`` characters."""
    shown = text if len(text) <= limit else text[:limit] + "..."
    escaped = shown.encode("ascii", "backslashreplace").decode()
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in escaped)
