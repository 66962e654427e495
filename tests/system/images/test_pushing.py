"""Pushes to a real registry: Debian's docker-registry; what arrives is what skopeo and podman find there."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bench.podman import Podman
from nsrun.errors import ImageError
from nsrun.images.keychain import FileKeychain
from nsrun.images.lookup import find_image
from nsrun.images.progress import Progress, Stage
from nsrun.images.push import Pusher
from nsrun.images.pushclient import PushClient
from nsrun.images.reference import parse_reference
from nsrun.images.registries import Registries
from nsrun.images.store import Store
from nsrun.images.tls import Certificates
from nsrun.support.layout import Layout
from tests.attacks.images.lying import HurriedClock
from tests.layouts import ImageParts, LayoutBuilder, layer_tar
from tests.registry import Registry
from tests.system.images.conftest import MakeService

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

LARGE = layer_tar({"large": os.urandom(9 << 20)})
SMALL = layer_tar({"small": b"1"})


@asynccontextmanager
async def pusher(
    layout: Layout, *, verify: bool = False, certificates: Path | None = None, files: tuple[Path, ...] = ()
) -> AsyncIterator[Pusher]:
    keychain = FileKeychain(files, {})
    trusted = Certificates(home=certificates)
    client = PushClient(credentials=keychain, certificates=trusted, environment={}, clock=HurriedClock())
    try:
        yield Pusher(store=Store(layout.images), registries=Registries(verify=verify), client=client)
    finally:
        await client.close()


async def push(pushes: Pusher, name: str, target: str) -> list[Progress]:
    told: list[Progress] = []
    found = find_image(pushes.store, name, "push")
    await pushes.push(found, parse_reference(target), told.append)
    return told


def ends(told: Sequence[Progress]) -> list[Stage]:
    """How each blob got there."""
    return sorted(step.stage for step in told if step.layer and step.stage is not Stage.UPLOADING)


def digest_there(registry: Registry, target: str, *flags: str) -> str:
    credential = [f"--creds={':'.join(registry.credential)}"] if registry.credential else []
    command = ["skopeo", "inspect", "--tls-verify=false", *credential, *flags, f"docker://{target}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "no_proxy": "*"})
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["Digest"])


@pytest.fixture
def source(tmp_path: Path) -> LayoutBuilder:
    return LayoutBuilder(tmp_path / "source")


async def test_small_and_large_blobs_arrive(
    registry: Registry, source: LayoutBuilder, service: MakeService, layout: Layout
) -> None:
    digest = source.image("x", ImageParts.make([LARGE, SMALL]))
    await (await service()).load(source.path)
    host = registry.start()
    async with pusher(layout) as pushes:
        told = await push(pushes, "x", f"{host}/a/x:1")
        assert ends(told) == [Stage.READY] * 3
        assert ends(await push(pushes, "x", f"{host}/a/x:2")) == [Stage.PRESENT] * 3
    assert digest_there(registry, f"{host}/a/x:1") == digest_there(registry, f"{host}/a/x:2") == digest
    sent = [step.done for step in told if step.stage is Stage.UPLOADING and step.total > 1 << 20]
    assert sent == sorted(sent)
    assert len(sent) > 10


async def test_docker_manifests_keep_their_digest(
    registry: Registry, source: LayoutBuilder, service: MakeService, layout: Layout
) -> None:
    parts = ImageParts.make([SMALL], docker=True)
    source.image("x", parts)
    await (await service()).load(source.path)
    host = registry.start()
    async with pusher(layout) as pushes:
        await push(pushes, "x", f"{host}/x:1")
    assert digest_there(registry, f"{host}/x:1") == parts.manifest.digest


async def test_what_another_repository_has_is_mounted(
    registry: Registry, source: LayoutBuilder, service: MakeService, layout: Layout
) -> None:
    host = registry.start()
    source.image(f"{host}/base:1", ImageParts.make([SMALL]))
    source.image("x", ImageParts.make([SMALL, layer_tar({"own": b"1"})]))
    await (await service()).load(source.path)
    async with pusher(layout) as pushes:
        await push(pushes, f"{host}/base:1", f"{host}/base:1")
        assert ends(await push(pushes, "x", f"{host}/other/x:1")) == [Stage.MOUNTED, Stage.READY, Stage.READY]
    digest_there(registry, f"{host}/other/x:1")


async def test_what_is_not_where_it_should_be_mounted_from_is_sent(
    registry: Registry, source: LayoutBuilder, service: MakeService, layout: Layout
) -> None:
    host = registry.start()
    source.image(f"{host}/base:1", ImageParts.make([SMALL]))
    source.image("x", ImageParts.make([SMALL, layer_tar({"own": b"1"})]))
    await (await service()).load(source.path)
    async with pusher(layout) as pushes:
        assert ends(await push(pushes, "x", f"{host}/other/x:1")) == [Stage.READY] * 3


async def test_tls_and_basic_authentication(
    registry: Registry, source: LayoutBuilder, service: MakeService, layout: Layout
) -> None:
    digest = source.image("x", ImageParts.make([LARGE]))
    await (await service()).load(source.path)
    host = registry.start(tls=True, htpasswd=("user", "pass:word"))
    files, certificates = (registry.auth_file(),), registry.certificates / host
    async with pusher(layout, verify=True, certificates=certificates, files=files) as pushes:
        await push(pushes, "x", f"{host}/x:file")
    async with pusher(layout, verify=True, certificates=certificates) as pushes:
        with pytest.raises(ImageError, match=r'cannot push image ".*/x:latest" to ".*/x:no": .* 401 Unauthorized') as e:
            await push(pushes, "x", f"{host}/x:no")
    assert f"nsrun login {host}" in str(e.value.hint)
    assert digest_there(registry, f"{host}/x:file") == digest


async def test_podman_pulls_what_was_pushed(
    registry: Registry, demo_images: Path, service: MakeService, layout: Layout, tmp_path: Path
) -> None:
    if not Podman.installed():
        pytest.skip("podman is not installed")
    await (await service()).load(demo_images)
    host = registry.start()
    async with pusher(layout) as pushes:
        await push(pushes, "nginx", f"{host}/nginx:1")
        image = find_image(pushes.store, "nginx", "push")
    podman = Podman(tmp_path / "podman")
    podman.run("pull", "--quiet", "--tls-verify=false", f"{host}/nginx:1")
    (found,) = json.loads(podman.run("image", "inspect", f"{host}/nginx:1"))
    assert found["Digest"] == image.digest == digest_there(registry, f"{host}/nginx:1")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("x@sha256:" + "0" * 64, "its digest is sha256:"),
        ("nowhere:1", r'registry "127.0.0.1:1" cannot be reached: connection refused'),
    ],
)
async def test_what_cannot_be_pushed_says_why(
    source: LayoutBuilder, service: MakeService, layout: Layout, target: str, said: str
) -> None:
    source.image("x", ImageParts.make([SMALL]))
    await (await service()).load(source.path)
    async with pusher(layout) as pushes:
        with pytest.raises(ImageError, match=f"cannot push image .*{said}"):
            await push(pushes, "x", f"127.0.0.1:1/{target}")


async def test_a_blob_that_is_gone(
    registry: Registry, source: LayoutBuilder, service: MakeService, layout: Layout
) -> None:
    parts = ImageParts.make([SMALL])
    source.image("x", parts)
    await (await service()).load(source.path)
    Store(layout.images).blobs.path(parts.layers[0].digest).unlink()
    host = registry.start()
    async with pusher(layout) as pushes:
        with pytest.raises(ImageError, match="is not in the store"):
            await push(pushes, "x", f"{host}/x:1")
