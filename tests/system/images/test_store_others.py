"""Other programs write into the store, and know nothing of its locks: skopeo, and through it buildah."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nsrun.images.check import Kind
from nsrun.images.registries import load_registries
from nsrun.images.service import ImageService
from nsrun.images.store import FOREIGN_GRACE
from nsrun.model.container import PullPolicy
from nsrun.support.layout import Layout
from tests.layouts import ImageParts, LayoutBuilder, layer_tar, sha256
from tests.registry import Registry
from tests.system.images.conftest import MakeService
from tests.waiting import fewer

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

APP = ImageParts.make([layer_tar({"etc/passwd": b"root", "app": b"1"})])
Skopeo = Callable[[str, str], None]


@pytest.fixture
def source(tmp_path: Path) -> LayoutBuilder:
    made = LayoutBuilder(tmp_path / "source")
    made.image("app", APP)
    return made


@pytest.fixture
def skopeo(tool: Callable[[str], str], source: LayoutBuilder, layout: Layout) -> Skopeo:
    """``skopeo("app", "name")`` copies an image of the source into the store."""
    program = tool("skopeo")

    def copy(image: str, name: str) -> None:
        target = f"oci:{layout.images}" + (f":{name}" if name else "")
        subprocess.run([program, "copy", "--quiet", "--all", f"oci:{source.path}:{image}", target], check=True)

    return copy


async def names(images: ImageService) -> list[str]:
    return [image.reference for image in await images.list()]


@pytest.mark.parametrize(
    ("written", "asked", "full"),
    [
        ("app", "app", "docker.io/library/app:latest"),
        ("app:v1", "app:v1", "docker.io/library/app:v1"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("docker.io/library/app:latest", "app", "docker.io/library/app:latest"),
        ("quay.io/a/app:2", "quay.io/a/app:2", "quay.io/a/app:2"),
    ],
)
async def test_what_skopeo_writes_works_at_once(
    service: MakeService, skopeo: Skopeo, written: str, asked: str, full: str
) -> None:
    images = await service()
    skopeo("app", written)
    assert await names(images) == [full]
    image = await images.ensure(asked, PullPolicy.IF_NOT_PRESENT)
    assert Path(image.layers[0], "app").read_bytes() == b"1"
    assert image.passwd == b"root"
    assert await images.keeper.check() == ()
    await images.collect()
    assert (await images.ensure(asked, PullPolicy.NEVER)).layers == image.layers
    assert (await images.remove(asked)).names == (full,)
    assert await names(images) == []


async def test_an_image_for_many_platforms(
    service: MakeService, source: LayoutBuilder, layout: Layout, skopeo: Skopeo
) -> None:
    other = ImageParts.make([layer_tar({"app": b"other"})], platform={"architecture": "arm64", "os": "linux"})
    source.index("many", {"linux/amd64": APP, "linux/arm64": other})
    images = await service()
    skopeo("many", "many")
    assert await names(images) == ["docker.io/library/many:latest"]
    image = await images.ensure("many", PullPolicy.NEVER)
    assert Path(image.layers[0], "app").read_bytes() == b"1"
    await images.collect()
    assert await images.keeper.check() == ()
    blobs = {path.name for path in (layout.images / "blobs/sha256").iterdir()}
    assert other.layers[0].digest.partition(":")[2] in blobs, "it is part of what was copied"


async def test_the_last_one_to_give_a_name_counts(
    service: MakeService, source: LayoutBuilder, skopeo: Skopeo, tmp_path: Path
) -> None:
    second = ImageParts.make([layer_tar({"app": b"2"})])
    source.image("second", second)
    ours = LayoutBuilder(tmp_path / "ours")
    ours.image("docker.io/library/app:latest", APP)
    images = await service()
    await images.load(ours.path)
    skopeo("second", "app")
    assert (await images.ensure("app", PullPolicy.NEVER)).digest == second.manifest.digest
    await images.load(ours.path)
    assert (await images.ensure("app", PullPolicy.NEVER)).digest == APP.manifest.digest
    assert await names(images) == ["docker.io/library/app:latest"]


async def test_blobs_of_a_copy_under_way_stay(service: MakeService, layout: Layout) -> None:
    """skopeo writes blobs first and the name last, and holds no lock meanwhile."""
    images = await service()
    blob = layout.images / "blobs/sha256" / sha256(b"coming").partition(":")[2]
    blob.write_bytes(b"coming")
    assert await images.collect()
    assert blob.exists()
    assert {found.kind for found in await images.keeper.check()} == set()
    aged = images._store
    real = time.time
    try:
        time.time = lambda: real() + FOREIGN_GRACE + 1
        assert {found.kind for found in await images.keeper.check()} == {Kind.UNNEEDED}
        assert await images.collect()
    finally:
        time.time = real
    assert not blob.exists()
    assert aged.blobs.listed() == frozenset()


async def test_a_name_given_while_skopeo_copies_is_not_lost(
    service: MakeService, source: LayoutBuilder, skopeo: Skopeo, layout: Layout, tmp_path: Path
) -> None:
    """It reads index.json when it begins, and writes what it read, and its own name, when it ends."""
    ours = LayoutBuilder(tmp_path / "ours")
    ours.image("docker.io/library/ours:latest", ImageParts.make([layer_tar({"ours": b"1"})]))
    images = await service()
    blob = source.path / "blobs" / APP.config.digest.replace(":", "/")
    blob.unlink()
    os.mkfifo(blob)
    copying = asyncio.create_task(asyncio.to_thread(skopeo, "app", "app"))
    # Whoever opens the other end has begun: it is about to read the configuration.
    config = await asyncio.to_thread(blob.open, "wb")
    await images.load(ours.path)
    config.write(APP.config.data)
    config.close()
    await copying
    written = (layout.images / "index.json").read_text()
    assert "ours" not in written, "skopeo lost it"
    assert await names(images) == ["docker.io/library/app:latest", "docker.io/library/ours:latest"]
    await images.collect()
    await images.ensure("ours", PullPolicy.NEVER)
    await images.ensure("app", PullPolicy.NEVER)
    again = await service()
    assert "docker.io/library/ours:latest" in (layout.images / "index.json").read_text()
    assert await again.keeper.check() == ()


async def test_an_image_without_a_name_stays_until_it_is_pruned(
    service: MakeService, skopeo: Skopeo, layout: Layout
) -> None:
    images = await service()
    skopeo("app", "")
    await images.collect()
    assert len(list((layout.images / "blobs/sha256").iterdir())) == 3
    pruned = await images.keeper.prune(None)
    assert pruned.names == ()
    assert json.loads((layout.images / "index.json").read_text())["manifests"] == []


async def test_a_name_that_skopeo_deletes_is_gone(
    service: MakeService, skopeo: Skopeo, layout: Layout, tool: Callable[[str], str]
) -> None:
    """Its version here may not be able to; then the same by hand: the entry and the blobs go."""
    images = await service()
    skopeo("app", "app")
    assert await names(images) == ["docker.io/library/app:latest"]
    images._store.names.settle()
    (layout.images / "index.json").write_text('{"schemaVersion":2,"manifests":[]}')
    for blob in (layout.images / "blobs/sha256").iterdir():
        blob.unlink()
    assert await names(images) == []


LOADER = """
import asyncio, contextlib, sys
from pathlib import Path
from nsrun.errors import NotFoundError
from nsrun.images.service import ImageService
from nsrun.support.layout import Layout

