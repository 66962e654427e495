"""Sizes as Docker writes them: decimal units, three digits."""

from __future__ import annotations

__all__ = ["size"]

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def size(octets: int) -> str:
    """``0`` → ``0B``, ``12800000`` → ``12.8MB``."""
    value, unit = float(octets), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.3g}{_UNITS[unit]}"
