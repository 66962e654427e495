"""Nodes → values, by tables. Decoders never stop at a fault: they report it and go on with something harmless, so that
one reading finds every fault there is.

A decoder takes a Place and returns a value, or MISSING after it has reported why there is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum
from typing import Any, Final, Generic, TypeVar

from nsrun.model.quantity import parse_quantity
from nsrun.model.resources import Quantity
from nsrun.model.tree import Entry, ListNode, MapNode, Node, Problem, ScalarNode
from nsrun.model.wording import Path, listed, quoted, render_path, suggestion

__all__ = [
    "MISSING",
    "TEXTS",
    "Decoder",
    "Missing",
    "Place",
    "Refused",
    "Report",
    "Shape",
    "boolean",
    "choice",
    "describe",
    "inert",
    "integer",
    "list_of",
    "mapping_of",
    "means_nothing",
    "number_or_text",
    "one_of",
    "quantity",
    "some",
    "text",
    "without",
]


class Missing(Enum):
    """The type of MISSING."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING
DIGITS = re.compile(r"[0-9]{1,9}")
T = TypeVar("T")


@dataclass(slots=True)
class Report:
    """What was found in one document. ``faulty``: paths that have a problem, whose values are placeholders. ``inert``:
    fields that Kubernetes knows and that have no effect with one node; they are told together. ``node_name``: of that
    node, "" when it does not matter."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    faulty: set[Path] = field(default_factory=set)
    inert: list[Problem] = field(default_factory=list)
    node_name: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A node, where it is, and where to report."""

    node: Node
    path: Path
    report: Report

    def child(self, part: str | int, node: Node) -> Place:
        return Place(node, (*self.path, part), self.report)

    def problem(self, text: str, *, at: Entry | None = None) -> Missing:
        """Reports a problem with this value (or, with ``at``, with a key in it). Returns MISSING."""
        path = self.path if at is None else (*self.path, at.key)
        self.report.faulty.add(path)
        self.report.problems.append(_said(self.node if at is None else at, path, text))
        return MISSING

    def warning(self, text: str, *, at: Entry | None = None) -> None:
        path = self.path if at is None else (*self.path, at.key)
        self.report.warnings.append(_said(self.node if at is None else at, path, text))

    def has_no_effect(self, at: Entry) -> None:
        """Notes a key that says something to Kubernetes and nothing to one node."""
        self.report.inert.append(_said(at, (*self.path, at.key), ""))


def _said(at: Node | Entry, path: Path, text: str) -> Problem:
    return Problem(line=at.line, column=at.column, path=render_path(path), text=text)


def _is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.value is None


Decoder = Callable[[Place], Any]


def describe(node: Node) -> str:
    """What a node is, for ``must be …, not …``."""
    if isinstance(node, MapNode):
        return "a mapping"
    if isinstance(node, ListNode):
        return "a list"
    if node.value is None:
        return "null"
    if isinstance(node.value, bool):
        return f"the boolean {node.text}"
    return quoted(node.text) if isinstance(node.value, str) else f"the number {node.text}"


def means_nothing(node: Node, default: object = None) -> bool:
    """Whether leaving the field out would say the same: null, empty, or its default (of a tuple: one of them)."""
    if isinstance(default, tuple):
        return any(means_nothing(node, one) for one in default)
    if isinstance(node, MapNode):
        plain = {e.key: e.value.value for e in node.entries if isinstance(e.value, ScalarNode)}
        return not node.entries or (len(plain) == len(node.entries) and plain == default)
    if isinstance(node, ListNode):
        return not node.items
    return node.value is None or (node.value == default and type(node.value) is type(default))


def text(place: Place) -> str | Missing:
    """A string."""
    node = place.node
    if not isinstance(node, ScalarNode) or node.value is None:
        return place.problem(f"must be a string, not {describe(node)}")
    if not isinstance(node.value, str):
        return place.problem(f"must be a string, not {describe(node)}: write it in quotes, {quoted(node.text)}")
    return node.value


def integer(place: Place) -> int | Missing:
    """A whole number."""
    node = place.node
    value = node.value if isinstance(node, ScalarNode) else None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return place.problem(f"must be a whole number, not {describe(node)}")
    return value


def number_or_text(place: Place) -> int | str | Missing:
    """A number, or a name in its place: a port."""
    node = place.node
    if isinstance(node, ScalarNode) and isinstance(node.value, str):
        return int(node.value) if DIGITS.fullmatch(node.value) else node.value
    if not isinstance(node, ScalarNode) or node.value is None or isinstance(node.value, bool):
        return place.problem(f"must be a number or a name, not {describe(node)}")
    return integer(place)


def boolean(place: Place) -> bool | Missing:
    """true or false."""
    node = place.node
    if isinstance(node, ScalarNode) and isinstance(node.value, bool):
        return node.value
    return place.problem(f"must be true or false, not {describe(node)}")


def choice(kind: type[StrEnum]) -> Decoder:
    """One of the values of an enumeration."""

    def decode(place: Place) -> StrEnum | Missing:
        value = text(place)
        if isinstance(value, Missing):
            return MISSING
        if value not in kind.__members__.values():
            known = [str(member) for member in kind]
            hint = suggestion(value, filter(None, known))
            return place.problem(f"must be {listed(known)}, not {quoted(value)}{hint}")
        return kind(value)

    return decode


def quantity(place: Place) -> Quantity | Missing:
    """A resource quantity; numbers need no quotes."""
    node = place.node
    value = node.value if isinstance(node, ScalarNode) else None
    if value is None or isinstance(value, bool):
        return place.problem(f"must be a quantity such as 500m, 2 or 64Mi, not {describe(node)}")
    try:
        return parse_quantity(str(value))
    except ValueError:
        return place.problem(f"must be a quantity such as 500m, 2 or 64Mi, not {describe(node)}")


