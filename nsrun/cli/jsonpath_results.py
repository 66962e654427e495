"""What JSONPath templates find in documents, and how it is written. Pure.

As kubectl with ``--allow-missing-template-keys`` (its default): a field that is not there gives nothing, an index
beyond an array is an error. Other than kubectl's, a comparison of values of different kinds is not an error but
false."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from nsrun.cli.jsonpath import Field, Filter, Literal, Node, Path, Range, Recursive, Slice, Step, Text, Union, Wildcard
from nsrun.errors import NsrunError

__all__ = ["find", "results", "text_of", "write"]


def write(template: Sequence[Node], document: object) -> str:
    """The text of a template: of what a path finds, each value in its own words, with blanks between. Raises
    NsrunError."""
    return "".join(_written(template, document, document))


def results(template: Sequence[Node], document: object) -> list[object]:
    """All that the paths of a template find, for ``jsonpath-as-json``. Raises NsrunError."""
    return [value for node in template for value in _found(node, document, document)]


def find(path: Path, document: object) -> list[object]:
    """All that is at a path. Raises NsrunError."""
    return _follow(path, document, document)


def _written(nodes: Sequence[Node], value: object, root: object) -> Iterator[str]:
    for node in nodes:
        match node:
            case Text(text=text):
                yield text
            case Path():
                yield " ".join(text_of(found) for found in _follow(node, value, root))
            case Range(path=path, body=body):
                for element in _follow(path, value, root):
                    yield from _written(body, element, root)


def _found(node: Node, value: object, root: object) -> Iterator[object]:
    match node:
        case Text(text=text):
            yield text
        case Path():
            yield from _follow(node, value, root)
        case Range(path=path, body=body):
            for element in _follow(path, value, root):
                for inner in body:
                    yield from _found(inner, element, root)


def text_of(value: object) -> str:
    """A value in its own words: text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _follow(path: Path, value: object, root: object) -> list[object]:
    values = [root if path.root else value]
    for step in path.steps:
        values = list(_step(step, values, root))
    return values


def _step(step: Step, values: Sequence[object], root: object) -> Iterator[object]:
    match step:
        case Union(items=items):
            for item in items:
                yield from _step(item, values, root)
        case Filter():
            for value in values:
                yield from (element for element in _elements(value) if _passes(step, element, root))
        case _:
            for value in values:
                yield from _one(step, value)


def _one(step: Step, value: object) -> Iterable[object]:
    match step:
        case Field():
            return _field(step, value)
        case Slice():
            return _slice(step, value)
        case Recursive():
            return _below(value)
        case Wildcard():
            return _elements(value)
    raise AssertionError(step)


def _field(field: Field, value: object) -> Iterable[object]:
    if isinstance(value, Mapping) and field.name in value:
        return (value[field.name],)
    for part in field.parts:
        if not isinstance(value, Mapping) or part not in value:
            return ()
        value = value[part]
    return (value,) if field.parts else ()


def _slice(step: Slice, value: object) -> Sequence[object]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise NsrunError(f"cannot use jsonpath: an index is for an array, not for {text_of(value)[:40]}")
    if not step.single:
        return value[step.start : step.end : step.step]
    index = step.start or 0
    if not -len(value) <= index < len(value):
        raise NsrunError(f"cannot use jsonpath: index {index} is outside an array of {len(value)}")
    return (value[index],)


def _below(value: object) -> Iterator[object]:
    yield value
    for element in _elements(value):
        yield from _below(element)


def _elements(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list) else ()


def _passes(condition: Filter, element: object, root: object) -> bool:
    left = _operand(condition.left, element, root)
    if condition.right is None:
        return bool(left)
    right = _operand(condition.right, element, root)
    if len(left) != 1 or len(right) != 1:
        return False
    return _compare(condition.operator, left[0], right[0])


def _operand(operand: Path | Literal, element: object, root: object) -> Sequence[object]:
    return (operand.value,) if isinstance(operand, Literal) else _follow(operand, element, root)


def _compare(sign: str, left: object, right: object) -> bool:
    if sign in ("==", "!="):
        same = left == right and isinstance(left, bool) is isinstance(right, bool)
        return same is (sign == "==")
    if isinstance(left, str) and isinstance(right, str):  # noqa: SIM114 (of one type each)
        order = (left > right) - (left < right)
    elif isinstance(left, int | float) and isinstance(right, int | float):
        order = (left > right) - (left < right)
    else:
        return False
    return {"<": order < 0, "<=": order <= 0, ">": order > 0, ">=": order >= 0}[sign]
