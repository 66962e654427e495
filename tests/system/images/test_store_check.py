"""Whether a store is whole: every kind of damage is found, told with its remedy, and repaired as far as it can be."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nsrun.errors import ImageError
from nsrun.host.userns import own_user_namespace
from nsrun.images.check import Finding, Kind
from nsrun.images.layers import TRUSTED, USER
from nsrun.images.service import ImageService
from nsrun.model.container import PullPolicy
from nsrun.support.layout import Layout
from tests.layouts import ImageParts, LayoutBuilder, layer_tar, sha256
from tests.system.images.conftest import MakeService

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

NAME = "docker.io/library/app:latest"
BASE, TOP = layer_tar({"etc/passwd": b"root", "bin/tool": b"#!tool"}), layer_tar({"app": b"x" * 3000})
PARTS = ImageParts.make([BASE, TOP])
BASE_ID, TOP_ID = sha256(BASE), sha256(TOP)


class Stored:
    """A store with one image of two layers, and its places."""

    def __init__(self, service: ImageService, layout: Layout) -> None:
        self.service = service
        self.layout = layout
        self.used: frozenset[str] = frozenset()

    def blob(self, digest: str) -> Path:
        return self.layout.images / "blobs" / digest.replace(":", "/")

    def layer(self, diff_id: str) -> Path:
        return self.layout.layers / diff_id.replace(":", "/")

    async def findings(self, *, quick: bool = False) -> set[tuple[Kind, str]]:
        return {(found.kind, found.subject) for found in await self.service.keeper.check(quick=quick)}

    async def repaired(self) -> tuple[Finding, ...]:
        def waiting() -> None:
            raise AssertionError("nobody pulls")

        return await self.service.keeper.repair(await self.service.keeper.check(), waiting)


@pytest.fixture
async def stored(service: MakeService, layout: Layout, tmp_path: Path) -> Stored:
    source = LayoutBuilder(tmp_path / "source")
    source.image(NAME, PARTS)
    used: list[frozenset[str]] = [frozenset()]
    images = await service(in_use=lambda: made.used)
    made = Stored(images, layout)
    await images.load(source.path)
    made.used = used[0]
    return made


async def test_a_whole_store_has_no_findings(stored: Stored) -> None:
    assert await stored.findings() == set()
    assert await stored.findings(quick=True) == set()
    assert list((stored.layout.layers / "tmp").iterdir()) == []


async def test_how_far_it_is_is_told(stored: Stored) -> None:
    told: list[tuple[str, int, int]] = []
    await stored.service.keeper.check(watch=lambda *step: told.append(step))
    assert told == [("blobs", number, 4) for number in range(1, 5)] + [("layers", 1, 2), ("layers", 2, 2)]


async def test_a_damaged_blob(stored: Stored) -> None:
    digest = PARTS.layers[1].digest
    path = stored.blob(digest)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert await stored.findings(quick=True) == set(), "it has its size"
    assert await stored.findings() == {(Kind.IMAGE, NAME), (Kind.BLOB, digest)}
    left, repaired = await stored.repaired()
    assert (left.kind, left.repaired, left.left) == (Kind.IMAGE, False, f"nsrun pull {NAME}")
    assert (repaired.kind, repaired.repaired) == (Kind.BLOB, True)
    assert not path.exists()
    # The name stays, and with it what is whole, so that a pull fetches only what is missing.
    assert await stored.findings() == {(Kind.IMAGE, NAME)}
    assert stored.blob(PARTS.layers[0].digest).exists()
    await stored.service.collect()
    assert stored.blob(PARTS.layers[0].digest).exists()


async def test_a_short_blob_is_found_quickly(stored: Stored) -> None:
    path = stored.blob(PARTS.layers[0].digest)
    os.truncate(path, 10)
    assert await stored.findings(quick=True) == {(Kind.IMAGE, NAME)}
    assert await stored.findings() == {(Kind.IMAGE, NAME), (Kind.BLOB, PARTS.layers[0].digest)}


@pytest.mark.parametrize("which", ["manifest", "config", "layer"])
async def test_a_missing_blob(stored: Stored, which: str) -> None:
    blob = {"manifest": PARTS.manifest, "config": PARTS.config, "layer": PARTS.layers[0]}[which]
    stored.blob(blob.digest).unlink()
    for quick in (True, False):
        found = await stored.service.keeper.check(quick=quick)
        assert (Kind.IMAGE, NAME) in {(one.kind, one.subject) for one in found}
        assert any(f"blob {blob.digest} is missing" in one.problem for one in found)


async def test_a_document_that_no_pull_would_take(stored: Stored) -> None:
    """As skopeo, or somebody with an editor, may put it there."""
    document = {**json.loads(PARTS.manifest.data), "layers": "none"}
    data = json.dumps(document).encode()
    entry = {"mediaType": PARTS.manifest.media_type, "digest": sha256(data), "size": len(data)}
    stored.blob(sha256(data)).write_bytes(data)
    index = json.loads((stored.layout.images / "index.json").read_text())
    annotated = {**entry, "annotations": {"org.opencontainers.image.ref.name": "odd"}}
    index["manifests"].append(annotated)
    (stored.layout.images / "index.json").write_text(json.dumps(index))
    assert await stored.findings() == {(Kind.IMAGE, "docker.io/library/odd:latest")}
    with pytest.raises(ImageError):
        await stored.service.ensure("odd", PullPolicy.NEVER)


def change_content(layer: Path) -> None:
    status = (layer / "bin/tool").stat()
    (layer / "bin/tool").write_bytes(b"#!t00l")
    os.utime(layer / "bin/tool", ns=(status.st_atime_ns, status.st_mtime_ns))


def add_file(layer: Path) -> None:
    status = layer.stat()
    (layer / "more").write_bytes(b"")
    os.utime(layer, ns=(status.st_atime_ns, status.st_mtime_ns))


def remove_file(layer: Path) -> None:
    status = (layer / "etc").stat()
    (layer / "etc/passwd").unlink()
    os.utime(layer / "etc", ns=(status.st_atime_ns, status.st_mtime_ns))


def swap_for_link(layer: Path) -> None:
    status = (layer / "bin").stat()
    (layer / "bin/tool").unlink()
    (layer / "bin/tool").symlink_to("/etc/passwd")
    os.utime(layer / "bin", ns=(status.st_atime_ns, status.st_mtime_ns))


MARKS = TRUSTED if own_user_namespace() is None else USER
DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "content": (change_content, '"/bin/tool" has another content'),
    "more": (add_file, '"/more" should not be there'),
    "less": (remove_file, '"/etc/passwd" is missing'),
    "type": (swap_for_link, '"/bin/tool" is of another type'),
    "mode": (lambda layer: (layer / "bin/tool").chmod(0o4755), '"/bin/tool" has the mode 4755 instead of 644'),
    "owner": (lambda layer: os.chown(layer / "bin/tool", 1, 0), '"/bin/tool" has another owner'),
    "time": (lambda layer: os.utime(layer / "bin/tool", (1, 1)), '"/bin/tool" has another time'),
    "link": (lambda layer: os.link(layer / "bin/tool", layer.parent / "x"), '"/bin/tool" has 2 names instead of 1'),
    "xattr": (
        lambda layer: os.setxattr(layer / "bin", f"{MARKS}opaque", b"y"),
        '"/bin" has other extended attributes',
    ),
}


@pytest.mark.parametrize("which", DAMAGES)
async def test_a_layer_that_is_not_what_its_blob_holds(stored: Stored, which: str) -> None:
    damage, problem = DAMAGES[which]
    damage(stored.layer(BASE_ID) / "diff")
    assert await stored.findings(quick=True) == set()
    (found,) = await stored.service.keeper.check()
    assert (found.kind, found.subject) == (Kind.LAYER, BASE_ID)
    assert problem in found.problem.split("; ")
    assert all(one.repaired for one in await stored.repaired())
    assert not stored.layer(BASE_ID).exists()
    assert await stored.findings() == set()
    image = await stored.service.ensure("app", PullPolicy.NEVER)
    assert Path(image.layers[-1], "bin/tool").read_bytes() == b"#!tool"
    assert await stored.findings() == set()


@pytest.mark.parametrize("what", ["layer.json", "diff"])
async def test_a_layer_that_is_not_whole(stored: Stored, what: str) -> None:
    (stored.layer(TOP_ID) / what).rename(stored.layout.root / "elsewhere")
    for quick in (True, False):
        assert (Kind.LAYER, TOP_ID) in await stored.findings(quick=quick)
    await stored.repaired()
    assert await stored.findings() == set()


async def test_what_a_container_runs_from_is_not_repaired_and_told_so(stored: Stored) -> None:
    stored.used = frozenset({PARTS.manifest.digest})
    change_content(stored.layer(BASE_ID) / "diff")
    (found,) = await stored.repaired()
    assert not found.repaired
    assert found.left == "a container runs from it: stop its pod, then repair again"
    assert stored.layer(BASE_ID).exists()
    stored.used = frozenset()
    (found,) = await stored.repaired()
    assert found.repaired


async def test_when_it_is_not_known_what_runs_no_layer_goes(stored: Stored) -> None:
    stored.used = frozenset({PARTS.manifest.digest})
    stored.blob(PARTS.config.digest).unlink()
    (stored.layer(BASE_ID) / "layer.json").unlink()
    await stored.repaired()
    assert stored.layer(BASE_ID).exists()
    assert stored.layer(TOP_ID).exists()


async def test_leftovers(stored: Stored) -> None:
    images, layers = stored.layout.images, stored.layout.layers
    left = [
        images / ".incoming" / "half",
        images / "oci-put-blob123",
        images / "blobs" / "sha256" / "no-digest",
    ]
    for path in left:
        path.write_bytes(b"x")
    (layers / "tmp" / "removed.x").mkdir()
    left.append(layers / "tmp" / "removed.x")
    held = layers / "tmp" / "at-work"
    held.mkdir()
    fd = os.open(held, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert await stored.findings() == {(Kind.LEFTOVER, str(path)) for path in left}
    assert all(one.repaired for one in await stored.repaired())
    assert [path for path in left if path.exists()] == []
    assert held.exists(), "somebody is at work in it"
    os.close(fd)
    assert await stored.findings() == {(Kind.LEFTOVER, str(held))}


async def test_what_is_coming_in_is_no_leftover(stored: Stored) -> None:
    with stored.service._store.intake() as intake, intake.writer() as one, intake.continued(sha256(b"coming")) as other:
        one.write(b"half")
        other.write(b"com")
        assert await stored.findings() == set()
    partial = stored.layout.images / ".incoming" / f"{sha256(b'coming').replace(':', '-')}.partial"
    assert await stored.findings() == {(Kind.LEFTOVER, str(partial))}, "the next pull goes on with it, or prune"


async def test_an_image_that_is_not_whole_hides_no_other(stored: Stored, tmp_path: Path) -> None:
    other = LayoutBuilder(tmp_path / "other")
    other.image("other", ImageParts.make([layer_tar({"other": b""})]))
    await stored.service.load(other.path)
    config = stored.blob(PARTS.config.digest)
    config.write_bytes(config.read_bytes().replace(b"/hello", b"/hullo"))
    assert [image.reference for image in await stored.service.list()] == ["docker.io/library/other:latest"]
    (by_id,) = {image.config_digest for image in await stored.service.list()}
    assert (await stored.service.remove(by_id)).names == ("docker.io/library/other:latest",)
    assert (await stored.service.remove("app")).names == (NAME,)
    assert await stored.findings() == set()


async def test_what_no_image_needs(stored: Stored) -> None:
    with stored.service._store.intake() as intake:
        junk = intake.add(b"junk", "text/plain")
    orphan = sha256(b"orphan")
    (stored.layer(orphan) / "diff").mkdir(parents=True)
    document = json.loads((stored.layer(TOP_ID) / "layer.json").read_text())
    (stored.layer(orphan) / "layer.json").write_text(json.dumps({**document, "diff_id": orphan}))
    assert await stored.findings() == {(Kind.UNNEEDED, junk.digest), (Kind.UNNEEDED, orphan)}
    assert all(one.repaired for one in await stored.repaired())
    assert await stored.findings() == set()
    assert not stored.layer(orphan).exists()


async def test_a_broken_index_is_made_again(stored: Stored) -> None:
    path = stored.layout.images / "index.json"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert await stored.findings() == {(Kind.INDEX, "index.json")}
    (found,) = await stored.repaired()
    assert found.repaired
    assert path.read_bytes() == whole
    (stored.layout.images / ".names.json").unlink()
    path.write_bytes(b"{")
    assert (Kind.INDEX, "index.json") in await stored.findings()
    assert all(one.repaired for one in await stored.repaired())
    assert json.loads(path.read_text())["manifests"] == []
    assert stored.blob(PARTS.layers[0].digest).exists(), "the next pull needs it"


async def test_repair_waits_for_pulls(stored: Stored) -> None:
    (stored.layout.layers / "tmp" / "left").mkdir()
    findings = await stored.service.keeper.check()
    intake = stored.service._store.intake()
    waited: list[bool] = []

    def waiting() -> None:
        waited.append(True)
        intake.close()

    repaired = await stored.service.keeper.repair(findings, waiting)
    assert waited == [True]
    assert [dataclasses.replace(one, repaired=True) for one in findings] == list(repaired)
