"""A little graph in a line of text."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["bar", "sparkline"]

_STEPS = "▁▂▃▄▅▆▇█"
_PLAIN = "_.-=+*#@"


def sparkline(values: Sequence[float | None], *, width: int, top: float = 0.0, plain: bool = False) -> str:
    """The last ``width`` values, the newest at the right. The highest step is ``top``, or the highest value if that is
    above it; the lowest is 0. What is not known is blank. ``plain``: for terminals that know ASCII only."""
    steps = _PLAIN if plain else _STEPS
    shown = list(values)[-width:]
    highest = max((value for value in shown if value is not None), default=0.0)
    scale = max(highest, top)
    cells = (" " if value is None else steps[_step(value, scale, len(steps))] for value in shown)
    return "".join(cells).rjust(width)


def _step(value: float, scale: float, count: int) -> int:
    if scale <= 0 or value <= 0:
        return 0
    return min(int(value / scale * count), count - 1)


def bar(share: float, *, width: int, plain: bool = False) -> str:
    """A part of a whole: ``███░░``."""
    full = round(min(max(share, 0.0), 1.0) * width)
    return ("#" if plain else "█") * full + ("." if plain else "░") * (width - full)
