"""Pulls from a real registry: Debian's docker-registry, as a mirror of docker.io and by its own name."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nsrun.errors import ImageError, NotFoundError
from nsrun.images.keychain import FileKeychain
from nsrun.images.progress import Progress, Stage
from nsrun.images.registries import load_registries
from nsrun.model.container import PullPolicy
from nsrun.support.layout import Layout
from tests.layouts import ImageParts, LayoutBuilder, layer_tar
from tests.registry import Registry
from tests.system.images.conftest import MakeService

pytestmark = [pytest.mark.root, pytest.mark.timeout(60)]

NGINX = "docker.io/library/nginx:latest"
PASSWD = b"root:x:0:0::/root:/bin/sh\n"


def two_layers() -> ImageParts:
    return ImageParts.make(
        [layer_tar({"etc/passwd": PASSWD, "below": b"1"}), layer_tar({"below": b"2", "etc/group": b"root:x:0:\n"})],
        config={"User": "nginx", "StopSignal": "SIGQUIT", "WorkingDir": "/srv", "Volumes": {"/data": {}}},
    )


def skopeo_digest(image: str, *flags: str) -> str:
    said = subprocess.run(["skopeo", "inspect", *flags, image], check=True, capture_output=True, text=True).stdout
    return str(json.loads(said)["Digest"])


@pytest.fixture
def source(tmp_path: Path) -> LayoutBuilder:
    return LayoutBuilder(tmp_path / "source")


async def test_a_mirror_of_docker_hub_over_plain_http(
    registry: Registry, source: LayoutBuilder, service: MakeService, layout: Layout
) -> None:
    digest = source.image(NGINX, two_layers())
    registry.start()
    registry.push(source.path, NGINX)
    images = await service(registries=load_registries(registry.registries_conf(), {}))

    image = await images.ensure("nginx", PullPolicy.IF_NOT_PRESENT)

    assert image.reference == NGINX
    assert image.digest == digest
    assert image.config.user == "nginx"
    assert image.config.stop_signal == "SIGQUIT"
    assert image.config.volumes == ("/data",)
    assert image.passwd == PASSWD
    assert image.group == b"root:x:0:\n"
    assert [Path(layer, "below").read_bytes() for layer in image.layers] == [b"2", b"1"]


async def test_tls_with_an_authority_of_its_own_and_basic_authentication(
    registry: Registry, source: LayoutBuilder, service: MakeService
) -> None:
    source.image(NGINX, two_layers())
    registry.start(tls=True, htpasswd=("user", "pass:word"))
    registry.push(source.path, NGINX)
    images = await service(
        registries=load_registries(registry.registries_conf(), {}),
        credentials=FileKeychain((registry.auth_file(),), {}),
        certificates=registry.certificates,
    )
    assert (await images.ensure("nginx", PullPolicy.ALWAYS)).reference == NGINX


async def test_tls_without_trust_is_refused_with_a_remedy(
    registry: Registry, source: LayoutBuilder, service: MakeService
) -> None:
    registry.start(tls=True)
    images = await service(registries=load_registries(registry.registries_conf(), {}))
    with pytest.raises(ImageError, match="certificate that cannot be verified") as caught:
        await images.ensure("nginx", PullPolicy.IF_NOT_PRESENT)
    assert caught.value.reason == "ErrImagePull"
    assert f"certs.d/{registry.host}/ca.crt" in str(caught.value.hint)


async def test_insecure_takes_tls_that_cannot_be_verified(
    registry: Registry, source: LayoutBuilder, service: MakeService
) -> None:
    source.image(NGINX, two_layers())
    registry.start(tls=True)
    registry.push(source.path, NGINX)
    images = await service(registries=load_registries(registry.registries_conf(insecure=True), {}))
    assert (await images.ensure("nginx", PullPolicy.IF_NOT_PRESENT)).reference == NGINX


async def test_plain_http_is_refused_unless_it_was_allowed(registry: Registry, service: MakeService) -> None:
    registry.start()
    images = await service(registries=load_registries(registry.registries_conf(insecure=False), {}))
    with pytest.raises(ImageError, match="does not speak TLS") as caught:
        await images.ensure("nginx", PullPolicy.IF_NOT_PRESENT)
    assert f'insecure = true for "{registry.host}"' in str(caught.value.hint)


async def test_wrong_credentials_say_so(registry: Registry, service: MakeService) -> None:
    registry.start(htpasswd=("user", "right"))
    registry.credential = ("user", "wrong")
    images = await service(
        registries=load_registries(registry.registries_conf(), {}),
        credentials=FileKeychain((registry.auth_file(),), {}),
    )
    with pytest.raises(
        ImageError, match=r'cannot pull image "docker.io/library/nginx:latest": .* 401 Unauthorized'
    ) as e:
        await images.ensure("nginx", PullPolicy.IF_NOT_PRESENT)
    assert "wrong" not in str(e.value)
    assert "nsrun login" in str(e.value.hint)


async def test_what_is_not_there_says_so(registry: Registry, service: MakeService) -> None:
    registry.start()
    images = await service(registries=load_registries(registry.registries_conf(), {}))
    with pytest.raises(ImageError, match=r"404 Not Found \(manifest unknown\)"):
        await images.ensure("nginx", PullPolicy.IF_NOT_PRESENT)


async def test_a_registry_that_is_down_says_so(registry: Registry, service: MakeService) -> None:
    registry.start()
    registry.stop()
    images = await service(registries=load_registries(registry.registries_conf(), {}))
    with pytest.raises(ImageError, match=r"cannot be reached: connection refused \(ECONNREFUSED\)"):
        await images.ensure("nginx", PullPolicy.IF_NOT_PRESENT)


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
async def test_every_compression(
    registry: Registry, source: LayoutBuilder, service: MakeService, compression: str
) -> None:
    parts = ImageParts.make(compression=compression)
    source.image("x/y:1", parts)
    host = registry.start()
    registry.push(source.path, "x/y:1")
    images = await service(registries=load_registries(registry.registries_conf(prefix=host), {}))
    image = await images.ensure(f"{host}/x/y:1", PullPolicy.IF_NOT_PRESENT)
    assert Path(image.layers[0], "hello").read_bytes() == b"world"
    by_digest = await images.ensure(f"{host}/x/y@{image.digest}", PullPolicy.ALWAYS)
    assert by_digest.layers == image.layers


async def test_docker_schema_2(registry: Registry, source: LayoutBuilder, service: MakeService, layout: Layout) -> None:
    source.image("x:1", ImageParts.make())
    host = registry.start()
    registry.push(source.path, "x:1", docker=True)
    used: set[str] = set()
    images = await service(
        registries=load_registries(registry.registries_conf(prefix=host), {}), in_use=lambda: frozenset(used)
    )
    image = await images.ensure(f"{host}/x:1", PullPolicy.IF_NOT_PRESENT)
    assert Path(image.layers[0], "hello").read_bytes() == b"world"
    assert image.digest == skopeo_digest(f"docker://{host}/x:1", "--tls-verify=false")
    assert (await images.ensure(f"{host}/x@{image.digest}", PullPolicy.ALWAYS)).digest == image.digest
    assert skopeo_digest(f"oci:{layout.images}:{host}/x:1").startswith("sha256:")

    used.add(image.digest)
    blobs = set((layout.images / "blobs" / "sha256").iterdir())
    await images.collect()
    assert set((layout.images / "blobs" / "sha256").iterdir()) == blobs


async def test_an_index_gives_this_platforms_image(
    registry: Registry, source: LayoutBuilder, service: MakeService
) -> None:
    ours, theirs = ImageParts.make(), ImageParts.make(platform={"os": "linux", "architecture": "arm64"})
    source.index("x:1", {"linux/arm64": theirs, "linux/amd64": ours, "linux/amd64/v3": theirs})
    host = registry.start()
    registry.push(source.path, "x:1")
    images = await service(registries=load_registries(registry.registries_conf(prefix=host), {}))
    assert (await images.ensure(f"{host}/x:1", PullPolicy.IF_NOT_PRESENT)).digest == ours.manifest.digest


async def test_skopeo_reads_the_store(
    registry: Registry, source: LayoutBuilder, service: MakeService, layout: Layout
) -> None:
    digest = source.image(NGINX, two_layers())
    registry.start()
    registry.push(source.path, NGINX)
    images = await service(registries=load_registries(registry.registries_conf(), {}))
    await images.ensure("nginx", PullPolicy.IF_NOT_PRESENT)
    assert skopeo_digest(f"oci:{layout.images}:{NGINX}") == digest


async def test_policies(registry: Registry, source: LayoutBuilder, service: MakeService) -> None:
    first = source.image(NGINX, two_layers())
    registry.start()
    registry.push(source.path, NGINX)
    images = await service(registries=load_registries(registry.registries_conf(), {}))

    with pytest.raises(ImageError) as caught:
        await images.ensure("nginx", PullPolicy.NEVER)
    assert caught.value.reason == "ErrImageNeverPull"
    assert caught.value.message == 'Container image "nginx" is not present with pull policy of Never'

    assert (await images.ensure("nginx", PullPolicy.IF_NOT_PRESENT)).digest == first
    newer = LayoutBuilder(source.path.with_name("newer"))
    second = newer.image(NGINX, ImageParts.make())
    registry.push(newer.path, NGINX)
    assert (await images.ensure("nginx", PullPolicy.IF_NOT_PRESENT)).digest == first
    assert (await images.ensure("nginx", PullPolicy.NEVER)).digest == first
    assert (await images.ensure("nginx", PullPolicy.ALWAYS)).digest == second
    registry.stop()
    assert (await images.ensure("nginx", PullPolicy.IF_NOT_PRESENT)).digest == second
    with pytest.raises(ImageError, match="cannot be reached"):
        await images.ensure("nginx", PullPolicy.ALWAYS)


async def test_always_asks_by_a_head_alone_when_nothing_changed(
    registry: Registry, source: LayoutBuilder, service: MakeService
) -> None:
    source.image(NGINX, two_layers())
    registry.start()
    registry.push(source.path, NGINX)
    images = await service(registries=load_registries(registry.registries_conf(), {}))
    first = await images.ensure("nginx", PullPolicy.ALWAYS)
    before = len((registry.base / "log").read_text())
    assert await images.ensure("nginx", PullPolicy.ALWAYS) == first
    asked = [line for line in (registry.base / "log").read_text()[before:].splitlines() if '"nsrun"' in line]
    assert len(asked) == 1
    assert '"HEAD /v2/library/nginx/manifests/latest HTTP/1.1" 200' in asked[0]


MEASURE = """
import asyncio, sys
from pathlib import Path
from nsrun.images.registries import load_registries
from nsrun.images.service import ImageService
from nsrun.support.layout import Layout

