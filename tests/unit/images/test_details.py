"""What is told of an image: its history, its document, and which image is meant."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nsrun.errors import ImageError, NotFoundError
from nsrun.images.details import Details, details, document, history
from nsrun.images.layers import Layers
from nsrun.images.lookup import find_image, new_name
from nsrun.images.reference import parse_reference
from nsrun.images.shortnames import ShortNames
from nsrun.images.store import Store
from tests.layouts import Blob, ImageParts, LayoutBuilder, layer_tar
from tests.unit.images.test_save import take

LAYERS = [layer_tar({"a": b"1"}), layer_tar({"b": b"2"})]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "images")
    made.open()
    return made


def added(store: Store, tmp_path: Path, name: str = "x", **more: object) -> Details:
    """An image of two layers, with more in its configuration."""
    parts = ImageParts.make(LAYERS)
    config = Blob(
        data=json.dumps({**json.loads(parts.config.data), **more}).encode(), media_type=parts.config.media_type
    )
    manifest = {**json.loads(parts.manifest.data), "config": config.descriptor}
    whole = ImageParts(
        manifest=Blob(data=json.dumps(manifest).encode(), media_type=parts.manifest.media_type),
        config=config,
        layers=parts.layers,
    )
    source = LayoutBuilder(tmp_path / f"source-{name.replace('/', '_')}")
    source.image(name, whole)
    take(store, source.path)
    return details(store, find_image(store, name, "show"))


def test_steps_without_layers(store: Store, tmp_path: Path) -> None:
    made = [
        {"created_by": "base"},
        {"created_by": "ENV", "empty_layer": True},
        {"created_by": "top", "created": "2026-01-01T00:00:00Z", "comment": "c"},
    ]
    steps = history(found := added(store, tmp_path, history=made))
    assert [(step.created_by, step.diff_id) for step in steps] == [
        ("top", found.diff_ids[1]),
        ("ENV", ""),
        ("base", found.diff_ids[0]),
    ]
    assert (steps[0].created, steps[0].comment) == ("2026-01-01T00:00:00Z", "c")


@pytest.mark.parametrize("made", [[], [{"created_by": "one"}], [{}, {}, {}, {}]])
def test_every_layer_is_told_once(store: Store, tmp_path: Path, made: list[object]) -> None:
    found = added(store, tmp_path, history=made)
    steps = history(found)
    assert sorted(step.diff_id for step in steps if step.diff_id) == sorted(found.diff_ids)
    assert len(steps) == max(len(made), 2)


def test_the_document_is_dockers(store: Store, tmp_path: Path) -> None:
    found = added(store, tmp_path, created="2026-01-01T00:00:00Z", author="me", variant="v2")
    store.tag(replace(found.image, reference=parse_reference("q.io/y:1")))
    told = document(details(store, found.image), Layers(tmp_path / "layers"))
    assert told["Id"] == found.id
    assert told["RepoTags"] == ["docker.io/library/x:latest", "q.io/y:1"]
    assert told["RepoDigests"] == [
        f"docker.io/library/x@{found.image.digest}",
        f"q.io/y@{found.image.digest}",
    ]
    assert (told["Created"], told["Author"], told["Variant"]) == ("2026-01-01T00:00:00Z", "me", "v2")
    assert told["Config"] == {"Cmd": ["/hello"], "Env": ["PATH=/bin"]}
    assert told["RootFS"] == {"Type": "layers", "Layers": list(found.diff_ids)}
    top, below = (f"{tmp_path}/layers/{diff_id.replace(':', '/')}/diff" for diff_id in reversed(found.diff_ids))
    assert told["GraphDriver"] == {"Name": "overlay", "Data": {"LowerDir": below, "UpperDir": top}}


def test_an_image_is_meant_by_name_id_or_digest(store: Store, tmp_path: Path) -> None:
    found = added(store, tmp_path)
    encoded = found.id.partition(":")[2]
    for text in ("x", "docker.io/library/x:latest", encoded, encoded[:4], f"sha256:{encoded}", found.image.digest[:20]):
        assert find_image(store, text, "show") == found.image
    with pytest.raises(NotFoundError, match=r'^cannot show image "abc": there is no such image$'):
        find_image(store, "abc", "show")
    with pytest.raises(ImageError, match="must be lower case"):
        find_image(store, "X", "show")


def test_short_names_are_those_of_registries_conf(store: Store, tmp_path: Path) -> None:
    found = added(store, tmp_path, "q.io/x:latest")
    with pytest.raises(NotFoundError):
        find_image(store, "x", "show")
    assert find_image(store, "x", "show", ShortNames(registries=("nowhere.io", "q.io"))) == found.image


def test_ids_that_begin_alike_are_not_guessed(store: Store, tmp_path: Path) -> None:
    """Authors whose images have IDs of the same first four digits, found by trying."""
    for author in ("167", "299"):
        added(store, tmp_path, f"x{author}", author=author)
    ids = [details(store, image).id.partition(":")[2] for image in store.images()]
    assert ids[0][:4] == ids[1][:4]
    with pytest.raises(ImageError, match="the IDs of 2 begin so"):
        find_image(store, ids[0][:4], "show")
    assert find_image(store, ids[0][:12], "show") == store.images()[0]


@pytest.mark.parametrize("text", [f"x@sha256:{'0' * 64}", "X", "", "a b"])
def test_names_that_cannot_be_given(text: str) -> None:
    with pytest.raises(ImageError, match="cannot use image name") as caught:
        new_name(text)
    assert caught.value.reason == "InvalidImageName"
