"""Ranges of ids: nobody shares one, and everybody keeps theirs."""

from __future__ import annotations

import errno
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nsrun.support import idranges
from nsrun.support.idranges import COUNT, IdRange, IdRanges, parse_subordinate


@pytest.fixture
def book(tmp_path: Path) -> IdRanges:
    return IdRanges(tmp_path / "userns", subordinate=())


def test_a_pod_keeps_its_range(book: IdRanges, tmp_path: Path) -> None:
    first = book.acquire("a")
    assert book.acquire("a") == first
    assert IdRanges(tmp_path / "userns", subordinate=()).find("a") == first  # another nsrun, after a crash
    assert first.count == COUNT
    assert first.first % COUNT == 0


def test_ranges_do_not_overlap(book: IdRanges) -> None:
    held = [book.acquire(str(number)) for number in range(20)]
    assert not [(a, b) for a in held for b in held if a is not b and a.overlaps(b)]


def test_many_at_once(tmp_path: Path) -> None:
    """Threads of one nsrun, with books of their own."""

    def acquire(number: int) -> IdRange:
        return IdRanges(tmp_path / "userns", subordinate=()).acquire(str(number))

    with ThreadPoolExecutor(8) as threads:
        held = list(threads.map(acquire, range(40)))
    assert len({each.first for each in held}) == 40
    assert not [path for path in (tmp_path / "userns").iterdir() if path.name.startswith(".")]


def test_what_is_released_is_free_again(book: IdRanges) -> None:
    first = book.acquire("a")
    book.release("a")
    book.release("a")
    assert book.find("a") is None
    assert book.acquire("b") == first


def test_nothing_yet(book: IdRanges) -> None:
    assert book.find("a") is None
    book.release("a")


def test_what_the_system_hands_out_is_left_alone(tmp_path: Path) -> None:
    plain = IdRanges(tmp_path / "plain", subordinate=()).acquire("a")
    subuid = tmp_path / "subuid"
    subuid.write_text(f"user:{plain.first + 100}:{2 * COUNT}\n# a comment\nbroken\nuser:x:1\n")
    book = IdRanges(tmp_path / "userns", subordinate=(subuid, tmp_path / "none"))
    assert book.acquire("a").first == plain.first + 3 * COUNT


def test_subordinate_ids() -> None:
    found = list(parse_subordinate("root:100000:65536\n\nalice:1:2\nx:-1:5\nx:1\n:٣:1\n"))
    assert found == [IdRange(first=100000, count=65536), IdRange(first=1, count=2)]


def test_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idranges, "_LAST", idranges._FIRST + COUNT)
    book = IdRanges(tmp_path / "userns", subordinate=())
    book.acquire("a")
    book.acquire("b")
    with pytest.raises(OSError) as caught:
        book.acquire("c")
    assert caught.value.errno == errno.EUSERS


@pytest.mark.parametrize(("first", "overlaps"), [(0, False), (1, True), (10, True), (19, True), (20, False)])
def test_overlap(first: int, overlaps: bool) -> None:
    one, other = IdRange(first=10, count=10), IdRange(first=first, count=10)
    assert one.overlaps(other) is other.overlaps(one) is overlaps