async def main() -> None:
    root, source, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    async with ImageService(layout=Layout(root=root / "root", run_dir=root / "run")) as images:
        for _ in range(count):
            await images.load(source)
            with contextlib.suppress(NotFoundError):  # the other one was faster
                await images.remove("docker.io/library/passing:latest")
asyncio.run(main())
"""


def start_loader(root: Path, number: int) -> subprocess.Popen[str]:
    """A process that loads two images again and again, and removes one of them."""
    loaded = LayoutBuilder(root / f"loaded{number}")
    shared = layer_tar({"shared": b"x" * 100_000})
    loaded.image(f"docker.io/library/stays{number}:latest", ImageParts.make([shared, layer_tar({f"{number}": b""})]))
    loaded.image("docker.io/library/passing:latest", ImageParts.make([shared, layer_tar({"passing": b"1"})]))
    argv = [sys.executable, "-c", LOADER, str(root), str(loaded.path), str(fewer(10))]
    return subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)


async def test_many_programs_at_once_lose_nothing(
    service: MakeService, layout: Layout, skopeo: Skopeo, tmp_path: Path
) -> None:
    """Two processes of nsrun load, remove and collect while skopeo copies: every image that stays is whole, by its name
    or by skopeo's."""
    assert layout.root == tmp_path / "root"
    loaders = [start_loader(tmp_path, number) for number in range(2)]
    images = await service()
    copies = 0
    while any(loader.poll() is None for loader in loaders):
        await asyncio.to_thread(skopeo, "app", f"copy{copies}")
        copies += 1
        await images.list()
    for loader in loaders:
        _, said = loader.communicate()
        assert loader.returncode == 0, said
    found = await names(images)
    expected = {"docker.io/library/stays0:latest", "docker.io/library/stays1:latest"}
    expected |= {f"docker.io/library/copy{number}:latest" for number in range(copies)}
    assert copies > 2
    assert expected <= set(found)
    findings = [one for one in await images.keeper.check() if one.kind not in (Kind.LEFTOVER, Kind.UNNEEDED)]
    assert findings == []
    for name in expected:
        await images.ensure(name, PullPolicy.NEVER)


async def test_pulls_and_copies_at_once(
    registry: Registry, source: LayoutBuilder, service: MakeService, skopeo: Skopeo
) -> None:
    registry.start()
    for number in range(4):
        source.image(f"pulled{number}", ImageParts.make([layer_tar({f"file{number}": b"x" * 50_000})]))
        registry.push(source.path, f"pulled{number}", to=f"library/pulled{number}:latest")
    first = await service(registries=load_registries(registry.registries_conf(), {}))
    second = await service(registries=load_registries(registry.registries_conf(), {}))

    async def copy() -> None:
        for number in range(fewer(5)):
            await asyncio.to_thread(skopeo, "app", f"copied{number}")

    async def pull(images: ImageService) -> None:
        for number in range(4):
            await images.pull(f"pulled{number}")
            await images.collect()

    async with asyncio.TaskGroup() as group:
        group.create_task(copy())
        group.create_task(pull(first))
        group.create_task(pull(second))
    expected = [f"docker.io/library/copied{number}:latest" for number in range(fewer(5))]
    expected += [f"docker.io/library/pulled{number}:latest" for number in range(4)]
    assert await names(first) == expected
    assert [one for one in await first.keeper.check() if one.kind is not Kind.LEFTOVER] == []
