"""What a hostile or broken registry can do: nothing of it counts or stays, and nobody else learns our secrets."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from nsrun.errors import ImageError
from nsrun.images.blobs import is_partial
from nsrun.images.registries import Registries
from nsrun.images.registriesfile import Mirror, Registry
from nsrun.images.service import ImageService
from nsrun.model.credentials import Credential, Credentials
from nsrun.model.image import Image
from nsrun.support.layout import Layout
from tests.attacks.images.lying import Handler, HurriedClock, LyingRegistry
from tests.layouts import OCI, Blob, ImageParts, layer_tar, sha256
from tests.system.images.conftest import MakeService

pytestmark = [pytest.mark.root, pytest.mark.timeout(60)]

# Random content: it must be more than one network buffer long, and stay so when compressed.
BIG = layer_tar({"big": os.urandom(3 << 20)})
SECRET = Credential(username="user", password="secret")

Pull = Callable[..., Awaitable[Image]]


@pytest.fixture
def clock() -> HurriedClock:
    return HurriedClock()


@pytest.fixture
async def pull(lying: LyingRegistry, service: MakeService, clock: HurriedClock, layout: Layout) -> Pull:
    """Pulls ``a/b:1`` from the lying registry; after a failure, the store must be as if nothing had been."""

    async def run(reference: str = "a/b:1", *, credentials: Credentials | None = None) -> Image:
        images = await service(registries=trusting(lying.host), credentials=credentials, clock=clock)
        try:
            return await images.pull(f"{lying.host}/{reference}")
        except ImageError:
            assert await images.list() == ()
            for beginning in (layout.images / ".incoming").iterdir():  # others may have been under way, and honest
                assert is_partial(beginning.name)
                assert lying.is_beginning(beginning.read_bytes())
            for blob in (layout.images / "blobs" / "sha256").iterdir():
                assert sha256(blob.read_bytes()) == f"sha256:{blob.name}"
            raise

    return run


def trusting(*hosts: str) -> Registries:
    return Registries(tables=tuple(Registry(prefix=host, location=host, insecure=True) for host in hosts))


def mirrored(lying: LyingRegistry, *, by: LyingRegistry) -> Registries:
    mirrors = (Mirror(location=by.host, insecure=True),)
    return Registries(tables=(Registry(prefix=lying.host, location=lying.host, insecure=True, mirrors=mirrors),))


def secrets(lying: LyingRegistry) -> Credentials:
    return Credentials(entries=((lying.host, SECRET),))


def served(lying: LyingRegistry, parts: ImageParts | None = None) -> ImageParts:
    made = parts or ImageParts.make([BIG], compression="none")
    lying.serve("a/b", "1", made)
    return made


def answer(body: bytes = b"", **options: object) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, **options)  # type: ignore[arg-type]

    return handler


def streamed(chunks: Iterator[bytes], length: int | None = None) -> Handler:
    """Sends chunks without an announced length, or with a wrong one, then cuts the connection."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = length
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
        if request.transport is not None:
            request.transport.close()
        return response

    return handler


def endless() -> Iterator[bytes]:
    while True:
        yield bytes(1 << 16)


# --- blobs


async def test_other_bytes_of_the_right_length(lying: LyingRegistry, pull: Pull) -> None:
    parts = served(lying)
    layer = parts.layers[0]
    lying.lies[f"a/b/blobs/{layer.digest}"] = answer(bytes(len(layer.data)))
    with pytest.raises(ImageError, match=f"sent sha256:[0-9a-f]{{64}} instead of {layer.digest}"):
        await pull()


async def test_a_shorter_blob(lying: LyingRegistry, pull: Pull) -> None:
    layer = served(lying).layers[0]
    lying.lies[f"a/b/blobs/{layer.digest}"] = answer(layer.data[:-1])
    with pytest.raises(ImageError, match="instead of"):
        await pull()


async def test_a_longer_blob(lying: LyingRegistry, pull: Pull) -> None:
    layer = served(lying).layers[0]
    lying.lies[f"a/b/blobs/{layer.digest}"] = answer(layer.data + b"\0")
    with pytest.raises(ImageError, match="instead of"):
        await pull()


async def test_a_blob_without_end(lying: LyingRegistry, pull: Pull) -> None:
    layer = served(lying).layers[0]
    lying.lies[f"a/b/blobs/{layer.digest}"] = streamed(endless())
    with pytest.raises(ImageError, match="sent more than the"):
        await pull()


