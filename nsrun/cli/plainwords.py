"""The words of ``nsrun exec`` when there is nothing odd about them, read in microseconds: click takes as long to load
as the command to run. Whatever is not plain is click's: help, mistakes, and all that says what was wrong. Pure."""

from __future__ import annotations

from nsrun.cli.flagtable import EXEC, PLACES, FlagRow
from nsrun.support.record import Record

TYPE_CHECKING = False  # `typing` is dear, and `nsrun exec` in a hurry
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

__all__ = ["PlainWords", "plain_exec"]


class PlainWords(Record):
    """What was said. Parameter → value: ``places``, those of PLACES that are given; ``flags``, those of EXEC."""

    __slots__ = ("flags", "places", "pod", "words")

    def __init__(self, places: dict[str, str], flags: dict[str, Any], pod: str, words: tuple[str, ...]) -> None:
        self.places = places
        self.flags = flags
        self.pod = pod
        self.words = words


class _Odd(Exception):
    """Not plain."""


def plain_exec(arguments: Sequence[str], environment: Mapping[str, str]) -> PlainWords | None:
    """What click makes of these words of the command line, or None: then ask click."""
    words = list(arguments)
    try:
        places = {row.parameter: environment[row.variable] for row in PLACES if environment.get(row.variable)}
        places |= {name: value for name, value in _flags(words, PLACES).items() if isinstance(value, str)}
        if words[:1] != ["exec"] or "" in places.values() or any(row.variable in environment for row in EXEC):
            return None
        del words[0]
        flags = _flags(words, EXEC)
        pod = words.pop(0) if words else ""
        if words[:1] != ["--"] and words and words[0].startswith("-"):
            flags |= _flags_behind_pod(words)
        words = words[1:] if words[:1] == ["--"] else words
        return PlainWords(places, flags, pod, tuple(words)) if pod and words else None
    except _Odd:
        return None


def _flags_behind_pod(words: list[str]) -> dict[str, Any]:
    """As kubectl has it: ``POD -c app -- CMD``."""
    if "--" not in words:
        raise _Odd
    end = words.index("--")
    between = words[:end]
    flags = _flags(between, EXEC)
    if between:
        raise _Odd
    del words[:end]
    return flags


def _flags(words: list[str], rows: Sequence[FlagRow]) -> dict[str, Any]:
    """Takes flags and their values off the front."""
    found: dict[str, Any] = {}
    while words and words[0].startswith("-"):
        word = words.pop(0)
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            row = _row(name, rows)
            if row.switch and equals:
                raise _Odd
            found[row.parameter] = row.switch or (value if equals else _value(words))
        else:
            _short_flags(word, words, rows, found)
    return found


def _short_flags(word: str, words: list[str], rows: Sequence[FlagRow], found: dict[str, Any]) -> None:
    """``-it``, ``-c app``, ``-capp``, ``-itc app``."""
    letters = word[1:]
    if not letters:
        raise _Odd
    while letters:
        row, letters = _row(f"-{letters[0]}", rows), letters[1:]
        if row.switch:
            found[row.parameter] = True
        else:
            found[row.parameter] = letters or _value(words)
            return


def _row(name: str, rows: Sequence[FlagRow]) -> FlagRow:
    for row in rows:
        if name in row.names:
            return row
    raise _Odd


def _value(words: list[str]) -> str:
    if not words or words[0].startswith("-"):
        raise _Odd
    return words.pop(0)
