"""How much disk the images take."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsrun.images import disk
from nsrun.images.disk import StoreDisk
from nsrun.support.disk_usage import TreeUse, tree_use
from nsrun.support.removal import remove_tree


def make_layer(layers: Path, name: str, size: int) -> Path:
    directory = layers / "sha256" / name / "diff"
    directory.mkdir(parents=True)
    (directory / "file").write_bytes(b"x" * size)
    return directory.parent


def test_a_layer_is_walked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walked: list[Path] = []

    def walk(path: Path) -> TreeUse:
        walked.append(path)
        return tree_use(path)

    monkeypatch.setattr(disk, "tree_use", walk)
    store, layers = tmp_path / "images", tmp_path / "layers"
    store.mkdir()
    (store / "blob").write_bytes(b"x" * 50_000)
    measured = StoreDisk(store=store, layers=layers)
    only_blobs = measured.measure()
    assert 50_000 <= only_blobs.used < 100_000
    one = make_layer(layers, "a", 100_000)
    (layers / "tmp" / "half").mkdir(parents=True)
    with_one = measured.measure()
    assert 100_000 <= with_one.used - only_blobs.used < 200_000
    assert with_one.inodes_used == only_blobs.inodes_used + 3
    make_layer(layers, "b", 100_000)
    assert measured.measure().used > with_one.used
    assert walked.count(one) == 1
    remove_tree(one)
    assert measured.measure().used == with_one.used
    assert [path for path in walked if "tmp" in path.relative_to(tmp_path).parts] == []
