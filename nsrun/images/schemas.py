"""Our JSON schemas of the image documents, written from the OCI image-spec and Docker's manifest v2 schema 2."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from nsrun.images.schemafit import Schema, Unknown, fits

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

__all__ = ["schema_problem"]

_NAMES = ("descriptor", "docker-list", "docker-manifest", "image-config", "oci-index", "oci-manifest")
_DIRECTORY = Path(__file__).parent / "schema"
_LONG = 160  # longer messages repeat the document


def schema_problem(name: str, document: object) -> str | None:
    """The first thing that is wrong with ``document`` as ``place: text``, or None when it fits the schema ``name``."""
    if _fits(name, document):
        return None
    for error in _validator(name).iter_errors(document):
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
        text = error.message if len(error.message) < _LONG else f"does not fit ({error.validator})"
        return f"{place.lstrip('.') or 'the document'}: {text}"
    return None


def _fits(name: str, document: object) -> bool:
    schemas = _schemas()
    own = schemas[f"urn:nsrun:{name}"]
    try:
        return fits(document, own, own, schemas)
    except (Unknown, RecursionError):
        return False


@cache
def _schemas() -> Mapping[str, Schema]:
    found = [json.loads((_DIRECTORY / f"{name}.json").read_bytes()) for name in _NAMES]
    return {schema["$id"]: schema for schema in found}


@cache
def _validator(name: str) -> Draft202012Validator:
    # jsonschema takes longer to import than the rest of a pull's start: only a document that does not fit pays for it.
    from jsonschema import Draft202012Validator
    from referencing import Registry, Resource

    schemas = _schemas()
    registry = Registry().with_resources([(urn, Resource.from_contents(schema)) for urn, schema in schemas.items()])
    return Draft202012Validator(schemas[f"urn:nsrun:{name}"], registry=registry)
