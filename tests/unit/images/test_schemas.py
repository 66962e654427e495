"""Our schemas: what is found to fit without a library fits by the library, too, and the other way round."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from copy import deepcopy

import pytest
from jsonschema import Draft202012Validator

from nsrun.images import schemas
from nsrun.images.schemafit import fits
from tests.layouts import ImageParts

NAMES = schemas._NAMES
NUMBERS: list[object] = [0, 1, -1, 2, 1 << 63, 2.5, True, False]
TEXTS: list[object] = ["", "x", "a/b", "sha256:" + "0" * 64]
ODD = [None, *NUMBERS, *TEXTS, [], [None], ["x"], {}, {"x": None}, {"x": {}}]


def documents() -> dict[str, object]:
    parts = ImageParts.make(config={"Env": ["A=b"], "Cmd": ["x"], "Volumes": {"/d": {}}, "Labels": {"a": "b"}})
    manifest = json.loads(parts.manifest.data)
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{**parts.manifest.descriptor, "platform": {"os": "linux", "architecture": "amd64"}}],
    }
    docker = "application/vnd.docker.distribution.manifest"
    return {
        "descriptor": {**parts.manifest.descriptor, "urls": ["x"], "annotations": {"a": "b"}},
        "oci-manifest": manifest,
        "oci-index": index,
        "docker-manifest": {**manifest, "mediaType": f"{docker}.v2+json"},
        "docker-list": {**index, "mediaType": f"{docker}.list.v2+json"},
        "image-config": json.loads(parts.config.data),
    }


def places(value: object) -> Iterator[tuple[object, object]]:
    """Every container in a document, with each of its keys."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield value, key
            yield from places(item)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield value, number
            yield from places(item)


def changed(document: object, chance: random.Random) -> object:
    """The document with one thing replaced, removed or added."""
    found = list(places(new := deepcopy(document)))
    container, key = chance.choice(found)
    match chance.randrange(3):
        case 0:
            container[key] = chance.choice(ODD)  # type: ignore[index]
        case 1:
            del container[key]  # type: ignore[attr-defined]
        case _ if isinstance(container, dict):
            container[chance.choice(["x", "layers", "manifests", "config", "fsLayers", "mediaType"])] = chance.choice(
                ODD
            )
        case _:
            container.append(chance.choice(ODD))  # type: ignore[attr-defined]
    return new


@pytest.mark.parametrize("name", NAMES)
def test_honest_documents_need_no_library(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "_validator", None)
    assert schemas.schema_problem(name, documents()[name]) is None


@pytest.mark.parametrize("name", NAMES)
def test_both_judge_alike(name: str) -> None:
    known = schemas._schemas()
    own = known[f"urn:nsrun:{name}"]
    library: Draft202012Validator = schemas._validator(name)
    chance = random.Random(name)
    judged = set()
    for _ in range(400):
        document = changed(documents()[name], chance)
        if chance.random() < 0.3:
            document = changed(document, chance)
        verdict = fits(document, own, own, known)
        assert verdict == library.is_valid(document), document
        judged.add(verdict)
    assert judged == {True, False}