def list_of(decode: Decoder, placeholder: object) -> Decoder:
    """A list; ``placeholder`` stands where an item is broken, so that the others keep their indexes."""

    def decode_list(place: Place) -> tuple[Any, ...] | Missing:
        if not isinstance(place.node, ListNode):
            return place.problem(f"must be a list, not {describe(place.node)}")
        items = [decode(place.child(index, node)) for index, node in enumerate(place.node.items)]
        return tuple(placeholder if item is MISSING else item for item in items)

    return decode_list


def some(decode: Decoder) -> Decoder:
    """An empty list is as good as none."""

    def decode_some(place: Place) -> Any:
        return decode(place) or None

    return decode_some


TEXTS = list_of(text, "")


def without(*names: str) -> Mapping[str, object]:
    """Fields that mean nothing only when they are null or empty."""
    return dict.fromkeys(names)


def mapping_of(decode: Decoder, *, null: object = MISSING) -> Decoder:
    """A mapping with free keys. What is broken is left out; null stands for ``null``."""

    def decode_mapping(place: Place) -> dict[str, Any] | Missing:
        if not isinstance(place.node, MapNode):
            return place.problem(f"must be a mapping, not {describe(place.node)}")
        values = {e.key: null if _is_null(e.value) else decode(place.child(e.key, e.value)) for e in place.node.entries}
        return {key: value for key, value in values.items() if value is not MISSING}

    return decode_mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A field without which something else would run than was asked for. ``harmless``: as in ``means_nothing``."""

    text: str = "is not supported"
    harmless: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape(Generic[T]):
    """A mapping with known keys. It is a decoder itself.

    ``fields``: key → name of ``build``'s argument, and decoder. ``blank``: arguments ``build`` cannot do without, when
    they are missing or broken. ``required``: keys that must be there. ``silent``: keys that say nothing to nsrun.
    ``ignored``: keys that Kubernetes knows and that have no effect with one node, each with the value that would mean
    nothing. ``refused``: keys where going on without them would run something else than was asked for.
    """

    build: Callable[..., T]
    fields: Mapping[str, tuple[str, Decoder]]
    blank: Mapping[str, object] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    silent: frozenset[str] = frozenset()
    ignored: Mapping[str, object] = field(default_factory=dict)
    refused: Mapping[str, Refused] = field(default_factory=dict)

    def __call__(self, place: Place) -> T:
        if not isinstance(place.node, MapNode):
            place.problem(f"must be a mapping, not {describe(place.node)}")
            return self.build(**self.blank)
        arguments = dict(self.blank)
        for entry in place.node.entries:
            if entry.key not in self.fields:
                self._unknown(place, entry)
            elif not _is_null(entry.value):
                name, decode = self.fields[entry.key]
                value = decode(place.child(entry.key, entry.value))
                if value is not MISSING:
                    arguments[name] = value
        self._check_required(place, place.node)
        return self.build(**arguments)

    def _check_required(self, place: Place, node: MapNode) -> None:
        for key in self.fields:
            entry = node.get(key)
            absent = entry is None or (isinstance(entry.value, ScalarNode) and entry.value.value in (None, ""))
            if key in self.required and absent:
                child = place.child(key, node if entry is None else entry.value)
                child.problem("is required")

    def _unknown(self, place: Place, entry: Entry) -> None:
        if entry.key in self.refused:
            refused = self.refused[entry.key]
            if not means_nothing(entry.value, refused.harmless):
                place.problem(refused.text, at=entry)
        elif entry.key in self.ignored:
            if not means_nothing(entry.value, self.ignored[entry.key]):
                place.has_no_effect(entry)
        elif entry.key not in self.silent:
            known = {*self.fields, *self.ignored, *self.refused, *self.silent}
            place.warning(f"is not a known field, ignored{suggestion(entry.key, known)}", at=entry)


def inert(decode: Decoder, harmless: object = None) -> Decoder:
    """A field that is kept for whoever asks for it, and has no effect otherwise."""

    def decode_inert(place: Place) -> Any:
        value = decode(place)
        if value is not MISSING and not means_nothing(place.node, harmless):
            place.report.inert.append(_said(place.node, place.path, ""))
        return value

    return decode_inert


def one_of(
    place: Place, ways: Mapping[str, Decoder], rest: Shape[dict[str, Any]], *, only_one: str
) -> tuple[Any, dict[str, Any]]:
    """A mapping that says one thing in one of several ``ways``, beside the fields of ``rest``. Returns what it says
    (None when it names no way, MISSING when what it names is broken) and the rest.

    A way that is named and left empty (``emptyDir:``) is that way, with its defaults. ``only_one``: the end of the
    sentence about a second one.
    """
    others = replace(rest, silent=rest.silent | ways.keys())(place)
    said: list[Any] = []
    for entry in place.node.entries if isinstance(place.node, MapNode) else ():
        if entry.key not in ways:
            continue
        if said:
            place.problem(f"must not stand beside another {only_one}", at=entry)
        child = place.child(entry.key, entry.value)
        said.append(ways[entry.key](_filled(child)))
    return (said[0] if said else None), others


def _filled(place: Place) -> Place:
    if isinstance(place.node, MapNode) or not means_nothing(place.node):
        return place
    empty = MapNode(line=place.node.line, column=place.node.column, entries=(), size=1, height=0)
    return Place(empty, place.path, place.report)
