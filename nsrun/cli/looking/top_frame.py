"""One picture of ``nsrun top``: the machine above, a table of pods or containers below. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nsrun.cli.documents import Document, at
from nsrun.cli.looking.sparkline import bar, sparkline
from nsrun.cli.looking.usage_rows import UsageRow, columns, ordered
from nsrun.cli.size import size
from nsrun.cli.table import table

__all__ = ["KEYS", "MACHINE", "History", "View", "cpu_of", "frame"]

_BOLD, _DIM, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"
_TREND = 12
KEYS = {"c": "cpu", "m": "memory", "n": "network", "i": "io", "r": "restarts", "a": "name"}
"""Key → what rows are sorted by."""
Key = tuple[str, str, str]
MACHINE: Key = ("", "", "")
"""What the machine is called in a history; pods have names."""


class History:
    """The last values of each row: what its sparkline shows. Rows that are gone are forgotten."""

    def __init__(self, length: int = 60) -> None:
        self._length = length
        self._values: dict[Key, deque[float | None]] = {}

    def add(self, values: Mapping[Key, float | None]) -> None:
        """The newest value of every row that there is now."""
        self._values = {key: self._values.get(key, deque(maxlen=self._length)) for key in values}
        for key, value in values.items():
            self._values[key].append(value)

    def of(self, key: Key) -> Sequence[float | None]:
        """The values of a row, the newest last."""
        return self._values.get(key, ())


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How it is shown. ``plain``: for terminals that know ASCII only. ``colour``: bold and dim text."""

    sort_by: str = "cpu"
    containers: bool = False
    plain: bool = False
    colour: bool = True
    notice: str = field(default="")


def frame(node: Document, rows: Sequence[UsageRow], history: History, view: View, *, width: int) -> list[str]:
    """Every line, none wider than ``width``. ``history`` by the rows' keys."""
    kinds = columns(containers=view.containers)
    shown = [column for column in kinds if not column.wide]
    cells = [
        (*(column.cell(row) for column in shown), sparkline(history.of(row.key), width=_TREND, plain=view.plain))
        for row in ordered(rows, view.sort_by)
    ]
    lines = table([*(column.title for column in shown), "CPU TREND"], cells).split("\n")
    return [
        *_machine(node, history, view, width),
        "",
        _emphasised(lines[0][:width], _BOLD, view),
        *(line[:width] for line in lines[1:]),
        *(() if cells else ("nothing runs",)),
    ]


def _machine(node: Document, history: History, view: View, width: int) -> list[str]:
    used, count = cpu_of(node) / 1e9, max(_number(node, "cores"), 1)
    memory, whole = _number(node, "memoryBytes"), max(_number(node, "memoryTotalBytes"), 1)
    trend = sparkline(history.of(MACHINE), width=_TREND, top=count * 1e9, plain=view.plain)
    help = "q quit  p pods/containers  sort: " + " ".join(
        f"[{key}]{name[1:]}" if name.startswith(key) else f"[{key}] {name}" for key, name in KEYS.items()
    )
    return [
        f"CPU    {bar(used / count, width=20, plain=view.plain)} {used:5.2f} of {count} cores   {trend}"[:width],
        f"Memory {bar(memory / whole, width=20, plain=view.plain)} {size(int(memory))} of {size(int(whole))}"[:width],
        _emphasised((view.notice or help)[:width], _DIM, view),
    ]


def cpu_of(node: Document) -> float:
    """Billionths of a core that the machine uses; 0 while it is not known."""
    return _number(node, "cpuNanoCores")


def _number(node: Document, name: str) -> float:
    value = at(node, name)
    return value if isinstance(value, int | float) else 0


def _emphasised(text: str, how: str, view: View) -> str:
    return f"{how}{text}{_PLAIN}" if view.colour else text
