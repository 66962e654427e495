"""A registry, or the way to it, that breaks: each ends in success or in one clear sentence, in its time."""

from __future__ import annotations

import asyncio
import itertools
import os
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from nsrun.errors import ImageError
from nsrun.images import registry as client_module
from nsrun.images import transport
from nsrun.images.limits import DEFAULT_LIMITS
from nsrun.images.service import ImageService
from nsrun.model.credentials import Credential, Credentials
from nsrun.model.image import PullPolicy
from nsrun.support.layout import Layout
from tests.attacks.images.breaking import Way
from tests.attacks.images.lying import Handler, HurriedClock, LyingRegistry
from tests.attacks.images.test_lying_registry import (
    Pull,
    bearer,
    clock,
    mirrored,
    partial,
    pull,
    served,
    streamed,
    trusting,
)
from tests.layouts import ImageParts, layer_tar
from tests.system.images.conftest import MakeService
from tests.waiting import PATIENCE, eventually_async, idle

__all__ = ["clock", "pull"]

pytestmark = [pytest.mark.root, pytest.mark.timeout(90)]


def cut_after(data: bytes, size: int) -> Handler:
    return streamed(iter([data[:size]]), len(data))


def ranges(lying: LyingRegistry, digest: str) -> list[int]:
    """The byte from which on each request for the blob wanted it."""
    asked = (request.headers.get("Range", "bytes=0-") for request in lying.requests(digest))
    return [int(said.removeprefix("bytes=").rstrip("-")) for said in asked]


def from_range(data: bytes) -> Handler:
    """What an honest registry answers."""

    async def handler(request: web.Request) -> web.StreamResponse:
        begin = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        if not begin:
            return web.Response(body=data)
        return partial(data[begin:], f"bytes {begin}-{len(data) - 1}/{len(data)}")

    return handler


# --- what broke off is gone on with


async def test_ten_cuts_in_one_blob(lying: LyingRegistry, pull: Pull) -> None:
    """Whatever came counts, so a line that never holds for long still brings the image."""
    parts = served(lying, ImageParts.make([layer_tar({"big": os.urandom(24 << 20)})], compression="none"))
    layer = parts.layers[0]

    async def handler(request: web.Request) -> web.StreamResponse:
        begin = ranges(lying, layer.digest)[-1]
        if len(lying.requests(layer.digest)) > 10:
            return await from_range(layer.data)(request)
        response = web.StreamResponse(status=206 if begin else 200)
        if begin:
            response.headers["Content-Range"] = f"bytes {begin}-{len(layer.data) - 1}/{len(layer.data)}"
        response.content_length = len(layer.data) - begin
        await response.prepare(request)
        await response.write(layer.data[begin : begin + (2 << 20)])
        assert request.transport is not None
        request.transport.close()
        return response

    lying.lies[f"a/b/blobs/{layer.digest}"] = handler
    image = await pull()
    assert Path(image.layers[0], "big").stat().st_size == 24 << 20
    begun = ranges(lying, layer.digest)
    assert len(begun) == 11
    assert begun == sorted(set(begun))


async def test_a_network_that_is_away_for_ten_seconds(
    lying: LyingRegistry, service: MakeService, layout: Layout
) -> None:
    parts = served(lying, ImageParts.make([layer_tar({"big": os.urandom(32 << 20)})], compression="none"))
    layer = parts.layers[0]
    way = Way(lying.host, cut_after=8 << 20, away=10.0)
    await way.open()
    try:
        images = await service(registries=trusting(way.host))
        image = await images.pull(f"{way.host}/a/b:1")
    finally:
        await way.close()
    assert Path(image.layers[0], "big").stat().st_size == 32 << 20
    assert way.cuts == 1
    assert ranges(lying, layer.digest)[-1] > 4 << 20
    assert way.passed < len(layer.data) + (1 << 20)  # nothing came twice
    assert list((layout.images / ".incoming").iterdir()) == []


