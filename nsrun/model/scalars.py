"""What a YAML scalar means, as sigs.k8s.io/yaml (go-yaml v2, YAML 1.1) decides it, so that every manifest means here
what it means in a cluster: ``yes``, ``on`` and ``y`` are booleans, ``010`` is eight, ``1:30`` and ``2001-01-01`` text.
"""

from __future__ import annotations

import math
import re

from nsrun.model.wording import quoted

__all__ = ["key_text", "resolve"]

PREFIX = "tag:yaml.org,2002:"
TRUE = frozenset(["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"])
FALSE = frozenset(["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"])
NULL = frozenset(["", "~", "null", "Null", "NULL"])
NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
INTEGER = re.compile(r"(?P<sign>[-+]?)(?:0[xX](?P<hex>[0-9a-fA-F]+)|0[bB](?P<binary>[01]+)|0[oO]?(?P<octal>[0-7]+)"
                     r"|(?P<decimal>0|[1-9][0-9]*))")  # fmt: skip
BASES = {"hex": 16, "binary": 2, "octal": 8, "decimal": 10}
LONGEST = 80
"""Longer numbers are no numbers: nothing in a manifest needs them, and converting them costs time."""

Value = str | int | float | bool | None


def resolve(text: str, tag: str | None, *, plain: bool) -> Value:
    """The value of a scalar. ``plain``: written without quotes. Raises ValueError with what is wrong."""
    if tag is None:
        return _plain(text) if plain else text
    if tag in ("!", f"{PREFIX}str"):
        return text
    name = tag.removeprefix(PREFIX)
    if name not in ("bool", "int", "float", "null"):
        raise ValueError(f"tag {quoted(tag)} is not supported")
    value = _plain(text)
    kinds: dict[str, type] = {"bool": bool, "int": int, "float": float, "null": type(None)}
    if name == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kinds[name]:
        raise ValueError(f"must be of the type its tag names, {name}, not {quoted(text)}")
    return value


def _plain(text: str) -> Value:
    if text in NULL:
        return None
    if text in TRUE:
        return True
    if text in FALSE:
        return False
    if NOT_FINITE.fullmatch(text):
        raise ValueError(f"must be a finite number, not {text}")
    return _number(text)


def _number(text: str) -> str | int | float:
    if len(text) > LONGEST or text[0] not in "+-.0123456789":
        return text
    digits = text.replace("_", "")
    match = INTEGER.fullmatch(digits)
    if match is not None:
        base = next(name for name in BASES if match[name] is not None)
        value = int(match[base], BASES[base]) * (-1 if match["sign"] == "-" else 1)
        return value if -(1 << 63) <= value < 1 << 64 else float(value)
    if not FLOAT.fullmatch(digits):
        return text
    if math.isinf(number := float(digits)):
        raise ValueError(f"must be a finite number, not {quoted(text)}")
    return number


def key_text(value: Value) -> str | None:
    """A key as JSON has it, text: ``1`` → ``"1"``, ``on`` → ``"true"``. None stands for null, which cannot be a key."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)