async def test_a_configuration_of_other_bytes(lying: LyingRegistry, pull: Pull) -> None:
    config = served(lying).config
    lying.lies[f"a/b/blobs/{config.digest}"] = answer(config.data.replace(b"/hello", b"/hullo"))
    with pytest.raises(ImageError, match="instead of"):
        await pull()


async def test_a_layer_that_is_not_what_the_configuration_says(lying: LyingRegistry, pull: Pull) -> None:
    """Every digest of a blob is right; only the diff_id tells."""
    honest = ImageParts.make([layer_tar({"a": b"1"})], compression="gzip")
    layer = Blob(data=gzip.compress(layer_tar({"a": b"2"})), media_type=honest.layers[0].media_type)
    served(lying, rebuilt(honest, layers=(layer,)))
    with pytest.raises(ImageError, match=r"cannot pull image .*: cannot unpack layer .*: its content is sha256:"):
        await pull()


async def test_a_blob_in_a_content_coding(lying: LyingRegistry, pull: Pull) -> None:
    layer = served(lying).layers[0]
    packed = gzip.compress(layer.data)
    lying.lies[f"a/b/blobs/{layer.digest}"] = answer(packed, headers={"Content-Encoding": "gzip"})
    with pytest.raises(ImageError, match='content coding "gzip"'):
        await pull()


# --- broken transfers


async def test_a_broken_transfer_goes_on_where_it_broke(lying: LyingRegistry, pull: Pull) -> None:
    layer = served(lying).layers[0]
    path = f"a/b/blobs/{layer.digest}"

    async def once(request: web.Request) -> web.StreamResponse:
        del lying.lies[path]
        return await streamed(iter([layer.data[:2000000]]), len(layer.data))(request)

    lying.lies[path] = once
    image = await pull()
    assert Path(image.layers[0], "big").stat().st_size == 3 << 20
    ranges = [asked.headers.get("Range") for asked in lying.requests(layer.digest)]
    assert ranges[0] is None
    assert ranges[1] is not None
    assert 0 < int(ranges[1].removeprefix("bytes=").rstrip("-")) <= 2000000


Continuation = Callable[[bytes, int], web.Response]


def whole(data: bytes, begin: int) -> web.Response:
    return web.Response(body=data)


def another_range(data: bytes, begin: int) -> web.Response:
    return partial(data[begin + 1 :], f"bytes {begin + 1}-{len(data) - 1}/{len(data)}")


def other_bytes(data: bytes, begin: int) -> web.Response:
    return partial(bytes(len(data) - begin), f"bytes {begin}-{len(data) - 1}/{len(data)}")


def no_range(data: bytes, begin: int) -> web.Response:
    return web.Response(status=416)


def partial(body: bytes, content_range: str) -> web.Response:
    return web.Response(status=206, body=body, headers={"Content-Range": content_range})


@pytest.mark.parametrize("continuation", [whole, another_range, other_bytes, no_range])
async def test_a_continuation_that_does_not_fit_costs_only_time(
    lying: LyingRegistry, pull: Pull, continuation: Continuation
) -> None:
    layer = served(lying).layers[0]

    async def handler(request: web.Request) -> web.StreamResponse:
        asked = lying.requests(layer.digest)
        if len(asked) == 1:
            return await streamed(iter([layer.data[:2000000]]), len(layer.data))(request)
        if "Range" in request.headers:
            return continuation(layer.data, int(request.headers["Range"].removeprefix("bytes=").rstrip("-")))
        return web.Response(body=layer.data)

    lying.lies[f"a/b/blobs/{layer.digest}"] = handler
    image = await pull()
    assert Path(image.layers[0], "big").stat().st_size == 3 << 20


async def test_5xx_and_429_pass(lying: LyingRegistry, pull: Pull, clock: HurriedClock) -> None:
    layer = served(lying).layers[0]
    statuses = iter([503, 429, 500])
    path = f"a/b/blobs/{layer.digest}"

    async def handler(request: web.Request) -> web.StreamResponse:
        status = next(statuses)
        if status == 500:
            del lying.lies[path]
        return web.Response(status=status, headers={"Retry-After": "7"} if status == 429 else {})

    lying.lies[path] = handler
    await pull()
    assert len(clock.waits) == 3
    assert clock.waits[1] >= 7
    assert all(0 <= wait <= 10 for wait in clock.waits)