async def test_the_next_pull_goes_on_with_what_the_last_one_got(
    lying: LyingRegistry, service: MakeService, layout: Layout, clock: HurriedClock
) -> None:
    layer = served(lying).layers[0]
    path = f"a/b/blobs/{layer.digest}"
    counted = itertools.count(1)

    async def once(request: web.Request) -> web.StreamResponse:
        if next(counted) == 1:
            return await cut_after(layer.data, 2000000)(request)
        return web.Response(status=503)

    lying.lies[path] = once
    with pytest.raises(ImageError, match=r"503 Service Unavailable \(tried \d+ times\)"):
        await (await service(registries=trusting(lying.host), clock=clock)).pull(f"{lying.host}/a/b:1")
    (left,) = (layout.images / ".incoming").iterdir()
    size = left.stat().st_size
    assert 0 < size <= 2000000
    assert layer.data.startswith(left.read_bytes())

    lying.lies[path] = from_range(layer.data)
    image = await (await service(registries=trusting(lying.host))).pull(f"{lying.host}/a/b:1")
    assert ranges(lying, layer.digest)[-1] == size
    assert Path(image.layers[0], "big").stat().st_size == 3 << 20
    assert list((layout.images / ".incoming").iterdir()) == []


def shorter(data: bytes) -> bytes:
    return data[:1000]


def damaged(data: bytes) -> bytes:
    return bytes(1000) + data[1000:2000000]


def whole(data: bytes) -> bytes:
    return data


def whole_but_damaged(data: bytes) -> bytes:
    return bytes(len(data))


def longer(data: bytes) -> bytes:
    return data + b"more"


@pytest.mark.parametrize("left", [shorter, damaged, whole, whole_but_damaged, longer])
async def test_what_a_crash_left_is_believed_when_the_digest_says_so(
    lying: LyingRegistry, pull: Pull, layout: Layout, left: object
) -> None:
    layer = served(lying).layers[0]
    lying.lies[f"a/b/blobs/{layer.digest}"] = from_range(layer.data)
    incoming = layout.images / ".incoming"
    incoming.mkdir(parents=True)
    assert callable(left)
    (incoming / f"{layer.digest.replace(':', '-')}.partial").write_bytes(left(layer.data))
    image = await pull()
    assert Path(image.layers[0], "big").stat().st_size == 3 << 20
    assert (layout.images / "blobs" / "sha256" / layer.digest.partition(":")[2]).read_bytes() == layer.data
    expected = {shorter: [1000], damaged: [2000000, 0], whole: [], whole_but_damaged: [0], longer: [0]}
    assert ranges(lying, layer.digest) == expected[left]
    assert list(incoming.iterdir()) == []


class Unpacking:
    """Tells when the layers of a service have found out that something is no layer."""

    def __init__(self, images: ImageService, monkeypatch: pytest.MonkeyPatch) -> None:
        self.has_failed = asyncio.Event()
        self._take = images._layers.take
        monkeypatch.setattr(images._layers, "take", self._told)

    async def _told(self, *words: Any, **named: Any) -> Path:
        try:
            return await self._take(*words, **named)
        except ImageError:
            self.has_failed.set()
            raise

    def then(self, handler: Handler) -> Handler:
        """Answers once one has failed."""

        async def late(request: web.Request) -> web.StreamResponse:
            await self.has_failed.wait()
            return await handler(request)

        return late


