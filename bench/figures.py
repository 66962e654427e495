"""One figure: what was measured for nsrun and for each peer, and the bar it is held against."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Figure", "median", "save", "table"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Medians in ``unit``. ``bar``: the budget as text; ``within``: is it kept (None: there is none)."""

    name: str
    unit: str
    ours: float
    peers: Mapping[str, float] = field(default_factory=dict)
    bar: str = ""
    within: bool | None = None
    runs: int = 1

    def __str__(self) -> str:
        """The row of the table."""
        peers = ", ".join(f"{name} {_number(value)}" for name, value in self.peers.items())
        ratios = ", ".join(_ratio(self.ours, value) for value in self.peers.values())
        kept = {True: "yes", False: "**no**", None: ""}[self.within]
        return f"| {self.name}, {self.unit} | {_number(self.ours)} | {peers} | {ratios} | {self.bar} | {kept} |"


def median(values: Sequence[float]) -> float:
    """Raises StatisticsError when there are none."""
    return statistics.median(values)


def table(figures: Sequence[Figure]) -> str:
    """A Markdown table, as README has it."""
    head = ("| what (median) | nsrun | peers | ratio | budget | kept |", "| --- | --- | --- | --- | --- | --- |")
    return "\n".join((*head, *map(str, figures)))


def _ratio(ours: float, theirs: float) -> str:
    return f"{ours / theirs:.2g}" if theirs else "–"


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def save(figures: Sequence[Figure], path: Path) -> None:
    """The same as JSON, for whoever compares runs."""
    rows = [
        {
            "name": f.name,
            "unit": f.unit,
            "nsrun": f.ours,
            "peers": dict(f.peers),
            "bar": f.bar,
            "within": f.within,
            "runs": f.runs,
        }
        for f in figures
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=2) + "\n")
