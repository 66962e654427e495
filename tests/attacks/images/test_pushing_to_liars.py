"""Pushes to registries that break, forget, lie, and send us elsewhere."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from aiohttp import web

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
from nsrun.model.credentials import Credential
from tests.attacks.images.lying import Asked, HurriedClock
from tests.attacks.images.taking import TakingRegistry
from tests.layouts import ImageParts, LayoutBuilder, layer_tar
from tests.unit.images.test_save import take

pytestmark = pytest.mark.timeout(60)

LAYER = layer_tar({"large": os.urandom(6 << 20)})
PARTS = ImageParts.make([LAYER], compression="none")
BLOB = PARTS.layers[0]


class OneKey:
    """A keychain that knows somebody for every registry."""

    def find(self, host: str, repository: str) -> tuple[Credential, ...]:
        return (Credential(username="user", password="secret"),)


@dataclass(kw_only=True)
class Push:
    """One push, of an image with a layer of 6 MiB."""

    registry: TakingRegistry
    store: Store
    clock: HurriedClock
    known: bool = False

    async def run(self) -> list[Progress]:
        client = PushClient(
            credentials=OneKey() if self.known else FileKeychain((), {}),
            certificates=Certificates(),
            environment={},
            clock=self.clock,
        )
        told: list[Progress] = []
        try:
            pusher = Pusher(store=self.store, registries=Registries(verify=False), client=client)
            await pusher.push(
                find_image(self.store, "x", "push"), parse_reference(f"{self.registry.host}/x:1"), told.append
            )
        finally:
            await client.close()
        return told

    async def arrives(self) -> list[Progress]:
        """Pushes, and looks whether all of it is there."""
        told = await self.run()
        assert all(self.registry.taken[blob.digest] == blob.data for blob in PARTS.blobs)
        assert self.registry.taken["1"] == PARTS.manifest.data
        return told

    def asked(self, method: str, part: str = "") -> list[Asked]:
        return [asked for asked in self.registry.requests(part) if asked.method == method]


@pytest.fixture
async def taking() -> AsyncIterator[TakingRegistry]:
    async with running() as made:
        yield made


@asynccontextmanager
async def running() -> AsyncIterator[TakingRegistry]:
    made = TakingRegistry()
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


@pytest.fixture
def push(taking: TakingRegistry, tmp_path: Path) -> Push:
    source = LayoutBuilder(tmp_path / "source")
    source.image("x", PARTS)
    store = Store(tmp_path / "images")
    store.open()
    take(store, source.path)
    return Push(registry=taking, store=store, clock=HurriedClock())


def once(method: str, part: str, answer: Callable[[web.Request], web.Response | None]) -> Callable[..., object]:
    """A lie that is told to the first request of its kind."""
    told: list[web.Request] = []

    async def lie(request: web.Request) -> web.Response | None:
        if told or request.method != method or part not in request.path_qs:
            return None
        told.append(request)
        return answer(request)

    return lie


async def test_an_honest_registry(push: Push) -> None:
    await push.arrives()
    assert not push.clock.waits


@pytest.mark.parametrize("at", [1 << 20, 5 << 20])
async def test_a_broken_upload_goes_on_where_it_broke(push: Push, at: int) -> None:
    push.registry.cut = at
    await push.arrives()
    first, second = push.asked("PATCH")
    begin, _, end = second.headers["Content-Range"].partition("-")
    assert "Content-Range" not in first.headers
    assert int(begin) >= at
    assert int(end) == len(BLOB.data) - 1
    assert int(second.headers["Content-Length"]) == len(BLOB.data) - int(begin)


async def test_an_upload_that_was_forgotten_begins_anew(push: Push) -> None:
    push.registry.cut = 1 << 20
    push.registry.lie = once("GET", "/uploads/", lambda _: web.Response(status=404))  # type: ignore[assignment]
    await push.arrives()
    assert "Content-Range" not in push.asked("PATCH")[1].headers


@pytest.mark.parametrize("said", ["0-99999999", "5-9", "0-", "x", ""])
async def test_a_lie_about_what_came(push: Push, said: str) -> None:
    push.registry.cut = 1 << 20
    answer = web.Response(status=204, headers={"Range": said, "Location": "/v2/x/blobs/uploads/u0"})
    push.registry.lie = once("GET", "/uploads/", lambda _: answer)  # type: ignore[assignment]
    await push.arrives()


async def test_another_part_than_it_wants(push: Push) -> None:
    """The range it tells is one short: it refuses what we then send, and gets all anew."""
    push.registry.cut = 1 << 20
    answer = web.Response(status=204, headers={"Range": "0-99", "Location": "/v2/x/blobs/uploads/u1"})
    push.registry.lie = once("GET", "/uploads/u", lambda _: answer)  # type: ignore[assignment]
    await push.arrives()
    assert len(push.asked("PATCH")) == 3


async def test_the_last_answer_is_lost(push: Push) -> None:
    """The blob is there, though nobody said so."""

    def take_and_break(request: web.Request) -> web.Response | None:
        push.registry.taken[BLOB.digest] = BLOB.data
        push.registry.uploads.clear()
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    push.registry.lie = once("PUT", BLOB.digest.partition(":")[2], take_and_break)  # type: ignore[assignment]
    told = await push.arrives()
    assert Stage.PRESENT in [step.stage for step in told if step.layer == BLOB.digest]


@pytest.mark.parametrize(("method", "part"), [("HEAD", "/blobs/"), ("POST", ""), ("PATCH", ""), ("PUT", "manifests")])
async def test_too_many_requests_are_waited_for(push: Push, method: str, part: str) -> None:
    busy = web.Response(status=429, headers={"Retry-After": "7"})
    push.registry.lie = once(method, part, lambda _: busy)  # type: ignore[assignment]
    await push.arrives()
    assert [wait for wait in push.clock.waits if wait >= 7]


@pytest.mark.parametrize("method", ["HEAD", "POST", "PATCH", "PUT"])
async def test_a_registry_that_never_recovers_is_one_sentence(push: Push, method: str) -> None:
    async def lie(request: web.Request) -> web.Response | None:
        return web.Response(status=503) if request.method == method else None

    push.registry.lie = lie
    with pytest.raises(ImageError, match=r'cannot push image ".*": registry ".*" answered 503 .* \(tried 8 times\)'):
        await push.run()
    assert "1" not in push.registry.taken


async def test_who_does_not_want_the_body_says_why(push: Push) -> None:
    async def lie(request: web.Request) -> web.Response | None:
        if request.method != "PATCH":
            return None
        return web.Response(status=413, headers={"Connection": "close"})

    push.registry.lie = lie
    with pytest.raises(ImageError, match="answered 413"):
        await push.run()


async def test_what_it_says_cannot_reach_the_terminal(push: Push) -> None:
    async def lie(request: web.Request) -> web.Response | None:
        said = {"errors": [{"message": "\x1b[2Jgone\n\u202e" + "x" * 9999}]}
        return web.json_response(said, status=400) if request.method == "POST" else None

    push.registry.lie = lie
    with pytest.raises(ImageError) as caught:
        await push.run()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


async def test_another_digest_than_ours(push: Push) -> None:
    answer = web.Response(status=201, headers={"Docker-Content-Digest": "sha256:" + "0" * 64})
    push.registry.lie = once("PUT", "manifests", lambda _: answer)  # type: ignore[assignment]
    with pytest.raises(ImageError, match=r"has taken sha256:.* for 'sha256:000"):
        await push.run()


async def test_no_location(push: Push) -> None:
    push.registry.lie = once("POST", "", lambda _: web.Response(status=202))  # type: ignore[assignment]
    with pytest.raises(ImageError, match="does not say where the upload goes on"):
        await push.run()


# --- elsewhere


def basic(registry: TakingRegistry) -> None:
    """Wants a password for everything."""

    async def guard(request: web.Request) -> web.Response:
        known = request.headers.get("Authorization") == "Basic dXNlcjpzZWNyZXQ="
        return web.Response(status=200 if known else 401, headers={"WWW-Authenticate": 'Basic realm="x"'})

    registry.guard = guard


async def test_credentials_stay_where_they_belong_when_a_location_leads_elsewhere(push: Push) -> None:
    async with running() as elsewhere:
        push.known = True
        basic(push.registry)
        basic(elsewhere)  # asks for a password, and gets none

        async def lie(request: web.Request) -> web.Response | None:
            known = "Authorization" in request.headers
            if request.method != "POST" or not known:
                return None
            return elsewhere.begin(request, f"http://{elsewhere.host}")

        push.registry.lie = lie
        with pytest.raises(ImageError, match="answered 401"):
            await push.run()
        assert elsewhere.asked
        assert all("Authorization" not in asked.headers for asked in elsewhere.asked)


async def test_uploads_may_go_on_elsewhere_without_them(push: Push) -> None:
    async with running() as elsewhere:
        push.known = True
        basic(push.registry)

        async def lie(request: web.Request) -> web.Response | None:
            if request.method != "POST" or "Authorization" not in request.headers:
                return None
            return elsewhere.begin(request, f"http://{elsewhere.host}")

        push.registry.lie = lie
        await push.run()
        assert {blob.digest: blob.data for blob in PARTS.blobs} == elsewhere.taken
        assert all("Authorization" not in asked.headers for asked in elsewhere.asked)


@pytest.mark.parametrize("status", [307, 308])
async def test_a_redirected_upload_takes_no_credentials_along(push: Push, status: int) -> None:
    async with running() as elsewhere:
        push.known = True
        basic(push.registry)
        elsewhere.uploads = {f"u{number}": bytearray() for number in range(9)}

        async def lie(request: web.Request) -> web.Response | None:
            if request.method != "PATCH" or "Authorization" not in request.headers:
                return None
            return web.Response(status=status, headers={"Location": f"http://{elsewhere.host}{request.path_qs}"})

        push.registry.lie = lie
        with pytest.raises(ImageError):  # the registry itself has nothing then, and says so
            await push.run()
        assert any(asked.method == "PATCH" for asked in elsewhere.asked)
        assert all("Authorization" not in asked.headers for asked in elsewhere.asked)


@pytest.mark.parametrize(
    "place", ["http://169.254.169.254/x", "ftp://127.0.0.1/x", "http://user@127.0.0.1/x", "http://[fe80::1]/x"]
)
async def test_places_that_nobody_may_send_us_to(push: Push, place: str) -> None:
    answer = web.Response(status=202, headers={"Location": place})
    push.registry.lie = once("POST", "", lambda _: answer)  # type: ignore[assignment]
    with pytest.raises(ImageError, match="redirects us to"):
        await push.run()


# --- tokens


async def test_the_scope_is_ours_and_no_wider(push: Push) -> None:
    push.known = True
    scopes: list[str] = []

    async def token(request: web.Request) -> web.Response | None:
        if request.path == "/token":
            scopes.append(" ".join(request.query.getall("scope")))
            return web.json_response({"token": "t"})
        return None

    async def guard(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") == "Bearer t":
            return web.Response()
        realm = f'Bearer realm="http://{push.registry.host}/token",service="s",scope="repository:*:delete"'
        return web.Response(status=401, headers={"WWW-Authenticate": realm})

    push.registry.lie = token
    push.registry.guard = guard
    await push.arrives()
    assert set(scopes) == {"repository:x:pull,push"}


async def test_a_mount_that_no_token_is_given_for_is_an_upload(push: Push) -> None:
    """The layer is in another repository, too, for which we have no rights."""
    image = find_image(push.store, "x", "tag")
    push.store.tag(replace(image, reference=parse_reference(f"{push.registry.host}/other:1")))
    scopes: list[str] = []

    async def token(request: web.Request) -> web.Response | None:
        if request.path != "/token":
            return None
        scopes.append(" ".join(request.query.getall("scope")))
        return web.Response(status=403) if "other" in scopes[-1] else web.json_response({"token": "t"})

    async def guard(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") == "Bearer t" and "from=other" not in request.path_qs:
            return web.Response()
        realm = f'Bearer realm="http://{push.registry.host}/token"'
        return web.Response(status=401, headers={"WWW-Authenticate": realm})

    push.registry.lie = token
    push.registry.guard = guard
    await push.arrives()
    assert "repository:x:pull,push repository:other:pull" in scopes


async def test_a_registry_that_always_asks_again(push: Push) -> None:
    push.known = True

    async def guard(request: web.Request) -> web.Response:
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})

    push.registry.guard = guard
    with pytest.raises(ImageError, match="answered 401") as caught:
        await push.run()
    assert "nsrun login" in str(caught.value.hint)
    assert len(push.registry.asked) < 20