async def test_5xx_forever_ends(lying: LyingRegistry, pull: Pull, clock: HurriedClock) -> None:
    served(lying)
    lying.lies["a/b/manifests/1"] = answer(status=503)
    with pytest.raises(ImageError, match=r"503 Service Unavailable \(tried 5 times\)"):
        await pull()
    assert len(clock.waits) == 4


async def test_nobody_waits_an_hour(lying: LyingRegistry, pull: Pull, clock: HurriedClock) -> None:
    served(lying)
    lying.lies["a/b/manifests/1"] = answer(status=429, headers={"Retry-After": "3600"})
    with pytest.raises(ImageError, match="429 Too Many Requests"):
        await pull()
    assert clock.waits == []


# --- manifests


async def test_a_manifest_with_another_digest_than_was_asked_for(lying: LyingRegistry, pull: Pull) -> None:
    parts, other = served(lying), ImageParts.make()
    lying.serve("a/b", "other", other)
    lying.serve_document(f"a/b/manifests/{parts.manifest.digest}", other.manifest.data, other.manifest.media_type)
    with pytest.raises(ImageError, match="instead of"):
        await pull(f"a/b@{parts.manifest.digest}")


async def test_a_manifest_with_another_digest_than_its_header(lying: LyingRegistry, pull: Pull) -> None:
    parts = served(lying)
    lying.serve_document("a/b/manifests/1", parts.manifest.data, parts.manifest.media_type, sha256(b""))
    with pytest.raises(ImageError, match="instead of"):
        await pull()


def rebuilt(parts: ImageParts, **changes: object) -> ImageParts:
    """The image with another manifest: ``changes`` replace its keys (``layers`` also the blobs)."""
    document = json.loads(parts.manifest.data)
    layers = changes.pop("layers", parts.layers)
    assert isinstance(layers, tuple)
    document["layers"] = [blob.descriptor for blob in layers]
    document.update(changes)
    manifest = Blob(data=json.dumps(document).encode(), media_type=parts.manifest.media_type)
    return ImageParts(manifest=manifest, config=parts.config, layers=layers)


def config(**changes: object) -> dict[str, object]:
    """A manifest's descriptor of its configuration."""
    return {"config": {"mediaType": f"{OCI}config.v1+json", "digest": sha256(b""), "size": 0, **changes}}


@pytest.mark.parametrize(
    ("changes", "content_type", "said"),
    [
        ({}, f"{OCI}index.v1+json", "but calls itself"),
        ({}, "text/html", 'media type "text/html" is not'),
        ({}, "application/vnd.docker.distribution.manifest.v1+prettyjws", "schema 1"),
        ({"manifests": []}, None, "both layers and manifests"),
        ({"mediaType": f"{OCI}index.v1+json"}, None, "but calls itself"),
        ({"schemaVersion": 1}, None, "schemaVersion"),
        (config(digest="sha256:../../../etc/passwd"), None, "digest"),
        (config(digest="md5:" + "0" * 32), None, "digest"),
        (config(digest=sha256(b"") + "\n"), None, "digest"),
        (config(size=-1), None, "minimum"),
        (config(size=1 << 40), None, "larger than 4 MiB"),
        (config(mediaType="application/vnd.cncf.helm.config.v1+json"), None, "artifact"),
    ],
)
async def test_documents_that_are_not_what_they_seem(
    lying: LyingRegistry, pull: Pull, changes: dict[str, object], content_type: str | None, said: str
) -> None:
    parts = served(lying, rebuilt(ImageParts.make(), **changes))
    lying.serve_document("a/b/manifests/1", parts.manifest.data, content_type or parts.manifest.media_type)
    with pytest.raises(ImageError, match=said):
        await pull()


async def test_a_manifest_of_many_mib(lying: LyingRegistry, pull: Pull) -> None:
    lying.serve_document("a/b/manifests/1", b" " * (5 << 20), f"{OCI}manifest.v1+json")
    with pytest.raises(ImageError, match="larger than 4 MiB"):
        await pull()


async def test_a_manifest_without_end(lying: LyingRegistry, pull: Pull) -> None:
    lying.lies["a/b/manifests/1"] = streamed(endless())
    with pytest.raises(ImageError, match="larger than 4 MiB"):
        await pull()


