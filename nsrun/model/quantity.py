"""resource.Quantity: ``500m``, ``1.5``, ``64Mi``, ``12e6`` (k8s.io/apimachinery/pkg/api/resource/quantity.go).

    quantity        = [ "+" | "-" ] number [ suffix ]
    number          = digits [ "." [ digits ] ] | "." digits
    suffix          = binarySI | decimalSI | decimalExponent
    binarySI        = "Ki" | "Mi" | "Gi" | "Ti" | "Pi" | "Ei"
    decimalSI       = "n" | "u" | "m" | "k" | "M" | "G" | "T" | "P" | "E"
    decimalExponent = ( "e" | "E" ) [ "+" | "-" ] digits

Everything is exact: integers only. Fractions of a thousandth are rounded away from zero, and values beyond 2⁶³-1 are
capped there, as the API server does both.
"""

from __future__ import annotations

import re

from nsrun.model.resources import Quantity

__all__ = ["canonical", "of_milli", "parse_quantity"]

BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
GRAMMAR = re.compile(
    r"(?P<sign>[+-]?)(?:(?P<whole>[0-9]+)(?:\.(?P<part>[0-9]*))?|\.(?P<only>[0-9]+))"
    r"(?:(?P<exponent>[eE][+-]?[0-9]+)|(?P<suffix>[KMGTPE]i|[numkMGTPE])?)"
)
LARGEST = (1 << 63) - 1
LONGEST = 64
"""No honest quantity is longer, and arithmetic on a million digits is slow."""
LARGEST_EXPONENT = 40
"""Far outside what is kept either way: 10⁴⁰ is capped, 10⁻⁴⁰ rounded up."""


def parse_quantity(text: str) -> Quantity:
    """Raises ValueError when ``text`` is not a quantity."""
    match = GRAMMAR.fullmatch(text) if len(text) <= LONGEST else None
    if match is None:
        raise ValueError("not a quantity")
    part = match["only"] or match["part"] or ""
    digits = int((match["whole"] or "") + part)
    numerator, tens = _scaled(digits, match["suffix"] or "", match["exponent"] or "e0")
    tens += 3 - len(part)
    numerator, divisor = (numerator * 10**tens, 1) if tens >= 0 else (numerator, 10**-tens)
    milli = min(-(-numerator // divisor), LARGEST * 1000)
    return Quantity(milli=-milli if match["sign"] == "-" else milli, text=text)


def _scaled(digits: int, suffix: str, exponent: str) -> tuple[int, int]:
    """The number without its suffix: an integer, and the power of ten to multiply it by."""
    if suffix in BINARY:
        return digits << (10 * BINARY[suffix]), 0
    if suffix:
        return digits, DECIMAL[suffix]
    return digits, max(-LARGEST_EXPONENT, min(LARGEST_EXPONENT, int(exponent[1:])))


def of_milli(milli: int, *, like: Quantity) -> Quantity:
    """A quantity of so many thousandths, written in the family of suffixes of another."""
    return Quantity(milli=milli, text=canonical(Quantity(milli=milli, text=like.text)))


def canonical(quantity: Quantity) -> str:
    """The form the API server prints: the same family of suffix, the largest one that leaves no fraction.

    ``1024Mi`` → ``1Gi``, ``0.5`` → ``500m``, ``1000m`` → ``1``, ``12000e3`` → ``12e6``.
    """
    match = GRAMMAR.fullmatch(quantity.text)
    suffix = (match["suffix"] or "") if match is not None else ""
    exponent = match is not None and match["exponent"] is not None
    if suffix in BINARY and abs(quantity.milli) >= 1024 * 1000 and quantity.milli % 1000 == 0:
        return _binary(quantity.value)
    return _decimal(quantity.milli, exponent=exponent)


def _binary(value: int) -> str:
    power = 0
    while value % 1024 == 0 and power < len(BINARY):
        value //= 1024
        power += 1
    return f"{value}{['', *BINARY][power]}"


def _decimal(milli: int, *, exponent: bool) -> str:
    if milli == 0:
        return "0"
    power = -3
    while milli % 1000 == 0 and power < 18:
        milli //= 1000
        power += 3
    if exponent:
        return f"{milli}e{power}" if power else str(milli)
    return f"{milli}{next(name for name, tens in DECIMAL.items() if tens == power)}"
