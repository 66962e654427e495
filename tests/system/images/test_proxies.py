"""Pulls through a real proxy: the registry has a name that only the proxy knows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from nsrun.errors import ImageError
from nsrun.images.registries import Registries, load_registries
from nsrun.images.service import ImageService
from nsrun.images.tls import Certificates
from nsrun.support.layout import Layout
from tests.layouts import ImageParts, LayoutBuilder, layer_tar
from tests.proxy import Proxy, proxy
from tests.registry import Registry

pytestmark = [pytest.mark.root, pytest.mark.timeout(60)]

NAME = "registry.test/library/nginx:latest"
USER = "us er:p@ss:wörd/"
QUOTED = "us%20er:p%40ss%3Aw%C3%B6rd%2F"


@pytest.fixture(params=[True, False], ids=["tls", "plain"])
def served(registry: Registry, tmp_path: Path, request: pytest.FixtureRequest) -> Registry:
    source = LayoutBuilder(tmp_path / "source")
    source.image(NAME, ImageParts.make([layer_tar({"one": b"1" * 1000}), layer_tar({"two": b"2"})]))
    registry.start(tls=request.param)
    registry.push(source.path, NAME, "library/nginx:latest")
    return registry


@pytest.fixture
async def between(served: Registry) -> AsyncIterator[Proxy]:
    port = int(served.host.rpartition(":")[2])
    async with proxy({"registry.test:443": port, "registry.test": port}, USER) as made:
        yield made


async def pull(layout: Layout, served: Registry, environment: dict[str, str]) -> str:
    tls = served.scheme == "https"
    conf = served.base / "registries.conf"
    conf.write_text(f'[[registry]]\nlocation = "registry.test"\ninsecure = {str(not tls).lower()}\n')
    registries: Registries = load_registries(conf, {})
    async with AsyncExitStack() as stack:
        made = ImageService(
            layout=layout,
            registries=registries,
            certificates=Certificates(home=_authority(served)) if tls else None,
            environment=environment,
        )
        service = await stack.enter_async_context(made)
        return (await service.pull(NAME)).reference


def _authority(served: Registry) -> Path:
    directory = served.base / "trusted"
    directory.mkdir(exist_ok=True)
    (directory / "ca.crt").write_bytes(served.authority.read_bytes())
    return directory


def variables(between: Proxy, user: str = f"{QUOTED}@") -> dict[str, str]:
    url = f"http://{user}127.0.0.1:{between.port}"
    return {"HTTPS_PROXY": url, "http_proxy": url}


async def test_through_a_proxy_that_wants_to_know_who_we_are(layout: Layout, served: Registry, between: Proxy) -> None:
    assert await pull(layout, served, variables(between)) == NAME
    if served.scheme == "https":
        assert set(between.asked) == {"CONNECT registry.test:443 HTTP/1.1"}
        # What is said to the registry is not for the proxy's eyes.
        assert not any("authorization" in seen or "accept" in seen for seen in between.seen)
    else:
        blobs = [asked for asked in between.asked if "/blobs/" in asked]
        assert blobs
        assert all(asked.startswith("GET http://registry.test/v2/library/nginx/blobs/sha256:") for asked in blobs)


async def test_the_proxy_s_name_may_lead_to_this_machine(layout: Layout, served: Registry, between: Proxy) -> None:
    url = f"http://{QUOTED}@localhost:{between.port}"
    assert await pull(layout, served, {"HTTPS_PROXY": url, "HTTP_PROXY": url}) == NAME


async def test_a_wrong_password_for_the_proxy(layout: Layout, served: Registry, between: Proxy) -> None:
    with pytest.raises(ImageError, match=r'cannot pull image "registry\.test/library/nginx:latest": .*407') as caught:
        await pull(layout, served, variables(between, "user:hunter2@"))
    assert "hunter2" not in caught.value.message + str(caught.value.hint)
    assert f'"http://127.0.0.1:{between.port}"' in caught.value.message or served.scheme == "http"


@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
async def test_exceptions_are_asked_directly(layout: Layout, served: Registry, between: Proxy, variable: str) -> None:
    with pytest.raises(ImageError, match="cannot be reached: "):
        await pull(layout, served, {**variables(between), variable: "other.test,.test"})
    assert between.asked == []


async def test_a_proxy_that_is_not_there(layout: Layout, served: Registry, between: Proxy) -> None:
    between.port = 1
    with pytest.raises(ImageError, match=r'through the proxy "http://127\.0\.0\.1:1": connection refused'):
        await pull(layout, served, variables(between))


async def test_a_proxy_of_another_kind(layout: Layout, served: Registry) -> None:
    url = "socks5://u:hunter2@127.0.0.1:1080"
    with pytest.raises(ImageError, match="it is not one for plain HTTP") as caught:
        await pull(layout, served, {"HTTPS_PROXY": url, "HTTP_PROXY": url})
    assert caught.value.message.startswith('cannot pull image "registry.test/library/nginx:latest": the proxy ')
    assert "hunter2" not in caught.value.message + str(caught.value.hint)
