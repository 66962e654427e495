"""Images go when the disk is full, from a real store on a real file system."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsrun.errors import ImageError
from nsrun.images.collect import Space
from nsrun.images.service import ImageService
from nsrun.model.container import PullPolicy
from nsrun.model.image import Image
from nsrun.model.retention import ImageRetention, Reclaimed
from nsrun.support.layout import Layout
from tests.contracts.virtualclock import VirtualClock

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


def shrink(disk: Path) -> None:
    """So that what is there is nine tenths of it."""
    full = os.statvfs(disk)
    used = (full.f_blocks - full.f_bfree) * full.f_frsize
    subprocess.run(["mount", "-o", f"remount,size={used * 10 // 9}", str(disk)], check=True)


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
