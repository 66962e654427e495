"""Archives that are written: what is in them, that they are always the same, and that nothing damaged gets out."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from nsrun.errors import ImageError
from nsrun.images.archive import load_archive
from nsrun.images.lookup import find_image
from nsrun.images.platform import Platform
from nsrun.images.reference import parse_reference
from nsrun.images.save import Form, save_archive, save_directory, save_file
from nsrun.images.store import Store, StoredImage
from tests.layouts import ImageParts, LayoutBuilder, layer_tar, sha256

HERE = Platform(os="linux", architecture="amd64")
LAYERS = [layer_tar({"hello": b"world"}), layer_tar({"more": bytes(3000)})]
BUSYBOX, NGINX = "docker.io/library/busybox:latest", "docker.io/library/nginx:latest"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return filled(tmp_path / "one", [BUSYBOX, NGINX])


def filled(base: Path, names: Sequence[str]) -> Store:
    """A store with busybox (one layer) and nginx (the same and another), loaded in the order of ``names``."""
    parts = {BUSYBOX: ImageParts.make(LAYERS[:1]), NGINX: ImageParts.make(LAYERS, docker=True)}
    store = Store(base / "images")
    store.open()
    for name in names:
        source = LayoutBuilder(base / name.replace("/", "_"))
        source.image(name, parts[name])
        take(store, source.path)
    return store


def take(store: Store, path: Path) -> tuple[StoredImage, ...]:
    with store.intake() as intake:
        images = load_archive(path, intake, store.blobs, HERE)
    for image in images:
        store.tag(image)
    return images


def archive(store: Store, form: Form, *names: str) -> bytes:
    out = io.BytesIO()
    save_archive(store, [find_image(store, name, "save") for name in names], form, out)
    return out.getvalue()


def members(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = {}
        for entry in tar:
            assert (entry.mtime, entry.uid, entry.gid, entry.uname) == (0, 0, 0, "")
            file = tar.extractfile(entry)
            found[entry.name] = file.read() if file is not None else b""
        return found


@pytest.mark.parametrize("form", [Form.OCI_ARCHIVE, Form.DOCKER_ARCHIVE])
def test_the_same_images_make_the_same_bytes(tmp_path: Path, store: Store, form: Form) -> None:
    other = filled(tmp_path / "two", [NGINX, BUSYBOX])
    assert archive(store, form, "busybox", "nginx") == archive(other, form, "nginx", "busybox", "nginx")


def test_an_oci_archive(store: Store) -> None:
    found = members(archive(store, Form.OCI_ARCHIVE, "nginx", "busybox"))
    index = json.loads(found["index.json"])
    stored = {str(image.reference): image for image in store.images()}
    names = {entry["annotations"]["org.opencontainers.image.ref.name"]: entry for entry in index["manifests"]}
    assert {name: entry["digest"] for name, entry in names.items()} == {
        name: image.manifest.digest for name, image in stored.items()
    }
    assert names[NGINX]["annotations"]["io.containerd.image.name"] == NGINX
    assert json.loads(found["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    blobs = {name: data for name, data in found.items() if name.startswith("blobs/sha256/")}
    assert all(name == f"blobs/{sha256(data).replace(':', '/')}" for name, data in blobs.items())
    assert len(blobs) == 2 + 2 + 2
    docker = json.loads(found["manifest.json"])
    assert sorted(tag for entry in docker for tag in entry["RepoTags"]) == [BUSYBOX, NGINX]
    assert all(name in blobs for entry in docker for name in (entry["Config"], *entry["Layers"]))


def test_documents_come_before_layers(store: Store) -> None:
    """Who reads the stream knows what a layer will be when it comes."""
    names = list(members(archive(store, Form.OCI_ARCHIVE, "busybox")))
    parts = ImageParts.make(LAYERS[:1])
    place = [names.index(f"blobs/{blob.digest.replace(':', '/')}") for blob in (parts.manifest, *parts.blobs)]
    assert names.index("index.json") < place[0] < place[1] < place[2]


def test_a_docker_archive(store: Store) -> None:
    found = members(archive(store, Form.DOCKER_ARCHIVE, "nginx", "busybox"))
    entries = {entry["RepoTags"][0]: entry for entry in json.loads(found["manifest.json"])}
    assert [found[name] for name in entries[NGINX]["Layers"]] == LAYERS
    assert [found[name] for name in entries[BUSYBOX]["Layers"]] == LAYERS[:1]
    config = entries[NGINX]["Config"]
    assert config == sha256(found[config]).partition(":")[2] + ".json"
    assert len(found) == 1 + 2 + 2  # what images share is in it once


@pytest.mark.parametrize("form", list(Form))
def test_what_was_written_can_be_read(tmp_path: Path, store: Store, form: Form) -> None:
    target = tmp_path / "target"
    images = [find_image(store, name, "save") for name in ("nginx", "busybox")]
    if form is Form.OCI_DIR:
        save_directory(store, images, target)
    else:
        save_file(store, images, form, target)
    other = Store(tmp_path / "other")
    other.open()
    taken = {str(image.reference): image for image in take(other, target)}
    assert taken.keys() == {NGINX, BUSYBOX}
    for name, image in taken.items():
        ours, theirs = store.find(parse_reference(name)), image
        assert ours is not None
        assert store.documents(ours.manifest)[1] == other.documents(theirs.manifest)[1]
        if form is not Form.DOCKER_ARCHIVE:
            assert ours.manifest.digest == theirs.manifest.digest


def test_several_names_of_one_image(store: Store) -> None:
    image = find_image(store, "busybox", "tag")
    store.tag(replace(image, reference=parse_reference("example.com/a:1")))
    found = members(archive(store, Form.DOCKER_ARCHIVE, "busybox", "example.com/a:1"))
    (entry,) = json.loads(found["manifest.json"])
    assert entry["RepoTags"] == [BUSYBOX, "example.com/a:1"]
    index = json.loads(members(archive(store, Form.OCI_ARCHIVE, "busybox", "example.com/a:1"))["index.json"])
    assert len(index["manifests"]) == 2


@pytest.mark.parametrize("form", list(Form))
@pytest.mark.parametrize("damage", ["changed", "cut"])
def test_a_damaged_blob_ends_it_and_leaves_nothing(tmp_path: Path, store: Store, form: Form, damage: str) -> None:
    blob = store.blobs.path(ImageParts.make(LAYERS[:1]).layers[0].digest)
    data = blob.read_bytes()
    blob.write_bytes({"changed": data[:-1] + b"?", "cut": data[:-5]}[damage])
    target = tmp_path / "out" / "target"
    target.parent.mkdir()
    images = [find_image(store, "busybox", "save")]
    with pytest.raises(ImageError, match="is damaged"):
        save_directory(store, images, target) if form is Form.OCI_DIR else save_file(store, images, form, target)
    assert list(target.parent.iterdir()) == []


def test_a_file_is_the_old_one_or_the_new_one(tmp_path: Path, store: Store) -> None:
    target = tmp_path / "archive"
    target.write_bytes(b"old")
    images = [find_image(store, "busybox", "save")]
    blob = store.blobs.path(ImageParts.make(LAYERS[:1]).layers[0].digest)
    blob.rename(tmp_path / "aside")
    with pytest.raises(OSError, match="No such file"):
        save_file(store, images, Form.OCI_ARCHIVE, target)
    assert target.read_bytes() == b"old"
    (tmp_path / "aside").rename(blob)
    save_file(store, images, Form.OCI_ARCHIVE, target)
    assert target.read_bytes() == archive(store, Form.OCI_ARCHIVE, "busybox")
    assert target.stat().st_mode & 0o777 == 0o600


def test_a_device_is_written_to(store: Store) -> None:
    save_file(store, [find_image(store, "busybox", "save")], Form.OCI_ARCHIVE, Path(os.devnull))
    assert Path(os.devnull).is_char_device()


def test_a_directory_that_is_not_empty_is_left_alone(tmp_path: Path, store: Store) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "mine").touch()
    with pytest.raises(OSError, match="not empty"):
        save_directory(store, [find_image(store, "busybox", "save")], target)
    assert [entry.name for entry in target.iterdir()] == ["mine"]
    assert not list(tmp_path.glob(".*"))
