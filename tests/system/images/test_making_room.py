"""Images go when the disk is full, from a real store on a real file system."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from nsrun.errors import ImageError
from nsrun.images.collect import Space
from nsrun.images.details import Details
from nsrun.images.service import ImageService
from nsrun.images.tree import shared_and_own
from nsrun.model.container import PullPolicy
from nsrun.model.image import Image
from nsrun.model.retention import ImageRetention, Reclaimed
from nsrun.support.layout import Layout
from tests.contracts.virtualclock import VirtualClock
from tests.layouts import ImageParts, LayoutBuilder, layer_tar

pytestmark = pytest.mark.root

NGINX, BUSYBOX = "docker.io/library/nginx:latest", "docker.io/library/busybox:latest"


class Store:
    """A store with the demo images, a clock, and a disk as full as it is told to be, until something goes."""

    def __init__(self, layout: Layout, *, used: frozenset[str] = frozenset()) -> None:
        self.clock = VirtualClock()
        self.used = used
        self.percents = [0]
        self.service = ImageService(
            layout=layout, clock=self.clock, in_use=lambda: self.used, space=lambda _: self.space()
        )

    def space(self) -> Space:
        percent = self.percents.pop(0) if len(self.percents) > 1 else self.percents[0]
        return Space(capacity=1000, available=1000 - 10 * percent)

    async def image(self, name: str) -> Image:
        return await self.service.ensure(name, PullPolicy.NEVER)

    async def reclaim(self, *percents: int, used: frozenset[str] = frozenset(), **retention: float) -> Reclaimed:
        self.percents = list(percents)
        return await self.service.reclaim(ImageRetention(**retention), used)  # type: ignore[arg-type]

    async def names(self) -> list[str]:
        return [summary.reference for summary in await self.service.list()]


@pytest.fixture
async def store(layout: Layout, demo_images: Path) -> Store:
    made = Store(layout)
    await made.service.open()
    await made.service.load(demo_images)
    await made.reclaim(0)
    return made


async def test_nothing_goes_while_there_is_room(store: Store) -> None:
    await store.clock.advance(3600.0)
    assert await store.reclaim(84) == Reclaimed()
    assert len(await store.names()) >= 2


async def test_what_is_new_stays(store: Store) -> None:
    await store.clock.advance(119.0)
    done = await store.reclaim(90)
    assert (done.images, done.missing) == ((), 100)
    await store.clock.advance(1.0)
    assert (await store.reclaim(90)).images


async def test_they_go_until_there_is_room(store: Store, layout: Layout) -> None:
    nginx = await store.image("nginx")
    store.used = frozenset({nginx.digest})
    await store.reclaim(0)
    store.used = frozenset()
    await store.clock.advance(3600.0)
    others = sorted(set(await store.names()) - {NGINX})
    done = await store.reclaim(90, 90, *[85] * (len(others) - 1), 79)
    # nginx was in use once: all others are older in that sense.
    assert sorted(done.images) == others
    assert (done.freed, done.missing) == (110, 0)
    assert await store.names() == [NGINX]
    assert all(Path(layer).is_dir() for layer in nginx.layers)
    assert (await store.reclaim(90, 90, 50)).images == (NGINX,)
    assert not any(Path(layer).is_dir() for layer in nginx.layers)
    assert list((layout.images / "blobs" / "sha256").iterdir()) == []
    with pytest.raises(ImageError):
        await store.image("nginx")


async def test_what_is_used_stays_however_full_it_is(store: Store) -> None:
    nginx, busybox = await store.image("nginx"), await store.image("busybox")
    store.used = frozenset({nginx.digest})
    await store.clock.advance(3600.0)
    done = await store.reclaim(100, used=frozenset({busybox.digest}))
    assert await store.names() == [BUSYBOX, NGINX]
    assert done.missing == 200
    assert (await store.image("nginx")).layers == nginx.layers


async def test_what_is_too_old_goes_in_any_case(store: Store) -> None:
    nginx = await store.image("nginx")
    await store.clock.advance(3000.0)
    store.used = frozenset({nginx.digest})
    await store.reclaim(0, maximum_age=3600.0)
    store.used = frozenset()
    await store.clock.advance(601.0)
    assert NGINX not in (await store.reclaim(0, maximum_age=3600.0)).images
    assert await store.names() == [NGINX]
    await store.clock.advance(3000.0)
    assert (await store.reclaim(0, maximum_age=3600.0)).images == (NGINX,)


async def test_nothing_goes_while_something_comes_in(store: Store) -> None:
    await store.clock.advance(3600.0)
    with store.service._store.intake():
        assert await store.reclaim(95) == Reclaimed()
    assert (await store.reclaim(95)).images


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that ``shrink`` can make as small as what is on it."""
    directory = tmp_path / "disk"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", str(directory)], check=True)
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