@pytest.mark.parametrize(
    "lie", [{"mediaType": "application/vnd.docker.distribution.manifest.v2+json"}, {"size": 1 << 20}]
)
async def test_an_index_that_announces_another_manifest(
    lying: LyingRegistry, pull: Pull, lie: dict[str, object]
) -> None:
    parts = served(lying)
    entry = {**parts.manifest.descriptor, **lie}
    index = {"schemaVersion": 2, "manifests": [{**entry, "platform": {"os": "linux", "architecture": "amd64"}}]}
    lying.serve_document("a/b/manifests/1", json.dumps(index).encode(), f"{OCI}index.v1+json")
    with pytest.raises(ImageError, match="its index announces"):
        await pull()


async def test_urls_of_descriptors_are_never_followed(
    lying: LyingRegistry, elsewhere: LyingRegistry, pull: Pull
) -> None:
    honest = ImageParts.make()
    layer = honest.layers[0]
    elsewhere.serve("x", "1", honest)
    served(lying, honest)
    entry = {**layer.descriptor, "urls": [f"http://{elsewhere.host}/v2/x/blobs/{layer.digest}"]}
    document = {**json.loads(honest.manifest.data), "layers": [entry]}
    lying.serve_document("a/b/manifests/1", json.dumps(document).encode(), honest.manifest.media_type)
    lying.lies[f"a/b/blobs/{layer.digest}"] = answer(status=404)
    with pytest.raises(ImageError, match="404 Not Found"):
        await pull(credentials=secrets(lying))
    assert elsewhere.asked == []


# --- where it sends us


async def test_a_redirect_to_another_host_gets_no_credential(
    lying: LyingRegistry, elsewhere: LyingRegistry, pull: Pull
) -> None:
    parts = served(lying)
    layer = parts.layers[0]
    elsewhere.lies["/storage"] = answer(layer.data)
    lying.guard = basic
    location = f"http://{elsewhere.host}/storage?signature=a%2Fb%3D"
    lying.lies[f"a/b/blobs/{layer.digest}"] = answer(status=307, headers={"Location": location})
    await pull(credentials=secrets(lying))
    (asked,) = elsewhere.asked
    assert "Authorization" not in asked.headers
    assert asked.path == "/storage?signature=a%2Fb%3D"
    assert lying.requests(layer.digest)[-1].headers["Authorization"].startswith("Basic ")


async def basic(request: web.Request) -> web.StreamResponse:
    if request.headers.get("Authorization", "").startswith("Basic "):
        return web.Response()
    return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="here"'})


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[fe80::1]/",
        "http://[::ffff:169.254.169.254]/",
        "http://0.0.0.0/",
        "file:///etc/passwd",
        "http://user@169.254.169.254/",
        "http://good.example\\@169.254.169.254/",
        "gopher://x/",
    ],
)
async def test_redirects_to_where_only_this_machine_can_go(lying: LyingRegistry, pull: Pull, location: str) -> None:
    layer = served(lying).layers[0]
    lying.lies[f"a/b/blobs/{layer.digest}"] = answer(status=302, headers={"Location": location})
    with pytest.raises(ImageError, match="redirects us to"):
        await pull()


@pytest.fixture
def rebound(tmp_path: Path) -> Iterator[str]:
    """A name that leads to the cloud's metadata service."""
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n169.254.169.254 rebound.example\n")
    subprocess.run(["mount", "--bind", str(hosts), "/etc/hosts"], check=True)
    yield "rebound.example"
    subprocess.run(["umount", "/etc/hosts"], check=True)


async def test_names_that_lead_to_this_machines_link(lying: LyingRegistry, pull: Pull, rebound: str) -> None:
    layer = served(lying).layers[0]
    lying.lies[f"a/b/blobs/{layer.digest}"] = answer(status=302, headers={"Location": f"http://{rebound}/"})
    with pytest.raises(ImageError, match=f'the name "{rebound}" leads to an address of this machine'):
        await pull()


async def test_redirects_without_end(lying: LyingRegistry, pull: Pull) -> None:
    layer = served(lying).layers[0]
    path = f"a/b/blobs/{layer.digest}"
    lying.lies[path] = answer(status=307, headers={"Location": f"/v2/{path}"})
    with pytest.raises(ImageError, match="redirects us more than 8 times"):
        await pull()
    assert len(lying.requests(layer.digest)) == 8


# --- who we are


