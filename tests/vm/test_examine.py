"""What looks at a machine after its plug was pulled finds a sound store sound, and any damage."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.nsrunner import Nsrun
from vagrant import examine

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory, demo_images: Path) -> Path:
    program = Nsrun(base=tmp_path_factory.mktemp("store"), cgroup_root="nsrun-test-never-made")
    program.cli("load", str(demo_images))
    return program.root


@pytest.fixture
def root(loaded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of its own; ``examine`` looks there."""
    subprocess.run(["cp", "-a", str(loaded), str(tmp_path / "root")], check=True)
    monkeypatch.setattr(examine, "IMAGES", tmp_path / "root/images")
    monkeypatch.setattr(examine, "LAYERS", tmp_path / "root/layers")
    return tmp_path / "root"


def a_blob(root: Path) -> Path:
    return max((root / "images/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)


def a_file(root: Path) -> Path:
    """A program in an unpacked layer."""
    files = (path for path in root.glob("layers/sha256/*/diff/**/*") if path.is_file() and not path.is_symlink())
    return max(files, key=lambda path: path.stat().st_size)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def rename_image(root: Path) -> None:
    index = root / "images/index.json"
    document = json.loads(index.read_text())
    document["manifests"][0]["digest"] = f"sha256:{'0' * 64}"
    index.write_text(json.dumps(document))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a bit of a blob": (lambda root: flip(a_blob(root)), "is not what its name says"),
    "half a blob": (lambda root: cut(a_blob(root)), "is missing or of another size"),
    "no blob": (lambda root: a_blob(root).unlink(), "is missing or of another size"),
    "a name without an image": (rename_image, "is missing or of another size"),
    "a bit of a file": (lambda root: flip(a_file(root)), "is not what the blob holds"),
    "an empty file": (lambda root: os.truncate(a_file(root), 0), "is not what the blob holds"),
    "no file": (lambda root: a_file(root).unlink(), "is not what the blob holds"),
    "one file more": (lambda root: (a_file(root).parent / "more").touch(), "more is in no blob"),
    "another owner": (lambda root: os.chown(a_file(root), 1000, 1000), "is not what the blob holds"),
    "half a layer": (lambda root: next(root.glob("layers/sha256/*/layer.json")).unlink(), "has no layer.json"),
}


def test_a_sound_store(root: Path) -> None:
    assert list(examine.store()) == []
    assert len(list(root.glob("layers/sha256/*/layer.json"))) >= 2


def test_no_store_yet(root: Path) -> None:
    shutil.rmtree(root)
    assert list(examine.store()) == []


@pytest.mark.parametrize("name", DAMAGE)
def test_damage(name: str, root: Path) -> None:
    harm, told = DAMAGE[name]
    harm(root)
    assert any(told in line for line in examine.store())


@pytest.mark.parametrize("said", ['{"boot": "another"}', "", "["])
def test_layers_that_were_not_on_the_disk_are_none(said: str, root: Path) -> None:
    path = a_file(root)
    os.truncate(path, 0)
    (Path(str(path).split("/diff/")[0]) / "layer.json").write_text(said)
    assert list(examine.store()) == []


def test_pods_have_one_of_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = {"PODS": "pods", "RUN": "run", "LOGS": "logs", "CGROUPS": "cgroups"}
    for name, place in places.items():
        monkeypatch.setattr(examine, name, tmp_path / place)
    for uid, address in (("a", "10.88.0.2"), ("b", "10.88.0.3")):
        for place in ("pods", "run/pods"):
            (tmp_path / place / uid).mkdir(parents=True)
        (tmp_path / f"logs/default_{uid}_{uid}").mkdir(parents=True)
        (tmp_path / f"cgroups/burstable/pod{uid}").mkdir(parents=True)
        leases = tmp_path / "run/network/leases"
        leases.mkdir(parents=True, exist_ok=True)
        (leases / address).write_text(json.dumps({"uid": uid}))
    monkeypatch.setattr(examine, "_counted", lambda: {"shims": 2})
    assert list(examine.pods(["a", "b"])) == []
    assert list(examine.pods(["a"])) == [
        "pod directory of b, which is no pod",
        "run directory of b, which is no pod",
        "log directory of b, which is no pod",
        "cgroup of b, which is no pod",
        "lease of b, which is no pod",
        "2 shims for 1 pods",
    ]
    (leases / "10.88.0.4").write_text(json.dumps({"uid": "a"}))
    assert list(examine.pods(["a", "b"])) == ["lease of a is there twice"]
    (tmp_path / "pods/b").rmdir()
    assert "pod directory of b is missing" in list(examine.pods(["a", "b"]))
