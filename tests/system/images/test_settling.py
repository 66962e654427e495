"""Layers are used at once, and are on the disk a little later; what a power cut took is unpacked again."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
from pathlib import Path

import pytest

from nsrun.images import settling
from nsrun.images.layerintake import LayerIntake
from nsrun.images.layers import Layers
from nsrun.images.service import ImageService
from nsrun.model.image import PullPolicy
from nsrun.model.retention import ImageRetention
from nsrun.support import native
from nsrun.support.boot import boot_id
from nsrun.support.layout import Layout
from tests.attacks.archives import Archive, diff_id, gzipped
from tests.waiting import eventually_async

pytestmark = pytest.mark.root

GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"


class Disk:
    """What syncfs(2) does: nothing but count, or refuse."""

    def __init__(self) -> None:
        self.synced = 0
        self.error = 0

    def syncfs(self, _: int) -> None:
        if self.error:
            raise OSError(self.error, "it refuses")
        self.synced += 1


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(native, "syncfs", disk.syncfs)
    return disk


class Place:
    """A directory of layers with one of one file in it."""

    def __init__(self, base: Path) -> None:
        tar = Archive().file(b"f", b"whole").bytes()
        self.root, self.name, self.blob = base / "layers", diff_id(tar), base / "blob"
        self.blob.write_bytes(gzipped(tar))

    async def take(self, layers: Layers) -> Path:
        return await layers.ensure(blob=self.blob, media_type=GZIP, diff_id=self.name)

    @property
    def document(self) -> Path:
        return Layers(self.root).path(self.name).parent / "layer.json"

    def read(self) -> dict[str, object]:
        document = json.loads(self.document.read_bytes())
        assert isinstance(document, dict)
        return document

    def cut_power(self) -> None:
        """As the machine finds it afterwards."""
        self.document.write_text(json.dumps({**self.read(), "boot": "another"}))
        (self.document.parent / "diff" / "f").write_text("")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_a_layer_is_ready_before_it_is_on_the_disk(place: Place, disk: Disk) -> None:
    layers = Layers(place.root)
    await place.take(layers)
    assert (disk.synced, place.read()["boot"], await layers.list()) == (0, boot_id(), (place.name,))
    await layers.settle()
    assert (disk.synced, "boot" in place.read(), await Layers(place.root).list()) == (1, False, (place.name,))
    await layers.settle()
    assert disk.synced == 1
    assert [path.name for path in place.document.parent.iterdir() if path.name.startswith(".")] == []


async def test_what_others_unpacked_is_put_on_the_disk_when_asked(place: Place, disk: Disk) -> None:
    await place.take(Layers(place.root))
    other = Layers(place.root)
    await other.settle()
    assert disk.synced == 0
    await other.settle(of_others=True)
    assert (disk.synced, "boot" in place.read()) == (1, False)


async def test_many_at_once(tmp_path: Path, disk: Disk) -> None:
    """More than are held open at once, with one call for each of these."""
    root = tmp_path / "layers"
    for number in range(settling._BATCH + 3):
        home = root / "sha256" / f"{number:064x}"
        home.mkdir(parents=True)
        (home / "layer.json").write_text(json.dumps({"format": 1, "boot": boot_id()}))
    (root / "sha256" / "stray").write_text("")
    (root / "sha256" / "empty").mkdir()
    (root / "sha256" / "cut").mkdir()
    (root / "sha256" / "cut" / "layer.json").write_text("[")
    await Layers(root).settle(of_others=True)
    assert disk.synced == 2
    assert {path.read_text() for path in root.glob("sha256/[0-9]*/layer.json")} == {'{"format": 1}'}


async def test_what_a_power_cut_took_is_unpacked_again(place: Place, disk: Disk) -> None:
    await place.take(Layers(place.root))
    place.cut_power()
    layers = Layers(place.root)
    assert (await layers.list(), await layers.has(place.name), await layers.size(place.name)) == ((), False, 0)
    assert (await place.take(layers) / "f").read_text() == "whole"
    assert place.read()["boot"] == boot_id()


async def test_what_was_on_the_disk_is_kept(place: Place) -> None:
    """The real syncfs."""
    layers = Layers(place.root)
    path = await place.take(layers)
    await layers.settle()
    place.blob.unlink()
    assert await place.take(Layers(place.root)) == path


async def test_what_a_power_cut_took_is_removed_by_who_comes_first(place: Place, tmp_path: Path) -> None:
    await place.take(Layers(place.root))
    place.cut_power()
    tar = Archive().file(b"other").bytes()
    other = tmp_path / "other"
    other.write_bytes(gzipped(tar))
    with LayerIntake.begin(place.root / "tmp" / place.name.replace(":", "-")):  # somebody makes it anew
        await Layers(place.root).ensure(blob=other, media_type=GZIP, diff_id=diff_id(tar))
        assert place.document.exists()
    layers = Layers(place.root)
    await layers.ensure(blob=other, media_type=GZIP, diff_id=diff_id(tar))
    assert not place.document.parent.exists()
    assert list((place.root / "tmp").iterdir()) == []


def test_a_layer_that_was_replaced_meanwhile_waits_for_its_own_turn(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = Layers(place.root)
    asyncio.run(place.take(layers))
    seen: list[bool] = []

    def replace(_: int) -> None:
        seen.append("boot" in place.read())
        if len(seen) == 1:
            asyncio.run(layers.remove(place.name))
            asyncio.run(place.take(layers))

    monkeypatch.setattr(native, "syncfs", replace)
    settling.settle(place.root)
    assert (seen, "boot" in place.read()) == ([True, True], False)


async def test_a_disk_that_refuses_once_is_not_believed_in_this_boot(place: Place, disk: Disk) -> None:
    """An error of writing is told once (fsync(2)): the next call says that all is well."""
    layers = Layers(place.root)
    await place.take(layers)
    disk.error = errno.EIO
    with pytest.raises(OSError, match="it refuses"):
        await layers.settle()
    disk.error = 0
    await layers.settle(of_others=True)
    assert (disk.synced, place.read()["boot"], await layers.list()) == (0, boot_id(), (place.name,))


async def service_with(base: Path, disk_images: Path) -> ImageService:
    service = ImageService(layout=Layout(root=base / "root", run_dir=base / "run", log_dir=base / "log"))
    await service.open()
    await service.load(disk_images)
    return service


def boots(service_root: Path) -> set[bool]:
    """Whether the layers there say a boot."""
    return {"boot" in json.loads(path.read_bytes()) for path in service_root.glob("root/layers/sha256/*/layer.json")}


async def test_who_loads_leaves_it_to_who_runs_pods(tmp_path: Path, demo_images: Path) -> None:
    async with await service_with(tmp_path, demo_images):
        pass
    assert boots(tmp_path) == {True}
    async with ImageService(
        layout=Layout(root=tmp_path / "root", run_dir=tmp_path / "run", log_dir=tmp_path / "log")
    ) as service:
        await service.reclaim(ImageRetention(), ())
    assert boots(tmp_path) == {False}


async def test_who_runs_pods_does_it_behind_them(
    tmp_path: Path, demo_images: Path, caplog: pytest.LogCaptureFixture, disk: Disk
) -> None:
    async with await service_with(tmp_path, demo_images) as service:
        await service.ensure("docker.io/library/busybox:latest", PullPolicy.IF_NOT_PRESENT)
        await eventually_async(lambda: boots(tmp_path) == {False})
        assert disk.synced == 1
        disk.error = errno.EIO
        for path in tmp_path.glob("root/layers/sha256/*"):
            await service._layers.remove(f"sha256:{path.name}")
        with caplog.at_level(logging.WARNING):
            await service.ensure("docker.io/library/busybox:latest", PullPolicy.IF_NOT_PRESENT)
            await eventually_async(lambda: "Unpacked layers are not on the disk: it refuses" in caplog.text)


async def test_a_disk_that_refuses_is_no_failure_of_collection(
    tmp_path: Path, demo_images: Path, caplog: pytest.LogCaptureFixture, disk: Disk
) -> None:
    async with await service_with(tmp_path, demo_images) as service:
        disk.error = errno.EIO
        with caplog.at_level(logging.WARNING):
            await service.reclaim(ImageRetention(), ())
        assert caplog.messages == ["Unpacked layers are not on the disk: it refuses"]
    assert boots(tmp_path) == {True}
