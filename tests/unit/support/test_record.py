"""Values without ``dataclasses``."""

from __future__ import annotations

from nsrun.support.record import Record


class Point(Record):
    __slots__ = ("x", "y")

    def __init__(self, x: int, y: int) -> None:
        self.x = x
        self.y = y


class Other(Point):
    __slots__ = ()


def test_records() -> None:
    assert Point(1, 2) == Point(1, 2)
    assert Point(1, 2) not in (Point(1, 3), Point(2, 2), (1, 2), Other(1, 2))
    assert len({Point(1, 2), Point(1, 2), Point(2, 1)}) == 2
    assert repr(Point(1, 2)) == "Point(x=1, y=2)"
