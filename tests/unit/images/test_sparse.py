"""The maps of sparse files."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsrun.images.sparse import check_map, list_map, pax_version, text_map
from nsrun.images.tarstream import TarError


def blocks(text: bytes) -> Callable[[], bytes]:
    """Reads the text in blocks, as it lies in an archive."""
    padded = text + bytes(-len(text) % 512)
    pieces = iter([padded[at : at + 512] for at in range(0, len(padded), 512)])

    def read() -> bytes:
        try:
            return next(pieces)
        except StopIteration:
            raise TarError("the archive is cut off") from None

    return read


@given(st.lists(st.tuples(st.integers(0, 1 << 62), st.integers(0, 1 << 62)), max_size=80))
def test_text_and_list_say_the_same(regions: list[tuple[int, int]]) -> None:
    numbers = [number for region in regions for number in region]
    text = b"%d\n" % len(regions) + b"".join(b"%d\n" % number for number in numbers)
    assert text_map(blocks(text), 100) == tuple(regions) == list_map(b",".join(b"%d" % n for n in numbers))


@pytest.mark.parametrize(
    "text", [b"101\n", b"x\n", b"-1\n", b"1" * 2000, b"\n", b"1\n2\nx\n", b"1\n2\n\n", b"9" * 25 + b"\n"]
)
def test_bad_texts_are_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="map of a sparse file"):
        text_map(blocks(text), 100)


def test_texts_without_end_are_not_read_to_the_end() -> None:
    with pytest.raises(ValueError, match="too long"):
        text_map(lambda: b"2\n".ljust(512, b"0"), 10)


def test_maps_that_are_cut_off() -> None:
    with pytest.raises(TarError, match="cut off"):
        text_map(blocks(b"100\n1\n"), 100)


def test_long_maps_are_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        check_map(((0, 0),) * 11, stored=0, size=0, limit=10)


def test_versions() -> None:
    assert pax_version({}) is None
    assert pax_version({b"GNU.sparse.map": b""}) == (0, 1)
    assert pax_version({b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0"}) == (1, 0)
    with pytest.raises(ValueError, match="damaged"):
        pax_version({b"GNU.sparse.major": b"one"})
