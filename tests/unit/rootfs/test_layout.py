"""How an image layout is written."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import zstandard

from rootfs.build import SETS, fingerprint
from rootfs.ocilayout import LAYER, Layer, LayoutWriter
from rootfs.recipes import RECIPES

WHERE = {"os": "linux", "architecture": "amd64"}


def layer(text: bytes) -> Layer:
    return Layer(tar=text, comment="", created=0)


def blob(directory: Path, digest: str) -> bytes:
    return (directory / "blobs" / digest.replace(":", "/")).read_bytes()


@pytest.mark.parametrize("compression", [0, 1, 6])
def test_layers_are_packed_or_not(tmp_path: Path, compression: int) -> None:
    writer = LayoutWriter(tmp_path / "layout", compression=compression)
    digest = writer.add_image(["a:1"], [layer(b"tar" * 1000)], {}, WHERE)
    (found,) = json.loads(blob(tmp_path / "layout", digest))["layers"]
    content = blob(tmp_path / "layout", found["digest"])
    assert found["mediaType"] == (f"{LAYER}+gzip" if compression else LAYER)
    assert (gzip.decompress(content) if compression else content) == b"tar" * 1000
    assert found["size"] == len(content)


def test_a_layer_may_be_packed_by_zstd(tmp_path: Path) -> None:
    writer = LayoutWriter(tmp_path / "layout")
    digest = writer.add_image(["a:1"], [Layer(tar=b"tar" * 1000, comment="", created=0, zstd=True)], {}, WHERE)
    (found,) = json.loads(blob(tmp_path / "layout", digest))["layers"]
    assert found["mediaType"] == f"{LAYER}+zstd"
    assert zstandard.decompress(blob(tmp_path / "layout", found["digest"])) == b"tar" * 1000


def test_an_image_may_have_many_names_and_share_its_layers(tmp_path: Path) -> None:
    writer = LayoutWriter(tmp_path / "layout")
    base = layer(b"base")
    one = writer.add_image(["a:1", "a:latest"], [base], {}, WHERE)
    writer.add_image(["b:1"], [base, layer(b"more")], {}, WHERE)
    writer.finish()
    index = json.loads((tmp_path / "layout" / "index.json").read_bytes())
    names = {m["annotations"]["org.opencontainers.image.ref.name"]: m["digest"] for m in index["manifests"]}
    assert names.keys() == {"a:1", "a:latest", "b:1"}
    assert names["a:1"] == names["a:latest"] == one
    assert len(list((tmp_path / "layout" / "blobs" / "sha256").iterdir())) == 2 + 2 + 2


def test_the_sets_do_not_stand_in_each_others_way() -> None:
    """The demo is not built again because a recipe of the tests changed."""
    assert fingerprint(list(RECIPES.values())) != fingerprint(list(SETS["tests"].values()))
    for recipes in SETS.values():
        references = [name for recipe in recipes.values() for name in (recipe.reference, *recipe.aliases)]
        assert len(references) == len(set(references))
        assert all(reference.count("/") >= 2 for reference in references)
