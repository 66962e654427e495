"""What ``nsrun save`` writes, read by those it is written for: skopeo, umoci, podman."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.podman import Podman
from nsrun.images.lookup import find_image
from nsrun.images.save import Form, save_directory, save_file
from nsrun.images.store import Store, StoredImage
from nsrun.support.layout import Layout
from tests.system.images.conftest import MakeService

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

NGINX, BUSYBOX = "docker.io/library/nginx:latest", "docker.io/library/busybox:latest"


@pytest.fixture
async def store(demo_images: Path, service: MakeService, layout: Layout) -> Store:
    await (await service()).load(demo_images)
    return Store(layout.images)


def saved(store: Store, form: Form, target: Path, *names: str) -> list[StoredImage]:
    images = [find_image(store, name, "save") for name in names]
    if form is Form.OCI_DIR:
        save_directory(store, images, target)
    else:
        save_file(store, images, form, target)
    return images


def output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


@pytest.mark.parametrize("form", [Form.OCI_ARCHIVE, Form.OCI_DIR])
def test_skopeo_finds_the_same_digests(store: Store, tmp_path: Path, tool: Callable[[str], str], form: Form) -> None:
    target = tmp_path / "target"
    images = saved(store, form, target, "nginx", "busybox")
    transport = "oci" if form is Form.OCI_DIR else form
    for image in images:
        found = json.loads(output(tool("skopeo"), "inspect", f"{transport}:{target}:{image.reference}"))
        assert found["Digest"] == image.manifest.digest


def test_skopeo_reads_a_docker_archive(store: Store, tmp_path: Path, tool: Callable[[str], str]) -> None:
    target = tmp_path / "target"
    images = saved(store, Form.DOCKER_ARCHIVE, target, "nginx", "busybox")
    for image in images:
        manifest, configuration = store.documents(image.manifest)
        source = f"docker-archive:{target}:{image.reference}"
        raw = json.loads(output(tool("skopeo"), "inspect", "--raw", source))
        assert raw["config"]["digest"] == manifest.config.digest
        assert [layer["digest"] for layer in raw["layers"]] == list(configuration.diff_ids)
        output(tool("skopeo"), "copy", "-q", source, f"dir:{tmp_path / image.reference.path.replace('/', '_')}")


def test_umoci_unpacks_the_layout(store: Store, tmp_path: Path, tool: Callable[[str], str]) -> None:
    """umoci takes nothing but a tag for a name, so it is given one by skopeo."""
    saved(store, Form.OCI_DIR, tmp_path / "layout", "busybox")
    output(tool("skopeo"), "copy", "-q", f"oci:{tmp_path}/layout:{BUSYBOX}", f"oci:{tmp_path}/named:busybox")
    output(tool("umoci"), "unpack", "--image", f"{tmp_path}/named:busybox", str(tmp_path / "bundle"))
    assert (tmp_path / "bundle" / "rootfs" / "bin" / "busybox").exists()


@pytest.mark.parametrize("form", [Form.OCI_ARCHIVE, Form.DOCKER_ARCHIVE])
def test_podman_loads_them(store: Store, tmp_path: Path, form: Form) -> None:
    if not Podman.installed():
        pytest.skip("podman is not installed")
    podman = Podman(tmp_path / "podman")
    target = tmp_path / "target"
    names = ("nginx", "busybox") if form is Form.DOCKER_ARCHIVE else ("nginx",)  # podman: one image of an OCI archive
    images = saved(store, form, target, *names)
    podman.run("load", "--input", str(target))
    for image in images:
        (found,) = json.loads(podman.run("image", "inspect", str(image.reference)))
        manifest, configuration = store.documents(image.manifest)
        assert f"sha256:{found['Id']}" == manifest.config.digest
        assert found["RootFS"]["Layers"] == list(configuration.diff_ids)
        if form is Form.OCI_ARCHIVE:
            assert found["Digest"] == image.manifest.digest


async def test_it_comes_back_as_it_was(store: Store, service: MakeService, tmp_path: Path) -> None:
    images = await service()
    before = await images.list()
    saved(store, Form.OCI_ARCHIVE, tmp_path / "target", "nginx", "busybox")
    for name in (NGINX, BUSYBOX):
        await images.remove(name)
    assert set(await images.load(tmp_path / "target")) == {BUSYBOX, NGINX}
    assert await images.list() == before
