from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from nsrun.host.rootless.maps import LINES, MapLine, parse_map, plan_map
from nsrun.support.idranges import IdRange

EVERYTHING = (MapLine(inside=0, outside=0, count=2**32 - 1),)


def rows(own: int, *pairs: tuple[int, int], present: tuple[MapLine, ...] = EVERYTHING) -> list[tuple[int, int, int]]:
    plan = plan_map(own, [IdRange(first=first, count=count) for first, count in pairs], present)
    return [(line.inside, line.outside, line.count) for line in plan.lines]


def test_nobody_but_oneself() -> None:
    plan = plan_map(1000, [], EVERYTHING)
    assert plan.single
    assert plan.text == "0 1000 1\n"
    assert plan.complete


def test_ranges_come_one_after_another() -> None:
    assert rows(1000, (100000, 65536), (300000, 10)) == [(0, 1000, 1), (1, 100000, 65536), (65537, 300000, 10)]


def test_words_for_newuidmap() -> None:
    plan = plan_map(1000, [IdRange(first=100000, count=65536)], EVERYTHING)
    assert plan.words == ["0", "1000", "1", "1", "100000", "65536"]
    assert plan.count == 65537


def test_ones_own_id_is_mapped_once() -> None:
    """newuidmap refuses lines that overlap, and so does the kernel."""
    assert rows(1000, (999, 3)) == [(0, 1000, 1), (1, 999, 1), (2, 1001, 1)]
    assert rows(1000, (1000, 1)) == [(0, 1000, 1)]


def test_ranges_that_overlap_are_mapped_once() -> None:
    assert rows(0, (100, 10), (105, 10), (100, 15)) == [(0, 0, 1), (1, 100, 10), (11, 110, 5)]


def test_ids_that_do_not_exist_here_are_left_out() -> None:
    present = (MapLine(inside=0, outside=1000, count=1), MapLine(inside=1, outside=100000, count=1000))
    assert rows(1, (500, 65536), present=present) == [(0, 1, 1), (1, 500, 501)]
    assert rows(1, (100000, 65536), present=present) == [(0, 1, 1)]


def test_the_kernel_takes_340_lines() -> None:
    plan = plan_map(1, [IdRange(first=10 * n, count=1) for n in range(1, 400)], EVERYTHING)
    assert len(plan.lines) == LINES
    assert not plan.complete
    assert plan_map(1, [IdRange(first=10 * n, count=1) for n in range(1, LINES)], EVERYTHING).complete


def test_a_map_as_the_kernel_shows_it() -> None:
    assert parse_map("         0       1000          1\n         1     100000      65536\nodd\n") == (
        MapLine(inside=0, outside=1000, count=1),
        MapLine(inside=1, outside=100000, count=65536),
    )


@given(
    own=some.integers(0, 300),
    pairs=some.lists(some.tuples(some.integers(0, 300), some.integers(1, 50)), max_size=8),
    present=some.lists(some.tuples(some.integers(0, 300), some.integers(1, 100)), min_size=1, max_size=3),
)
def test_what_every_map_is(own: int, pairs: list[tuple[int, int]], present: list[tuple[int, int]]) -> None:
    """The rules of the kernel, of any map at all: no id twice on either side, none that does not exist."""
    lines = tuple(MapLine(inside=first, outside=first, count=count) for first, count in present)
    found = rows(own, *pairs, present=lines)
    outside = [number for _, first, count in found for number in range(first, first + count)]
    inside = [number for first, _, count in found for number in range(first, first + count)]
    assert len(set(outside)) == len(outside)
    assert inside == list(range(len(inside)))
    existing = {number for first, count in present for number in range(first, first + count)}
    granted = {number for first, count in pairs for number in range(first, first + count)}
    assert set(outside) == (granted & existing) | {own}
