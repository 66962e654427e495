"""Durations as kubectl writes them: two units at most, coarser as they grow; and as docker says how long ago."""

from __future__ import annotations

__all__ = ["age", "ago", "seconds_of"]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def age(seconds: float) -> str:
    """``75`` → ``75s``, ``200`` → ``3m20s``, ``90000`` → ``25h``, ``200000`` → ``2d7h``."""
    whole = max(0, int(seconds))
    if whole < 120:
        return f"{whole}s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes < 10:
        return f"{minutes}m{whole % 60}s" if whole % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    return f"{days}d"


_AGO = (
    (2 * 365 * 86400, 365 * 86400, "years"),
    (60 * 86400, 30 * 86400, "months"),
    (14 * 86400, 7 * 86400, "weeks"),
    (48 * 3600, 86400, "days"),
    (7200, 3600, "hours"),
    (120, 60, "minutes"),
    (2, 1, "seconds"),
)
"""From so many seconds on, in units of so many, of which there are then two at least."""


def ago(seconds: float) -> str:
    """``5`` → ``5 seconds ago``, ``90`` → ``About a minute ago``, ``200000`` → ``2 days ago``, as docker has it."""
    if seconds >= 60:
        if seconds < 120:
            return "About a minute ago"
        if 3600 <= seconds < 7200:
            return "About an hour ago"
    for begin, unit, name in _AGO:
        if seconds >= begin:
            return f"{int(seconds // unit)} {name} ago"
    return "1 second ago" if seconds >= 1 else "Less than a second ago"


def seconds_of(duration: str) -> float:
    """Go's durations: ``20s``, ``1m30s``, ``500ms``; a plain number is seconds. Raises ValueError."""
    try:
        return float(duration)
    except ValueError:
        pass
    total, number = 0.0, ""
    rest = duration
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        number, rest = rest[:digits], rest[digits:]
        unit = next((u for u in ("ms", "h", "m", "s") if rest.startswith(u)), None)
        if unit is None or not number:
            raise ValueError(f'must be a duration such as "20s" or "1m30s", not "{duration}"')
        total += float(number) * _UNITS[unit]
        rest = rest[len(unit) :]
    if not number:
        raise ValueError("must be a duration, not empty")
    return total
