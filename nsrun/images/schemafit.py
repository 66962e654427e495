"""Whether a document fits a schema: yes or no, and only what our own schemas say (JSON Schema 2020-12, a part of it).

Almost every document fits. That is found out here, without a library that takes longer to load than an image to be
resolved; what does not fit, or uses what is not known here, is for ``schemas`` to judge by ``jsonschema`` and to tell.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

__all__ = ["Unknown", "fits"]

Schema = Mapping[str, object]

_TYPES: Mapping[str, Callable[[object], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "null": lambda value: value is None,
}
_SAY_NOTHING = frozenset({"$schema", "$id", "$defs", "title", "description"})


class Unknown(Exception):
    """The schema says something that is not known here."""


def fits(value: object, schema: Schema, root: Schema, schemas: Mapping[str, Schema]) -> bool:
    """``root``: what ``#/`` in references means; ``schemas``: by ``$id``. Raises Unknown."""
    for keyword, said in schema.items():
        if keyword in _SAY_NOTHING:
            continue
        check = _KEYWORDS.get(keyword)
        if check is None:
            raise Unknown(keyword)
        if not check(value, said, root, schemas):
            return False
    return True


def _type(value: object, said: object, *_: object) -> bool:
    kinds = [_TYPES.get(str(name)) for name in (said if isinstance(said, list) else [said])]
    if None in kinds:
        raise Unknown(said)
    return any(kind(value) for kind in kinds if kind is not None)


def _const(value: object, said: object, *_: object) -> bool:
    return type(value) is type(said) and value == said


def _required(value: object, said: Sequence[str], *_: object) -> bool:
    return not isinstance(value, dict) or all(name in value for name in said)


def _properties(value: object, said: Mapping[str, Schema], root: Schema, schemas: Mapping[str, Schema]) -> bool:
    if not isinstance(value, dict):
        return True
    return all(fits(value[name], schema, root, schemas) for name, schema in said.items() if name in value)


def _additional(value: object, said: Schema, root: Schema, schemas: Mapping[str, Schema]) -> bool:
    """Where it is used, no ``properties`` stand beside it."""
    return not isinstance(value, dict) or all(fits(item, said, root, schemas) for item in value.values())


def _items(value: object, said: Schema, root: Schema, schemas: Mapping[str, Schema]) -> bool:
    return not isinstance(value, list) or all(fits(item, said, root, schemas) for item in value)


def _pattern(value: object, said: str, *_: object) -> bool:
    return not isinstance(value, str) or re.search(said, value) is not None


def _not(value: object, said: Schema, root: Schema, schemas: Mapping[str, Schema]) -> bool:
    return not fits(value, said, root, schemas)


def _all_of(value: object, said: Sequence[Schema], root: Schema, schemas: Mapping[str, Schema]) -> bool:
    return all(fits(value, schema, root, schemas) for schema in said)


def _any_of(value: object, said: Sequence[Schema], root: Schema, schemas: Mapping[str, Schema]) -> bool:
    return any(fits(value, schema, root, schemas) for schema in said)


def _follow(value: object, said: str, root: Schema, schemas: Mapping[str, Schema]) -> bool:
    name, _, path = said.partition("#")
    home = schemas[name] if name else root
    schema: object = home
    for part in filter(None, path.split("/")):
        if not isinstance(schema, dict):
            raise Unknown(said)
        schema = schema[part]
    if not isinstance(schema, dict):
        raise Unknown(said)
    return fits(value, schema, home, schemas)


def _number(compare: Callable[[int, int], bool]) -> Callable[..., bool]:
    return lambda value, said, *_: not _TYPES["integer"](value) or compare(value, said)


def _length(kind: type[str] | type[list[object]], compare: Callable[[int, int], bool]) -> Callable[..., bool]:
    return lambda value, said, *_: not isinstance(value, kind) or compare(len(value), said)


_KEYWORDS: Mapping[str, Callable[..., bool]] = {
    "type": _type,
    "const": _const,
    "required": _required,
    "properties": _properties,
    "additionalProperties": _additional,
    "items": _items,
    "pattern": _pattern,
    "minimum": _number(lambda value, said: value >= said),
    "maximum": _number(lambda value, said: value <= said),
    "maxLength": _length(str, lambda length, said: length <= said),
    "minItems": _length(list, lambda length, said: length >= said),
    "$ref": _follow,
    "not": _not,
    "allOf": _all_of,
    "anyOf": _any_of,
}
