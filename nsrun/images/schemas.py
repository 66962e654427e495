"""Our JSON schemas of the image documents, written from the OCI image-spec and Docker's manifest v2 schema 2."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

__all__ = ["schema_problem"]

_NAMES = ("descriptor", "docker-list", "docker-manifest", "image-config", "oci-index", "oci-manifest")
_LONG = 160  # longer messages repeat the document


def schema_problem(name: str, document: object) -> str | None:
    """The first thing that is wrong with ``document`` as ``place: text``, or None when it fits the schema ``name``."""
    for error in _validator(name).iter_errors(document):
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
        text = error.message if len(error.message) < _LONG else f"does not fit ({error.validator})"
        return f"{place.lstrip('.') or 'the document'}: {text}"
    return None


@cache
def _validator(name: str) -> Draft202012Validator:
    # jsonschema costs more to import than the rest of a start: whoever pulls nothing does not pay for it.
    from jsonschema import Draft202012Validator
    from referencing import Registry, Resource

    schemas = {each: json.loads(_read(each)) for each in _NAMES}
    registry = Registry().with_resources([(s["$id"], Resource.from_contents(s)) for s in schemas.values()])
    return Draft202012Validator(schemas[name], registry=registry)


def _read(name: str) -> str:
    return (resources.files("nsrun.images") / "schema" / f"{name}.json").read_text()
