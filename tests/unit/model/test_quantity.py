"""resource.Quantity."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsrun.model.quantity import canonical, parse_quantity
from nsrun.model.resources import Quantity

POWERS = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9}
BINARY = {"Ki": 1024, "Mi": 1024**2, "Gi": 1024**3}


@pytest.mark.parametrize(
    ("text", "milli", "form"),
    [
        ("0", 0, "0"),
        ("1", 1000, "1"),
        ("0.5", 500, "500m"),
        (".5", 500, "500m"),
        ("5.", 5000, "5"),
        ("+2", 2000, "2"),
        ("-2", -2000, "-2"),
        ("100m", 100, "100m"),
        ("1000m", 1000, "1"),
        ("1500m", 1500, "1500m"),
        ("1n", 1, "1m"),
        ("1001u", 2, "2m"),
        ("1k", 1_000_000, "1k"),
        ("1000k", 10**9, "1M"),
        ("1024", 1024_000, "1024"),
        ("1Ki", 1024_000, "1Ki"),
        ("0.5Ki", 512_000, "512"),
        ("1024Mi", 1024**3 * 1000, "1Gi"),
        ("1.5Gi", 1536 * 1024**2 * 1000, "1536Mi"),
        ("1.1Ki", 1126_400, "1126400m"),
        ("12e6", 12 * 10**9, "12e6"),
        ("12000E3", 12 * 10**9, "12e6"),
        ("1e-2", 10, "10e-3"),
        ("1e0", 1000, "1"),
        ("1E", 10**21, "1E"),
        ("16Ei", (2**63 - 1) * 1000, "9223372036854775807"),
        ("1e999999999", (2**63 - 1) * 1000, "9223372036854775807"),
        ("1e-999999999", 1, "1e-3"),
    ],
)
def test_quantities(text: str, milli: int, form: str) -> None:
    quantity = parse_quantity(text)
    assert (quantity.milli, canonical(quantity)) == (milli, form)
    assert parse_quantity(form) == quantity


@pytest.mark.parametrize("text", ["", " 1", "1 ", "1.2.3", ".", "e3", "1e", "1K", "1ki", "1gi", "0x1", "1" * 65, "١"])
def test_what_is_not_a_quantity(text: str) -> None:
    with pytest.raises(ValueError):
        parse_quantity(text)


def test_a_quantity_without_text_is_printed_in_plain() -> None:
    assert canonical(Quantity(milli=1500, text="")) == "1500m"


@given(st.decimals(0, 10**9, places=6), st.sampled_from([*POWERS, *BINARY]))
def test_values_are_exact_and_rounded_up(number: object, suffix: str) -> None:
    exact = Fraction(str(number)) * (Fraction(10) ** POWERS[suffix] if suffix in POWERS else BINARY[suffix]) * 1000
    quantity = parse_quantity(f"{number}{suffix}")
    assert quantity.milli == -(-exact.numerator // exact.denominator)
    assert parse_quantity(canonical(quantity)) == quantity