async def main():
    root = Path(sys.argv[1])
    layout = Layout(root=root / "root", run_dir=root / "run", log_dir=root / "log")
    async with ImageService(layout=layout, registries=load_registries(Path(sys.argv[2]), {})) as images:
        await images.pull("nginx")

asyncio.run(main())
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


async def test_a_pull_takes_little_memory_however_large_the_image(
    registry: Registry, source: LayoutBuilder, tmp_path: Path, repo: Path
) -> None:
    """In KiB, of the process; its children, four at a time, hold a buffer each."""
    tars = [layer_tar({f"f{n}": os.urandom(1 << 20) * 40}) for n in range(6)]
    source.image(NGINX, ImageParts.make(tars, compression="zstd"))
    registry.start()
    registry.push(source.path, NGINX)
    program = [sys.executable, "-c", MEASURE, str(tmp_path / "pull"), str(registry.registries_conf())]
    done = await asyncio.to_thread(subprocess.run, program, capture_output=True, text=True, cwd=repo)
    assert int(done.stdout) < 100 << 10, done.stderr


async def test_what_is_here_is_not_fetched_again(
    registry: Registry, source: LayoutBuilder, service: MakeService, layout: Layout
) -> None:
    base = layer_tar({"base": b"1"})
    source.image("a:1", ImageParts.make([base, layer_tar({"a": b""})]))
    source.image("b:1", ImageParts.make([base, layer_tar({"b": b""})]))
    host = registry.start()
    registry.push(source.path, "a:1")
    registry.push(source.path, "b:1")
    images = await service(registries=load_registries(registry.registries_conf(prefix=host), {}))
    seen: list[Progress] = []
    first = await images.pull(f"{host}/a:1", seen.append)
    second = await images.pull(f"{host}/b:1", seen.append)
    downloads = [p.layer for p in seen if p.stage is Stage.DOWNLOADING and p.done == p.total]
    assert len(downloads) == len(set(downloads)) == 5  # two configurations, three different layers
    assert first.layers[1] == second.layers[1]
    seen.clear()
    again = await images.pull(f"{host}/a:1", seen.append)
    assert again == first
    assert not [p for p in seen if p.stage is Stage.DOWNLOADING]


