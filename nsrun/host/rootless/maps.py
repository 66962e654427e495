"""Which ids there are in a user's namespace: 0 is the user, and from 1 on come the subordinate ids. Pure.

The kernel's rules (user_namespaces(7), "User and group ID mappings"): at most 340 lines, none of which overlap, of ids
that exist in the namespace above. newuidmap(1) takes lines of the user's own subordinate ids, and the user's own id
alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from nsrun.support.idranges import IdRange

__all__ = ["LINES", "IdMap", "MapLine", "parse_map", "plan_map"]

LINES = 340
"""In a map (Linux 4.15)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapLine:
    """``count`` ids from ``inside`` on are those from ``outside`` on in the namespace above."""

    inside: int
    outside: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IdMap:
    """``complete``: whether all the ids that somebody may use are in it."""

    lines: tuple[MapLine, ...]
    complete: bool = True

    @property
    def single(self) -> bool:
        """Whether it has one id only."""
        return sum(line.count for line in self.lines) == 1

    @property
    def count(self) -> int:
        """How many ids there are."""
        return sum(line.count for line in self.lines)

    @property
    def text(self) -> str:
        """As ``/proc/PID/uid_map`` takes it, in one write."""
        return "".join(f"{line.inside} {line.outside} {line.count}\n" for line in self.lines)

    @property
    def words(self) -> list[str]:
        """As newuidmap(1) takes it."""
        return [str(number) for line in self.lines for number in (line.inside, line.outside, line.count)]


def parse_map(text: str) -> tuple[MapLine, ...]:
    """``/proc/PID/uid_map``; what is no line of one is skipped."""
    rows = [line.split() for line in text.splitlines()]
    return tuple(
        MapLine(inside=int(row[0]), outside=int(row[1]), count=int(row[2]))
        for row in rows
        if len(row) == 3 and all(field.isascii() and field.isdigit() for field in row)
    )


def plan_map(own: int, ranges: Iterable[IdRange], present: Sequence[MapLine]) -> IdMap:
    """The map of a user with id ``own``, who may use ``ranges`` too. ``present``: the map of the namespace that the
    user is in, beyond whose ids there are none."""
    pieces: list[IdRange] = []
    for wanted in ranges:
        for piece in _existing(wanted, present):
            pieces.extend(_without(piece, [IdRange(first=own, count=1), *pieces]))
    lines, inside = [MapLine(inside=0, outside=own, count=1)], 1
    for piece in pieces[: LINES - 1]:
        lines.append(MapLine(inside=inside, outside=piece.first, count=piece.count))
        inside += piece.count
    return IdMap(lines=tuple(lines), complete=len(pieces) < LINES)


def _existing(wanted: IdRange, present: Sequence[MapLine]) -> Iterator[IdRange]:
    for line in present:
        first = max(wanted.first, line.inside)
        end = min(wanted.first + wanted.count, line.inside + line.count)
        if first < end:
            yield IdRange(first=first, count=end - first)


def _without(piece: IdRange, others: Iterable[IdRange]) -> list[IdRange]:
    """What of ``piece`` is in none of the others."""
    left = [piece]
    for other in others:
        left = [rest for one in left for rest in _cut(one, other)]
    return left


def _cut(one: IdRange, other: IdRange) -> Iterator[IdRange]:
    if not one.overlaps(other):
        yield one
        return
    end, other_end = one.first + one.count, other.first + other.count
    if one.first < other.first:
        yield IdRange(first=one.first, count=other.first - one.first)
    if other_end < end:
        yield IdRange(first=other_end, count=end - other_end)
