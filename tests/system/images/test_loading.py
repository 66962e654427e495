"""Images out of files, all the way: the demo's images, and archives that skopeo writes of them."""

from __future__ import annotations

import asyncio
import gzip
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from nsrun.errors import ImageError
from nsrun.images.registries import Registries, load_registries
from nsrun.model.container import PullPolicy
from nsrun.support.layout import Layout
from tests.layouts import Blob, ImageParts, LayoutBuilder, layer_tar
from tests.registry import Registry
from tests.system.images.conftest import MakeService

pytestmark = [pytest.mark.root, pytest.mark.timeout(60)]

NAMES = ("docker.io/library/busybox:latest", "docker.io/library/nginx:latest")
NOWHERE = Registries()


async def test_the_demo_images(demo_images: Path, service: MakeService, layout: Layout) -> None:
    images = await service()
    assert sorted(await images.load(demo_images)) == list(NAMES)
    assert [summary.reference for summary in await images.list()] == list(NAMES)
    nginx = await images.ensure("nginx", PullPolicy.NEVER)
    assert b"root:" in nginx.passwd
    assert any(Path(layer, "usr/sbin/nginx").exists() for layer in nginx.layers)
    assert nginx.config.cmd or nginx.config.entrypoint
    again = await images.ensure("nginx", PullPolicy.IF_NOT_PRESENT)
    assert again == nginx
    fresh = await service()
    assert await fresh.ensure("nginx", PullPolicy.IF_NOT_PRESENT) == nginx
    assert await fresh.resolve("unknown") is None


@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
async def test_archives_that_skopeo_writes(
    demo_images: Path, service: MakeService, tmp_path: Path, tool: Callable[[str], str], form: str
) -> None:
    archive = tmp_path / "archive.tar"
    command = [tool("skopeo"), "copy", "-q", f"oci:{demo_images}:{NAMES[0]}", f"{form}:{archive}:{NAMES[0]}"]
    await asyncio.to_thread(subprocess.run, command, check=True)
    images = await service()
    assert await images.load(archive) == (NAMES[0],)
    image = await images.ensure("busybox", PullPolicy.NEVER)
    assert any(Path(layer, "bin/busybox").exists() for layer in image.layers)


async def test_a_layer_that_is_not_what_the_configuration_says(
    service: MakeService, layout: Layout, tmp_path: Path
) -> None:
    """Nothing gets a name before its diff_ids are verified."""
    honest = ImageParts.make([layer_tar({"a": b"1"})])
    layer = Blob(data=gzip.compress(layer_tar({"a": b"2"})), media_type=honest.layers[0].media_type)
    document = {**json.loads(honest.manifest.data), "layers": [layer.descriptor]}
    manifest = Blob(data=json.dumps(document).encode(), media_type=honest.manifest.media_type)
    source = LayoutBuilder(tmp_path / "source")
    source.image("x", ImageParts(manifest=manifest, config=honest.config, layers=(layer,)))
    images = await service()
    with pytest.raises(ImageError, match="cannot unpack layer"):
        await images.load(source.path)
    assert await images.list() == ()
    await images.collect()
    assert list((layout.images / "blobs" / "sha256").iterdir()) == []


async def test_what_cannot_be_loaded_says_why(service: MakeService, tmp_path: Path) -> None:
    images = await service()
    with pytest.raises(ImageError, match=r'cannot load "[^"]*none": no such file or directory \(ENOENT\)'):
        await images.load(tmp_path / "none")
    with pytest.raises(ImageError, match=r'cannot load ".*": it is no OCI image layout') as caught:
        await images.load(tmp_path)
    assert caught.value.hint is not None


async def test_what_is_loaded_need_not_be_pulled(demo_images: Path, service: MakeService, registry: Registry) -> None:
    """Always asks the registry, hears that it has the same, and fetches nothing."""
    registry.start()
    registry.push(demo_images, NAMES[0])
    images = await service(registries=load_registries(registry.registries_conf(), {}))
    await images.load(demo_images)
    loaded = await images.ensure("busybox", PullPolicy.NEVER)
    assert await images.ensure("busybox", PullPolicy.ALWAYS) == loaded


async def test_a_damaged_document_is_an_inspect_error(demo_images: Path, service: MakeService, layout: Layout) -> None:
    images = await service()
    await images.load(demo_images)
    (nginx,) = [summary for summary in await images.list() if "nginx" in summary.reference]
    path = layout.images / "blobs" / "sha256" / nginx.config_digest.partition(":")[2]
    path.write_bytes(b" " * path.stat().st_size)
    with pytest.raises(ImageError, match="is damaged") as caught:
        await (await service()).ensure("nginx", PullPolicy.NEVER)
    assert caught.value.reason == "ImageInspectError"


async def test_invalid_names(service: MakeService) -> None:
    images = await service()
    with pytest.raises(ImageError) as caught:
        await images.ensure("Nginx", PullPolicy.ALWAYS)
    assert caught.value.reason == "InvalidImageName"