async def test_many_who_ask_at_once_pull_once(registry: Registry, source: LayoutBuilder, service: MakeService) -> None:
    source.image(NGINX, two_layers())
    registry.start()
    registry.push(source.path, NGINX)
    images = await service(registries=load_registries(registry.registries_conf(), {}))
    seen: list[Progress] = []
    got = await asyncio.gather(*(images.pull("nginx", seen.append) for _ in range(20)))
    assert len(set(map(id, got))) >= 1
    assert len({image.digest for image in got}) == 1
    assert sum(p.stage is Stage.RESOLVING for p in seen) == 1


async def test_removal_takes_what_only_that_image_needs(
    registry: Registry, source: LayoutBuilder, service: MakeService, layout: Layout
) -> None:
    base = layer_tar({"base": b"1"})
    source.image("a:1", ImageParts.make([base, layer_tar({"a": b""})]))
    source.image("b:1", ImageParts.make([base, layer_tar({"b": b""})]))
    host = registry.start()
    registry.push(source.path, "a:1")
    registry.push(source.path, "b:1")
    used: set[str] = set()
    images = await service(
        registries=load_registries(registry.registries_conf(prefix=host), {}), in_use=lambda: frozenset(used)
    )
    first, second = await images.pull(f"{host}/a:1"), await images.pull(f"{host}/b:1")
    used.add(first.digest)
    with pytest.raises(ImageError, match="a container runs from it"):
        await images.remove(f"{host}/a:1")
    used.clear()
    await images.remove(f"{host}/a:1")
    assert [summary.reference for summary in await images.list()] == [f"{host}/b:1"]
    assert not Path(first.layers[0]).exists()
    assert Path(second.layers[0], "b").exists()
    assert Path(second.layers[1], "base").exists()
    with pytest.raises(NotFoundError):
        await images.remove(f"{host}/a:1")
    await images.remove(f"{host}/b:1")
    assert list((layout.images / "blobs" / "sha256").iterdir()) == []
    assert await images.list() == ()