def taken(disk: Path) -> int:
    space = os.statvfs(disk)
    return (space.f_blocks - space.f_bfree) * space.f_frsize


def resize(disk: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


def shrink(disk: Path) -> None:
    """So that what is there is nine tenths of it."""
    resize(disk, taken(disk) * 10 // 9)


async def test_on_a_real_disk_room_is_made(small_disk: Path, tmp_path: Path, demo_images: Path) -> None:
    clock = VirtualClock()
    service = ImageService(layout=Layout(root=small_disk / "root", run_dir=tmp_path / "run"), clock=clock)
    await service.open()
    await service.load(demo_images)
    await service.reclaim(ImageRetention(), frozenset())
    shrink(small_disk)
    await clock.advance(120.0)
    done = await service.reclaim(ImageRetention(), frozenset())
    assert done.images
    assert done.freed > 0
    assert done.missing == 0
    with_all = {summary.reference for summary in await service.list()} | set(done.images)
    assert {NGINX, BUSYBOX} <= with_all
    assert await service.reclaim(ImageRetention(), frozenset()) == Reclaimed()


# --- what is freed, counted on the disk


def is_called(name: str, image: Details) -> bool:
    return name in str(image.image.reference)


@pytest.fixture
async def sharing(small_disk: Path, tmp_path: Path) -> ImageService:
    """Two images on one layer of 4 MB, each with one of its own: 1 and 2 MB."""
    source, base = LayoutBuilder(tmp_path / "source"), layer_tar({"base": os.urandom(4_000_000)})
    for number in (1, 2):
        own = layer_tar({"own": os.urandom(1_000_000 * number)})
        source.image(f"docker.io/library/image{number}:latest", ImageParts.make([base, own], compression="none"))
    service = ImageService(layout=Layout(root=small_disk / "root", run_dir=tmp_path / "run"), clock=VirtualClock())
    await service.open()
    await service.load(source.path)
    return service


async def test_a_shared_layer_is_freed_with_the_last_image(sharing: ImageService, small_disk: Path) -> None:
    for name, least in (("image1", 2_000_000), ("image2", 12_000_000)):
        before = taken(small_disk)
        would = await sharing.keeper.prune(partial(is_called, name), dry_run=True)
        assert taken(small_disk) == before
        done = await sharing.remove(name)
        assert done.removed == would.removed
        assert done.removed.freed == before - taken(small_disk), "to the byte"
        assert least <= done.removed.freed < least + 100_000
    assert (await sharing.keeper.unneeded()).freed == 0


async def test_a_prune_counts_once_what_its_images_share(sharing: ImageService, small_disk: Path) -> None:
    before = taken(small_disk)
    stored = await sharing.keeper.stored()
    assert sum(use.own for use in shared_and_own(stored)) < 6_100_000, "the layer is nobody's own"
    done = await sharing.keeper.prune(lambda image: True)
    assert len(done.names) == 2
    assert done.removed.freed == before - taken(small_disk)
    assert 14_000_000 <= done.removed.freed < 14_200_000


@pytest.mark.parametrize(("low", "count"), [(90, 1), (50, 2)])
async def test_as_many_images_go_as_are_needed(sharing: ImageService, small_disk: Path, low: int, count: int) -> None:
    """The first one frees little, as the other one shares its layer: that is seen, and the other one goes too."""
    assert await sharing.reclaim(ImageRetention(minimum_age=0.0), frozenset()) == Reclaimed()
    used = taken(small_disk)
    resize(small_disk, used + 500_000)
    retention = ImageRetention(minimum_age=0.0, high_percent=90, low_percent=low)
    done = await sharing.reclaim(retention, frozenset())
    assert len(done.images) == count
    assert (done.freed, done.missing) == (used - taken(small_disk), 0)
    assert len(await sharing.list()) == 2 - count
