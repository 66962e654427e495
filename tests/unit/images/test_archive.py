"""Images out of files: what is taken, and that nothing of an archive becomes a path."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nsrun.errors import ImageError
from nsrun.images.archive import load_archive
from nsrun.images.platform import Platform
from nsrun.images.store import Store, StoredImage
from tests.layouts import ImageParts, LayoutBuilder, layer_tar, sha256

HERE = Platform(os="linux", architecture="amd64")
LAYER = layer_tar({"hello": b"world"})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "images")
    made.open()
    return made


@pytest.fixture
def source(tmp_path: Path) -> LayoutBuilder:
    return LayoutBuilder(tmp_path / "source")


def load(store: Store, path: Path) -> tuple[StoredImage, ...]:
    with store.intake() as intake:
        images = load_archive(path, intake, store.blobs, HERE)
    for image in images:
        manifest, _ = store.documents(image.manifest)
        assert all(store.blobs.has(blob.digest, blob.size) for blob in (manifest.config, *manifest.layers))
    return images


def names(images: Sequence[StoredImage]) -> list[str]:
    return [str(image.reference) for image in images]


def packed(source: LayoutBuilder, form: str) -> Path:
    if form == "directory":
        return source.path
    return source.tar(source.path.with_name("archive"), "w:gz" if form == "tar.gz" else "w")


@pytest.mark.parametrize("form", ["directory", "tar", "tar.gz"])
@pytest.mark.parametrize("docker", [False, True])
def test_an_image_layout(store: Store, source: LayoutBuilder, form: str, docker: bool) -> None:
    digest = source.image("docker.io/library/nginx:latest", ImageParts.make([LAYER], docker=docker))
    source.image("busybox", ImageParts.make([LAYER, layer_tar({"x": b""})], compression="zstd"))
    source.image(None, ImageParts.make([LAYER], config={"User": "nobody"}))
    images = load(store, packed(source, form))
    assert names(images) == ["docker.io/library/nginx:latest", "docker.io/library/busybox:latest"]
    assert images[0].digest == images[0].source == digest
    assert images == load(store, packed(source, form))


def test_an_index_in_it(store: Store, source: LayoutBuilder) -> None:
    ours = ImageParts.make([LAYER])
    index = source.index("x", {"linux/arm64": ImageParts.make(), "linux/amd64": ours})
    (image,) = load(store, source.path)
    assert (image.digest, image.source) == (ours.manifest.digest, index.digest)


def test_names_as_docker_writes_them_today(store: Store, source: LayoutBuilder) -> None:
    source.image("latest", ImageParts.make([LAYER]))
    path = source.path / "index.json"
    index = json.loads(path.read_text())
    index["manifests"][0]["annotations"]["io.containerd.image.name"] = "docker.io/library/nginx:latest"
    path.write_text(json.dumps(index))
    assert names(load(store, source.path)) == ["docker.io/library/nginx:latest"]


# --- docker-archive

CONFIG = json.dumps(
    {"os": "linux", "architecture": "amd64", "config": {}, "rootfs": {"type": "layers", "diff_ids": [sha256(LAYER)]}}
).encode()
CONFIG_NAME = hashlib.sha256(CONFIG).hexdigest() + ".json"
ENTRY: dict[str, object] = {"Config": CONFIG_NAME, "RepoTags": ["nginx:1", "q.io/n:2"], "Layers": ["a/layer.tar"]}


def docker_archive(
    path: Path, files: Mapping[str, bytes | tuple[bytes, str]], entry: Mapping[str, object] = ENTRY
) -> Path:
    """``files``: content, or (type, target) of a link."""
    with tarfile.open(path, "w") as tar:
        for name, content in {"manifest.json": json.dumps([entry]).encode(), CONFIG_NAME: CONFIG, **files}.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, tuple):
                member.type, member.linkname = content
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("layer", [LAYER, gzip.compress(LAYER, mtime=0)], ids=["plain", "gzip"])
def test_a_docker_archive(store: Store, tmp_path: Path, layer: bytes) -> None:
    images = load(
        store, docker_archive(tmp_path / "a.tar", {"a/layer.tar": layer, "a/VERSION": b"1.0", "repositories": b"{}"})
    )
    assert names(images) == ["docker.io/library/nginx:1", "q.io/n:2"]
    manifest, _ = store.documents(images[0].manifest)
    assert manifest.config.digest == sha256(CONFIG)
    assert manifest.layers[0].media_type.endswith("gzip") == (layer != LAYER)


@pytest.mark.parametrize("link", [(tarfile.SYMTYPE, "../b/layer.tar"), (tarfile.LNKTYPE, "b/layer.tar")])
def test_layers_that_are_links(store: Store, tmp_path: Path, link: tuple[bytes, str]) -> None:
    images = load(store, docker_archive(tmp_path / "a.tar", {"b/layer.tar": LAYER, "a/layer.tar": link}))
    assert store.documents(images[0].manifest)[0].layers[0].digest == sha256(LAYER)


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "../../../../../etc/passwd", "../../a/layer.tar", "layer.tar", "../nowhere", ""]
)
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_lead_nowhere_but_into_the_archive(store: Store, tmp_path: Path, kind: bytes, target: str) -> None:
    with pytest.raises(ImageError, match=r'it has no file "a/layer\.tar"'):
        load(store, docker_archive(tmp_path / "a.tar", {"a/layer.tar": (kind, target)}))


@pytest.mark.parametrize("name", ["/etc/passwd", "../victim", "a/../../victim", "..", ".", "", "a\0b"])
def test_names_lead_nowhere_but_into_the_archive(store: Store, tmp_path: Path, name: str) -> None:
    (tmp_path / "victim").write_bytes(LAYER)
    for field in ({"Layers": [name]}, {"Config": name}):
        with pytest.raises(ImageError):
            load(store, docker_archive(tmp_path / "a.tar", {"a/layer.tar": LAYER}, {**ENTRY, **field}))


@pytest.mark.parametrize("name", ["/x/evil", "../evil", "a/../../evil"])
def test_members_outside_of_the_archive_are_nothing(store: Store, tmp_path: Path, name: str) -> None:
    load(store, docker_archive(tmp_path / "a.tar", {name: b"evil", "a/layer.tar": LAYER}))
    assert not list(tmp_path.rglob("*evil*"))
    assert sha256(b"evil") not in store.blobs.listed()


def test_members_that_come_twice(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is in it twice"):
        load(store, docker_archive(tmp_path / "a.tar", {"a/layer.tar": LAYER, "./a//layer.tar": b"other"}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"Config": "x" * 10}, "it has no file"),
        ({"Layers": ["a/layer.tar", "a/layer.tar"]}, "names 1 diff_ids for 2 layers"),
        ({"Layers": [1]}, "holds what is not text"),
        ({"RepoTags": ["UPPER"]}, "must be lower case"),
        ({"RepoTags": None}, "no image in it has a name"),
        ({"Config": "0" * 64 + ".json"}, "has the digest"),
    ],
)
def test_docker_archives_that_are_wrong(store: Store, tmp_path: Path, change: dict[str, object], said: str) -> None:
    files = {"a/layer.tar": LAYER, "0" * 64 + ".json": CONFIG}
    with pytest.raises(ImageError, match=said):
        load(store, docker_archive(tmp_path / "a.tar", files, {**ENTRY, **change}))


# --- as docker wrote them before 1.10

TOP, BASE = "a" * 64, "b" * 64
LAYERS_V1 = {BASE: LAYER, TOP: layer_tar({"top": b"1"})}


def v1_archive(path: Path, **changes: bytes) -> Path:
    base = {"id": BASE, "created": "2014-01-01T00:00:00Z", "container_config": {"Cmd": ["/bin/sh", "-c", "a"]}}
    top = {"id": TOP, "parent": BASE, "os": "linux", "architecture": "amd64", "config": {"Cmd": ["/top"]}}
    files = {
        "repositories": json.dumps({"busybox": {"1": TOP, "latest": TOP}, "q.io/base": {"2": BASE}}).encode(),
        f"{TOP}/json": json.dumps(top).encode(),
        f"{TOP}/layer.tar": LAYERS_V1[TOP],
        f"{BASE}/json": json.dumps({**top, **base, "parent": ""}).encode(),
        f"{BASE}/layer.tar": LAYERS_V1[BASE],
        f"{BASE}/VERSION": b"1.0",
        **changes,
    }
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_names_that_lead_to_chains_of_layers(store: Store, tmp_path: Path) -> None:
    images = load(store, v1_archive(tmp_path / "a.tar"))
    assert names(images) == ["docker.io/library/busybox:1", "docker.io/library/busybox:latest", "q.io/base:2"]
    manifest, configuration = store.documents(images[0].manifest)
    assert configuration.diff_ids == (sha256(LAYERS_V1[BASE]), sha256(LAYERS_V1[TOP]))
    assert configuration.config.cmd == ("/top",)
    written = json.loads(store.blobs.read(manifest.config.digest, limit=1 << 20))
    assert written["history"][0] == {"created": "2014-01-01T00:00:00Z", "created_by": "/bin/sh -c a"}
    assert images[0].manifest == images[1].manifest != images[2].manifest


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"repositories": b'{"x": {"1": "../../etc"}}'}, "not a layer's id"),
        ({"repositories": b'{"x": 1}'}, "repositories is not one"),
        ({"repositories": b'{"UPPER": {"1": "%s"}}' % TOP.encode()}, "must be lower case"),
        ({"repositories": b'{"x": {"1": "%s"}}' % (b"c" * 64)}, "it has no file"),
        ({f"{TOP}/json": b'{"parent": "../x"}'}, "lies on what is not a layer's id"),
        ({f"{TOP}/json": b'{"parent": "%s"}' % TOP.encode()}, "without end"),
        ({f"{TOP}/json": b'{"os": 1}'}, "document is not valid"),
        ({f"{TOP}/layer.tar": b"\x1f\x8bcut"}, "cannot be read"),
    ],
)
def test_chains_that_are_wrong(store: Store, tmp_path: Path, changes: dict[str, bytes], said: str) -> None:
    with pytest.raises(ImageError, match=said):
        load(store, v1_archive(tmp_path / "a.tar", **changes))


# --- out of a pipe


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_pipe(store: Store, source: LayoutBuilder, mode: str) -> None:
    source.image("x", ImageParts.make([LAYER]))
    data = source.tar(source.path.with_name("archive"), mode).read_bytes()
    read, write = os.pipe()
    with ThreadPoolExecutor(1) as pool, os.fdopen(read, "rb"):
        pool.submit(_write_all, write, data)
        assert names(load(store, Path(f"/proc/self/fd/{read}"))) == ["docker.io/library/x:latest"]


def _write_all(fd: int, data: bytes) -> None:
    with os.fdopen(fd, "wb") as pipe:
        pipe.write(data)


def test_names_that_only_manifest_json_has(store: Store, source: LayoutBuilder) -> None:
    """docker writes both; when the index says nothing, the other one counts."""
    parts = ImageParts.make([LAYER])
    source.image(None, parts)
    config, layer = (f"blobs/{blob.digest.replace(':', '/')}" for blob in parts.blobs)
    entry = {"Config": config, "RepoTags": ["nginx:1"], "Layers": [layer]}
    (source.path / "manifest.json").write_text(json.dumps([entry]))
    assert names(load(store, packed(source, "tar"))) == ["docker.io/library/nginx:1"]


# --- image layouts that lie


@pytest.mark.parametrize("form", ["directory", "tar"])
@pytest.mark.parametrize("which", ["manifest", "config", "layer"])
def test_every_digest_is_verified(store: Store, source: LayoutBuilder, form: str, which: str) -> None:
    parts = ImageParts.make([LAYER])
    source.image("x", parts)
    blob = {"manifest": parts.manifest, "config": parts.config, "layer": parts.layers[0]}[which]
    (source.path / "blobs" / "sha256" / blob.digest.partition(":")[2]).write_bytes(blob.data[:-1] + b" ")
    with pytest.raises(ImageError, match=f"its blob {blob.digest} has"):
        load(store, packed(source, form))


@pytest.mark.parametrize("form", ["directory", "tar"])
def test_a_wrong_size(store: Store, source: LayoutBuilder, form: str) -> None:
    parts = ImageParts.make([LAYER])
    source.image("x", parts)
    index = json.loads((source.path / "index.json").read_text())
    index["manifests"][0]["size"] += 1
    (source.path / "index.json").write_text(json.dumps(index))
    with pytest.raises(ImageError, match="its blob"):
        load(store, packed(source, form))


@pytest.mark.parametrize("form", ["directory", "tar"])
def test_digests_that_would_be_paths(store: Store, source: LayoutBuilder, form: str) -> None:
    source.image("x", ImageParts.make([LAYER]))
    index = json.loads((source.path / "index.json").read_text())
    index["manifests"][0]["digest"] = "sha256:../../../../etc/passwd"
    (source.path / "index.json").write_text(json.dumps(index))
    with pytest.raises(ImageError, match="digest"):
        load(store, packed(source, form))


@pytest.mark.parametrize("what", ["blob", "directory", "index", "fifo"])
def test_a_directory_with_links_in_it(store: Store, source: LayoutBuilder, what: str) -> None:
    parts = ImageParts.make([LAYER])
    source.image("x", parts)
    blob = source.path / "blobs" / "sha256" / parts.layers[0].digest.partition(":")[2]
    place = {"blob": blob, "directory": blob.parent, "index": source.path / "index.json", "fifo": blob}[what]
    moved = place.rename(source.path.parent / "moved")
    if what == "fifo":
        os.mkfifo(place)
    else:
        place.symlink_to(moved)
    # A FIFO is refused for what it is; a link by O_NOFOLLOW: ELOOP, or ENOTDIR for a directory.
    refused = (
        pytest.raises(ImageError, match="is not a regular file")
        if what == "fifo"
        else pytest.raises((ImageError, OSError))
    )
    with refused:
        load(store, source.path)


def test_indexes_without_end(store: Store, source: LayoutBuilder) -> None:
    blob = source.index("x0", {"linux/amd64": ImageParts.make()})
    for depth in range(1, 6):
        entry = {**blob.descriptor, "platform": {"os": "linux", "architecture": "amd64"}}
        document = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
        blob = type(blob)(data=document, media_type=blob.media_type)
        source.blob(blob.data)
        source.name(f"x{depth}", blob)
    with pytest.raises(ImageError, match="indexes without end"):
        load(store, source.path)


@pytest.mark.parametrize("content", [b"", b"not a tar" * 100, bytes(1024), b"\x1f\x8bcut", b"\x28\xb5\x2f\xfdcut"])
def test_files_that_are_no_archive(store: Store, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ImageError):
        load(store, path)


def test_an_empty_directory(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no OCI image layout"):
        load(store, tmp_path)


def test_a_layout_without_names(store: Store, source: LayoutBuilder) -> None:
    source.image(None, ImageParts.make([LAYER]))
    with pytest.raises(ImageError, match="no image in it has a name"):
        load(store, source.path)