async def test_what_a_crash_left_is_unpacked_long_before_its_digest_is_known(
    lying: LyingRegistry, service: MakeService, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = served(lying).layers[0]
    incoming = layout.images / ".incoming"
    incoming.mkdir(parents=True)
    (incoming / f"{layer.digest.replace(':', '-')}.partial").write_bytes(damaged(layer.data))
    images = await service(registries=trusting(lying.host))
    unpacking = Unpacking(images, monkeypatch)
    lying.lies[f"a/b/blobs/{layer.digest}"] = unpacking.then(from_range(layer.data))
    image = await images.pull(f"{lying.host}/a/b:1")
    assert Path(image.layers[0], "big").stat().st_size == 3 << 20
    assert ranges(lying, layer.digest) == [2000000, 0]
    assert list(incoming.iterdir()) == []


async def test_a_mirror_sends_something_else_and_takes_its_time(
    lying: LyingRegistry, elsewhere: LyingRegistry, service: MakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = served(lying)
    layer = parts.layers[0]
    elsewhere.serve("a/b", "1", parts)
    images = await service(registries=mirrored(lying, by=elsewhere))
    unpacking = Unpacking(images, monkeypatch)
    sent = bytes(1000) + layer.data[1000:]

    async def other(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = len(sent)
        await response.prepare(request)
        await response.write(sent[:2000000])
        await unpacking.has_failed.wait()
        await response.write(sent[2000000:])
        return response

    elsewhere.lies[f"a/b/blobs/{layer.digest}"] = other
    image = await images.pull(f"{lying.host}/a/b:1")
    assert Path(image.layers[0], "big").stat().st_size == 3 << 20


async def test_a_cancelled_pull_is_gone_on_with(lying: LyingRegistry, service: MakeService, layout: Layout) -> None:
    layer = served(lying).layers[0]
    path = f"a/b/blobs/{layer.digest}"
    sent = asyncio.Event()

    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = len(layer.data)
        await response.prepare(request)
        await response.write(layer.data[:2000000])
        sent.set()
        await asyncio.Event().wait()
        return response

    lying.lies[path] = half
    images = await service(registries=trusting(lying.host))
    task = asyncio.ensure_future(images.pull(f"{lying.host}/a/b:1"))
    await sent.wait()
    beginning = layout.images / ".incoming" / f"{layer.digest.replace(':', '-')}.partial"
    await eventually_async(lambda: beginning.exists() and beginning.stat().st_size, what="something came")
    begun = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - begun < 5 * PATIENCE
    assert beginning.stat().st_size > 0
    lying.lies[path] = from_range(layer.data)
    await images.pull(f"{lying.host}/a/b:1")
    assert ranges(lying, layer.digest)[-1] > 0


async def test_the_registry_goes_on_where_its_mirror_broke(
    lying: LyingRegistry, elsewhere: LyingRegistry, service: MakeService, clock: HurriedClock
) -> None:
    parts = served(lying)
    layer = parts.layers[0]
    elsewhere.serve("a/b", "1", parts)
    counted = itertools.count(1)

    async def broken(request: web.Request) -> web.StreamResponse:
        first = next(counted) == 1
        return await cut_after(layer.data, 2000000)(request) if first else web.Response(status=500)

    elsewhere.lies[f"a/b/blobs/{layer.digest}"] = broken
    images = await service(registries=mirrored(lying, by=elsewhere), clock=clock)
    await images.pull(f"{lying.host}/a/b:1")
    assert 0 < ranges(lying, layer.digest)[0] <= 2000000


# --- time


async def test_a_registry_that_falls_silent(
    lying: LyingRegistry, pull: Pull, monkeypatch: pytest.MonkeyPatch, clock: HurriedClock
) -> None:
    monkeypatch.setattr(transport, "SILENCE_SECONDS", 0.2)
    layer = served(lying).layers[0]

    async def silent(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = len(layer.data)
        await response.prepare(request)
        await response.write(layer.data[:10])
        await asyncio.Event().wait()
        return response

    lying.lies[f"a/b/blobs/{layer.digest}"] = silent
    with pytest.raises(ImageError, match=r"was silent for .* \(tried 8 times\)"):
        await pull()


async def test_a_registry_that_never_answers(
    lying: LyingRegistry, pull: Pull, monkeypatch: pytest.MonkeyPatch, clock: HurriedClock
) -> None:
    """One that sends a header every now and then is never silent, so there is an end to it, too."""
    monkeypatch.setattr(client_module, "HEAD_SECONDS", 0.3)
    served(lying)

    async def never(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        for number in itertools.count():
            request.transport.write(b"HTTP/1.1 200 OK\r\n" if not number else b"X: y\r\n")
            await idle(0.05)
            if request.transport.is_closing():
                break
        return web.Response()

    lying.lies["a/b/manifests/1"] = never
    with pytest.raises(ImageError, match=r"did not answer within 1 s \(tried 5 times\)"):
        await pull()


async def test_a_registry_that_trickles(
    lying: LyingRegistry, pull: Pull, monkeypatch: pytest.MonkeyPatch, clock: HurriedClock
) -> None:
    monkeypatch.setattr(client_module, "SLOW_SECONDS", 0.3)
    layer = served(lying).layers[0]

    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = len(layer.data)
        await response.prepare(request)
        for byte in range(1000):
            await response.write(layer.data[byte : byte + 1])
            await idle(0.05)
        return response

    lying.lies[f"a/b/blobs/{layer.digest}"] = trickle
    with pytest.raises(ImageError, match="sent less than 1024 bytes a second"):
        await pull()


async def test_retry_after_as_a_date(lying: LyingRegistry, pull: Pull, clock: HurriedClock) -> None:
    served(lying)
    path = "a/b/manifests/1"

    async def busy(request: web.Request) -> web.StreamResponse:
        del lying.lies[path]
        return web.Response(status=503, headers={"Retry-After": formatdate(time.time() + 30, usegmt=True)})

    lying.lies[path] = busy
    await pull()
    assert 25 < clock.waits[0] <= 30


# --- ranges, redirects, proofs


async def test_an_endless_lie_about_ranges_ends(lying: LyingRegistry, pull: Pull, clock: HurriedClock) -> None:
    layer = served(lying).layers[0]

    async def handler(request: web.Request) -> web.StreamResponse:
        if "Range" in request.headers:
            return partial(b"x", f"bytes 0-0/{len(layer.data)}")
        return await cut_after(layer.data, 1000)(request)

    lying.lies[f"a/b/blobs/{layer.digest}"] = handler
    with pytest.raises(ImageError, match=r"\(tried 8 times\)"):
        await pull()
    assert len(lying.requests(layer.digest)) == 8


async def test_pieces_that_never_fit(lying: LyingRegistry, pull: Pull, clock: HurriedClock) -> None:
    layer = served(lying).layers[0]
    cut = itertools.cycle([True, False])

    async def handler(request: web.Request) -> web.StreamResponse:
        begin = ranges(lying, layer.digest)[-1]
        if next(cut):
            return await cut_after(layer.data, 2000000)(request)
        return partial(bytes(len(layer.data) - begin), f"bytes {begin}-{len(layer.data) - 1}/{len(layer.data)}")

    lying.lies[f"a/b/blobs/{layer.digest}"] = handler
    with pytest.raises(ImageError, match="instead of"):
        await pull()


async def test_a_token_that_expires_in_the_middle(lying: LyingRegistry, pull: Pull) -> None:
    layer = served(lying).layers[0]
    tokens = itertools.count(1)
    valid: set[str] = set()

    async def token(request: web.Request) -> web.StreamResponse:
        valid.clear()
        valid.add(name := f"t{next(tokens)}")
        return web.json_response({"token": name, "expires_in": 300})

    async def guard(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization", "").removeprefix("Bearer ") in valid:
            return web.Response()
        return await bearer(f"http://{lying.host}/token")(request)

    path = f"a/b/blobs/{layer.digest}"

    async def expiring(request: web.Request) -> web.StreamResponse:
        refusal = await guard(request)
        if refusal.status != 200:
            return refusal
        if "Range" in request.headers:
            return await from_range(layer.data)(request)
        valid.clear()
        return await cut_after(layer.data, 2000000)(request)

    lying.guard = guard
    lying.lies["/token"] = token
    lying.lies[path] = expiring
    await pull()
    assert 3 <= next(tokens) <= 4  # the first may end while the configuration is asked for, too
    assert ranges(lying, layer.digest)[-1] > 0


async def test_what_one_pods_secret_opens_stays_shut_for_others(
    lying: LyingRegistry, service: MakeService, layout: Layout
) -> None:
    """At once and one after the other: neither the pull, nor the token, nor the download is shared."""
    served(lying)
    good = Credentials(entries=((lying.host, Credential(username="good", password="x", secret="a/s")),))
    bad = Credentials(entries=((lying.host, Credential(username="bad", password="x", secret="b/s")),))

    async def token(request: web.Request) -> web.StreamResponse:
        name = "good" if request.headers.get("Authorization") == "Basic Z29vZDp4" else "bad"
        return web.json_response({"token": name})

    lying.guard = bearer(f"http://{lying.host}/token")
    lying.lies["/token"] = token
    images = await service(registries=trusting(lying.host))

    async def fetch(credentials: Credentials | None) -> str:
        try:
            await images.ensure(f"{lying.host}/a/b:1", PullPolicy.ALWAYS, credentials=credentials)
        except ImageError as error:
            return "401" if "401 Unauthorized" in error.message else error.message
        return ""

    assert await asyncio.gather(*map(fetch, (good, bad, None, good))) == ["", "401", "401", ""]
    assert await asyncio.gather(*map(fetch, (bad, None, good))) == ["401", "401", ""]


# --- TLS


@pytest.fixture
def foreign_certificate(tmp_path: Path) -> Path:
    """For another name."""
    made = ("-keyout", str(tmp_path / "pem"), "-out", str(tmp_path / "crt"))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=other.example", *made],
        check=True,
        capture_output=True,
    )
    with (tmp_path / "pem").open("ab") as pem:
        pem.write((tmp_path / "crt").read_bytes())
    return tmp_path / "pem"


@pytest.fixture
async def tls(foreign_certificate: Path) -> AsyncIterator[str]:
    """A server that is another one than it is taken for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(foreign_certificate)
    runner = web.AppRunner(web.Application(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    yield f"127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_tls_that_cannot_be_verified(tls: str, service: MakeService) -> None:
    images = await service()
    with pytest.raises(ImageError, match="certificate that cannot be verified"):
        await images.pull(f"{tls}/a/b:1")


@pytest.fixture
async def garbage() -> AsyncIterator[str]:
    """A server that answers everything with bytes that mean nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"\x00\x01garbage\r\n" * 10)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


@pytest.mark.parametrize(("insecure", "said"), [(False, "does not speak TLS"), (True, "does not speak|broke the conn")])
async def test_what_is_no_registry(garbage: str, service: MakeService, insecure: bool, said: str) -> None:
    images = await service(registries=trusting(garbage) if insecure else None)
    with pytest.raises(ImageError, match=said):
        await images.pull(f"{garbage}/a/b:1")


# --- what a blob may cost


async def test_what_is_more_than_the_limits_allow_is_refused_while_it_comes(
    lying: LyingRegistry, service: MakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is so whatever its digest turns out to be."""
    parts = served(lying, ImageParts.make([layer_tar({f"{n}": os.urandom(1 << 16) for n in range(40)})]))
    layer = parts.layers[0]
    images = await service(registries=trusting(lying.host))
    monkeypatch.setattr(images._layers, "_limits", replace(DEFAULT_LIMITS, entries=4))
    unpacking = Unpacking(images, monkeypatch)

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = len(layer.data)
        await response.prepare(request)
        pieces = (layer.data[start : start + 4096] for start in range(0, len(layer.data) - 4096, 4096))
        for piece in pieces:
            if unpacking.has_failed.is_set():
                break
            await response.write(piece)
            await asyncio.sleep(0)
        await asyncio.Event().wait()  # the rest never comes
        return response

    lying.lies[f"a/b/blobs/{layer.digest}"] = handler
    with pytest.raises(ImageError, match="more than 4 entries"):
        await images.pull(f"{lying.host}/a/b:1")


async def test_a_bomb_is_stopped_while_it_comes(
    lying: LyingRegistry, service: MakeService, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layer is refused, and the rest of it not even fetched."""
    tar = layer_tar({"zeros": bytes(64 << 20)})
    parts = served(lying, ImageParts.make([tar], compression="gzip"))
    layer = parts.layers[0]
    more = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = len(layer.data)
        await response.prepare(request)
        await response.write(layer.data[: len(layer.data) // 2])
        await more.wait()  # never: it ends before
        return response

    lying.lies[f"a/b/blobs/{layer.digest}"] = handler
    images = await service(registries=trusting(lying.host))
    monkeypatch.setattr(images._layers, "_limits", replace(DEFAULT_LIMITS, ratio=100, ratio_from=1 << 20))
    with pytest.raises(ImageError, match="like a decompression bomb"):
        await images.pull(f"{lying.host}/a/b:1")
    assert await images.list() == ()
    assert list(layout.layers.rglob("diff")) == []