async def test_an_image_in_use_outlives_its_name(
    registry: Registry, source: LayoutBuilder, service: MakeService
) -> None:
    source.image(NGINX, two_layers())
    registry.start()
    registry.push(source.path, NGINX)
    used: set[str] = set()
    images = await service(registries=load_registries(registry.registries_conf(), {}), in_use=lambda: frozenset(used))
    old = await images.pull("nginx")
    used.add(old.digest)
    newer = LayoutBuilder(source.path.with_name("newer"))
    newer.image(NGINX, ImageParts.make())
    registry.push(newer.path, NGINX)
    await images.pull("nginx")
    await images.collect()
    assert all(Path(layer).is_dir() for layer in old.layers)
    used.clear()
    await images.collect()
    assert not any(Path(layer).is_dir() for layer in old.layers)


Damage = Callable[[Layout], None]


def remove_layers(layout: Layout) -> None:
    for layer in layout.layers.glob("sha256/*"):
        layer.rename(layer.with_name("gone"))


def remove_blobs(layout: Layout) -> None:
    for blob in (layout.images / "blobs" / "sha256").iterdir():
        blob.unlink()


def cut_blobs(layout: Layout) -> None:
    for blob in (layout.images / "blobs" / "sha256").iterdir():
        blob.write_bytes(blob.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [remove_layers, remove_blobs])
async def test_what_got_lost_comes_back(
    registry: Registry, source: LayoutBuilder, service: MakeService, layout: Layout, damage: Damage
) -> None:
    source.image(NGINX, ImageParts.make())
    registry.start()
    registry.push(source.path, NGINX)
    registries = load_registries(registry.registries_conf(), {})
    await (await service(registries=registries)).ensure("nginx", PullPolicy.IF_NOT_PRESENT)
    damage(layout)
    image = await (await service(registries=registries)).ensure("nginx", PullPolicy.IF_NOT_PRESENT)
    assert Path(image.layers[0], "hello").read_bytes() == b"world"