def bearer(realm: str) -> Handler:
    async def guard(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") == "Bearer good":
            return web.Response()
        challenge = f'Bearer realm="{realm}",service="srv",scope="repository:private/other:pull,push"'
        return web.Response(status=401, headers={"WWW-Authenticate": challenge})

    return guard


async def test_the_token_service_gets_the_credential_and_our_own_scope(
    lying: LyingRegistry, elsewhere: LyingRegistry, pull: Pull
) -> None:
    served(lying)
    lying.guard = bearer(f"http://{elsewhere.host}/token")
    elsewhere.lies["/token"] = answer(b'{"token": "good", "expires_in": 300}')
    await pull(credentials=secrets(lying))
    (asked,) = elsewhere.asked
    assert asked.path == "/token?service=srv&scope=repository%3Aa%2Fb%3Apull"
    assert asked.headers["Authorization"].startswith("Basic ")
    assert all("Basic" not in request.headers.get("Authorization", "") for request in lying.asked)


@pytest.mark.parametrize(
    "realm", ["http://169.254.169.254/token", "http://[::ffff:a9fe:a9fe]/", "ftp://x/", "", "/token"]
)
async def test_token_services_that_only_this_machine_can_reach(lying: LyingRegistry, pull: Pull, realm: str) -> None:
    served(lying)
    lying.guard = bearer(realm)
    with pytest.raises(ImageError, match="sends us for a token to"):
        await pull(credentials=secrets(lying))


async def test_the_token_service_may_not_pass_the_credential_on(
    lying: LyingRegistry, elsewhere: LyingRegistry, pull: Pull
) -> None:
    served(lying)
    lying.guard = bearer(f"http://{lying.host}/token")
    lying.lies["/token"] = answer(status=307, headers={"Location": f"http://{elsewhere.host}/token"})
    elsewhere.lies["/token"] = answer(b'{"token": "good"}')
    await pull(credentials=secrets(lying))
    assert [asked.headers.get("Authorization") for asked in elsewhere.asked] == [None]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"token": 1}', b'{"token": "a\\r\\nX: y"}', b"[" * 100000, b" " * (1 << 20)]
)
async def test_answers_that_are_no_token(lying: LyingRegistry, pull: Pull, body: bytes) -> None:
    served(lying)
    lying.guard = bearer(f"http://{lying.host}/token")
    lying.lies["/token"] = answer(body)
    with pytest.raises(ImageError, match="answered without a token"):
        await pull()


async def test_401_forever_ends(lying: LyingRegistry, pull: Pull) -> None:
    served(lying)
    lying.lies["a/b/manifests/1"] = bearer(f"http://{lying.host}/token")
    lying.lies["/token"] = answer(b'{"token": "bad"}')
    with pytest.raises(ImageError, match="401 Unauthorized"):
        await pull(credentials=secrets(lying))
    assert len(lying.requests("manifests")) == 2
    assert len(lying.requests("token")) == 1


async def test_a_mirror_learns_nothing_about_the_registry(
    lying: LyingRegistry, elsewhere: LyingRegistry, service: MakeService, clock: HurriedClock
) -> None:
    """A mirror that cannot be believed is passed by, and never gets the registry's credential."""
    served(lying, ImageParts.make())
    lying.guard = basic
    elsewhere.guard = basic
    images = await service(registries=mirrored(lying, by=elsewhere), credentials=secrets(lying), clock=clock)
    await images.pull(f"{lying.host}/a/b:1")
    assert elsewhere.requests("manifests")
    assert all("Authorization" not in asked.headers for asked in elsewhere.asked)


async def test_what_it_says_is_made_printable(lying: LyingRegistry, pull: Pull) -> None:
    evil = json.dumps({"errors": [{"message": "\x1b[2J\nfake line" + "x" * 10000}]}).encode()
    lying.lies["a/b/manifests/1"] = answer(evil, status=403)
    with pytest.raises(ImageError) as caught:
        await pull()
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 600


# --- cancellation


async def test_a_cancelled_pull_leaves_nothing_and_others_go_on(
    lying: LyingRegistry, service: MakeService, layout: Layout
) -> None:
    layer = served(lying).layers[0]
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        begun.set()
        await go_on.wait()
        return web.Response(body=layer.data)

    lying.lies[f"a/b/blobs/{layer.digest}"] = slow
    images: ImageService = await service(registries=trusting(lying.host))
    first = asyncio.ensure_future(images.pull(f"{lying.host}/a/b:1"))
    await begun.wait()
    second = asyncio.ensure_future(images.pull(f"{lying.host}/a/b:1"))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    go_on.set()
    assert (await second).reference == f"{lying.host}/a/b:1"
    assert list((layout.images / ".incoming").iterdir()) == []
