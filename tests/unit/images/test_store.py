"""The image store: names, blobs, what is collected, and what a crash leaves."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import pytest

from nsrun.errors import ImageError
from nsrun.images.documents import ImageManifest, accept_manifest, decode_descriptor
from nsrun.images.reference import parse_reference
from nsrun.images.singleflight import SingleFlight
from nsrun.images.store import Collecting, Intake, Store, StoredImage
from tests.layouts import ImageParts, layer_tar, sha256

NGINX = parse_reference("nginx")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "images")
    made.open()
    return made


def take(intake: Intake, parts: ImageParts, name: str = "nginx") -> StoredImage:
    """Brings all blobs of an image in."""
    for blob in parts.blobs:
        intake.add(blob.data, blob.media_type)
    manifest = accept_manifest(parts.manifest.data, parts.manifest.media_type)
    assert isinstance(manifest, ImageManifest)
    found = decode_descriptor(parts.manifest.descriptor, "manifest")
    return intake.keep(parse_reference(name), parts.manifest.data, manifest, found)


def add(store: Store, parts: ImageParts, name: str = "nginx") -> StoredImage:
    with store.intake() as intake:
        image = take(intake, parts, name)
        store.tag(image)
    return image


def collect(store: Store, *used: str) -> frozenset[str] | None:
    collection = store.collection()
    assert collection is not None
    with collection:
        return collection.sweep(used).needed


def test_a_fresh_store_is_an_image_layout(store: Store, tmp_path: Path) -> None:
    root = tmp_path / "images"
    assert json.loads((root / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    assert json.loads((root / "index.json").read_text())["manifests"] == []
    assert root.stat().st_mode & 0o777 == 0o700
    store.open()
    assert store.images() == ()


def test_names(store: Store) -> None:
    parts = ImageParts.make()
    image = add(store, parts)
    assert store.find(NGINX) == image
    assert image.digest == image.manifest.digest == parts.manifest.digest
    other = add(store, ImageParts.make(config={"User": "1"}))
    assert store.images() == (other,)
    assert store.untag(NGINX)
    assert not store.untag(NGINX)
    assert store.find(NGINX) is None


def test_documents_are_verified_again(store: Store) -> None:
    image = add(store, ImageParts.make())
    manifest, configuration = store.documents(image.manifest)
    assert configuration.config.cmd == ("/hello",)
    path = store.blobs.path(manifest.config.digest)
    path.write_bytes(path.read_bytes().replace(b"/hello", b"/hullo"))
    with pytest.raises(ImageError, match="is damaged") as caught:
        store.documents(image.manifest)
    assert caught.value.reason == "ImageInspectError"
    path.unlink()
    with pytest.raises(FileNotFoundError):
        store.documents(image.manifest)


def test_docker_manifests_are_kept_beside_their_oci_form(store: Store) -> None:
    parts = ImageParts.make(docker=True)
    image = add(store, parts)
    assert image.digest == parts.manifest.digest != image.manifest.digest
    assert store.find(NGINX) == image
    blobs = store.blobs.listed()
    assert len(blobs) == 4
    collect(store)
    assert store.blobs.listed() == blobs


def test_collection_keeps_what_names_and_containers_need(store: Store) -> None:
    shared = layer_tar({"shared": b""})
    first = ImageParts.make([shared, layer_tar({"1": b""})])
    second = ImageParts.make([shared, layer_tar({"2": b""})], docker=True)
    add(store, first, "first")
    image = add(store, second, "second")
    with store.intake() as intake:
        junk = intake.add(b"junk", "text/plain")
    store.untag(parse_reference("second"))
    needed = collect(store, image.digest, "not a digest", "")
    assert needed == frozenset({sha256(shared), sha256(layer_tar({"1": b""})), sha256(layer_tar({"2": b""}))})
    assert {blob.digest for blob in second.blobs} <= store.blobs.listed()
    assert junk.digest not in store.blobs.listed()
    needed = collect(store)
    assert needed == frozenset({sha256(shared), sha256(layer_tar({"1": b""}))})
    assert store.blobs.listed() == {blob.digest for blob in (first.manifest, *first.blobs)}


def test_without_the_documents_of_what_runs_it_is_not_known_what_is_needed(store: Store) -> None:
    image = add(store, ImageParts.make())
    store.untag(NGINX)
    assert collect(store, image.digest, sha256(b"unknown")) is None
    manifest, _ = store.documents(image.manifest)
    store.blobs.remove(manifest.config.digest)
    assert collect(store, image.digest) is None
    assert collect(store) == frozenset()


def test_nothing_is_collected_while_content_comes_in(store: Store) -> None:
    with store.intake() as intake:
        image = take(intake, ImageParts.make())
        assert store.collection() is None
        store.tag(image)
    collect(store)
    store.documents(image.manifest)


def test_who_collects_waits_for_who_does(store: Store) -> None:
    first = store.collection()
    assert first is not None
    assert store.collection(patience=0.0) is None
    found: list[object] = []
    waiting = threading.Thread(target=lambda: found.append(store.collection()))
    waiting.start()
    with first:
        assert found == []
    waiting.join()
    (second,) = found
    assert isinstance(second, Collecting)
    second.close()


def test_what_others_wrote_into_the_index_stays(store: Store, tmp_path: Path) -> None:
    parts = ImageParts.make()
    add(store, parts)
    path = tmp_path / "images" / "index.json"
    index = json.loads(path.read_text())
    foreign = [
        {**parts.manifest.descriptor, "annotations": {"org.opencontainers.image.ref.name": "latest"}, "x": 1},
        {**parts.manifest.descriptor, "annotations": {"org.opencontainers.image.ref.name": "Not A Name"}},
        {**parts.config.descriptor, "mediaType": "text/plain"},
        {**parts.config.descriptor, "mediaType": "application/vnd.oci.image.manifest.v1+json"},
        {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": sha256(b"gone"), "size": 4},
    ]
    path.write_text(json.dumps({"schemaVersion": 2, "manifests": [*index["manifests"], *foreign]}))
    assert [str(image.reference) for image in store.images()] == ["docker.io/library/latest:latest", str(NGINX)]
    store.untag(NGINX)
    left = json.loads(path.read_text())["manifests"]
    assert all(entry in left for entry in foreign)
    assert len(left) == len(foreign)
    collect(store)
    assert {blob.digest for blob in (parts.manifest, *parts.blobs)} == store.blobs.listed()


BROKEN = pytest.mark.parametrize("content", ["", "{", "[]", '{"manifests": 1}', '{"manifests": [1]}'])


@BROKEN
def test_a_broken_index_is_named(store: Store, tmp_path: Path, content: str) -> None:
    path = tmp_path / "images" / "index.json"
    path.write_text(content)
    (tmp_path / "images" / ".names.json").unlink()
    with pytest.raises(ImageError, match=r"cannot read .*index.json") as caught:
        store.images()
    assert caught.value.reason == "ImageInspectError"
    assert "store check --repair" in str(caught.value.hint)
    with pytest.raises(ImageError):
        collect(store)


@BROKEN
def test_while_the_index_is_half_written_names_are_known_and_nothing_is_removed(
    store: Store, tmp_path: Path, content: str
) -> None:
    image = add(store, ImageParts.make())
    path = tmp_path / "images" / "index.json"
    path.write_text(content)
    assert store.images() == (image,)
    assert store.find(NGINX) == image
    with pytest.raises(ImageError, match=r"cannot read .*index.json"):
        collect(store)
    assert path.read_text() == content


def test_an_index_that_stays_half_written_is_made_again(store: Store, tmp_path: Path) -> None:
    image = add(store, ImageParts.make())
    path = tmp_path / "images" / "index.json"
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    again = Store(tmp_path / "images")
    again.open()
    assert path.read_bytes() == whole
    assert again.images() == (image,)


def test_what_a_crash_left_halfway_is_cleared_away(store: Store, tmp_path: Path) -> None:
    leftover = tmp_path / "images" / ".incoming" / "x"
    leftover.write_bytes(b"half")
    with store.intake():
        Store(tmp_path / "images").open()
        assert leftover.exists()  # it may be another's, who is at it now
    Store(tmp_path / "images").open()
    assert not leftover.exists()


def test_blobs_are_there_whole_or_not_at_all(store: Store, tmp_path: Path) -> None:
    incoming = tmp_path / "images" / ".incoming"
    digest = sha256(b"second")
    with store.intake() as intake:
        with intake.writer() as writer:
            writer.write(b"first")
            assert writer.offset == 5
            assert store.blobs.listed() == frozenset()
        assert list(incoming.iterdir()) == []
        with intake.writer() as writer:
            writer.write(b"first")
            writer.restart()
            writer.write(memoryview(b"second"))
            assert writer.commit() == digest
    assert store.blobs.has(digest, 6)
    assert not store.blobs.has(digest, 7)
    assert not store.blobs.has(sha256(b"x"), 1)
    assert list(incoming.iterdir()) == []
    assert store.blobs.path(digest).stat().st_mode & 0o777 == 0o600


def test_sha512(store: Store) -> None:
    with store.intake() as intake:
        blob = intake.add(b"x", "text/plain", like="sha512:" + "0" * 128)
    assert blob.digest.startswith("sha512:")
    assert store.blobs.read(blob.digest, limit=1) == b"x"
    with pytest.raises(ImageError):
        store.blobs.read(blob.digest, limit=0)


@pytest.mark.parametrize(
    "digest", ["", "sha256:../../x", "sha256:" + "0" * 63, sha256(b"") + "\n", "../" + sha256(b"")]
)
def test_only_digests_become_paths(store: Store, digest: str) -> None:
    with pytest.raises(ValueError, match="not a sha256 or sha512 digest"):
        store.blobs.path(digest)


# --- one piece of work at a time


async def test_one_flight_for_all() -> None:
    flights: SingleFlight[int] = SingleFlight()
    begun, go_on = asyncio.Event(), asyncio.Event()
    calls = []

    async def work() -> int:
        calls.append(1)
        begun.set()
        await go_on.wait()
        return 7

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(flights.run("key", work)) for _ in range(5)]
        await begun.wait()
        go_on.set()
    assert [task.result() for task in tasks] == [7] * 5
    assert len(calls) == 1
    assert await flights.run("key", work) == 7
    assert len(calls) == 2


async def test_a_failure_is_everybodys() -> None:
    flights: SingleFlight[int] = SingleFlight()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def work() -> int:
        begun.set()
        await go_on.wait()
        raise ImageError("no")

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(failing(flights, work)) for _ in range(3)]
        await begun.wait()
        go_on.set()
    assert [task.result() for task in tasks] == ["no"] * 3


async def failing(flights: SingleFlight[int], work: object) -> str:
    with pytest.raises(ImageError) as caught:
        await flights.run("key", work)  # type: ignore[arg-type]
    return caught.value.message


async def test_when_the_leader_is_cancelled_another_takes_over() -> None:
    flights: SingleFlight[int] = SingleFlight()
    begun, go_on = asyncio.Event(), asyncio.Event()
    calls = []

    async def work() -> int:
        calls.append(1)
        begun.set()
        await go_on.wait()
        return 7

    async with asyncio.TaskGroup() as group:
        leader = group.create_task(flights.run("key", work))
        await begun.wait()
        follower = group.create_task(flights.run("key", work))
        patient = group.create_task(flights.run("key", work))
        leader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leader
        patient.cancel()
        go_on.set()
    assert follower.result() == 7
    assert len(calls) == 2
