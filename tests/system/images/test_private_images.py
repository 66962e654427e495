"""Images that a pod's secret opened, from a registry that wants a password."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import pytest_asyncio

from nsrun.errors import ImageError
from nsrun.images.login import Logins, parse_account
from nsrun.images.registries import Registries, load_registries
from nsrun.images.service import ImageService
from nsrun.images.tls import Certificates
from nsrun.model.container import PullPolicy
from nsrun.model.credentials import Credential, Credentials
from tests.layouts import ImageParts, LayoutBuilder, layer_tar
from tests.registry import Registry
from tests.system.images.conftest import MakeService

pytestmark = [pytest.mark.root, pytest.mark.timeout(60)]

NAME = "docker.io/team/app:1"
USER, PASSWORD = "user", "pass:word"
PRESENT, ALWAYS, NEVER = PullPolicy.IF_NOT_PRESENT, PullPolicy.ALWAYS, PullPolicy.NEVER


class Shop:
    """A registry that lets in one user, and services over one store."""

    def __init__(self, registry: Registry, make: MakeService, base: Path, *, tokens: bool) -> None:
        self.registry = registry
        self.make = make
        self.base = base
        if tokens:
            registry.start(tokens=(USER, PASSWORD))
        else:
            registry.start(tls=True, htpasswd=(USER, PASSWORD))
        self.push(b"1")

    def push(self, content: bytes) -> None:
        source = LayoutBuilder(self.base / content.decode())
        source.image(NAME, ImageParts.make([layer_tar({"content": content})]))
        self.registry.push(source.path, NAME)

    async def service(self) -> ImageService:
        return await self.make(
            registries=load_registries(self.registry.registries_conf(), {}),
            certificates=self.certificates,
        )

    @property
    def certificates(self) -> Path:
        return self.registry.certificates if self.registry.scheme == "https" else Path("/nowhere")

    def key(self, secret: str, password: str = PASSWORD) -> Credentials:
        """What a pod has whose secret is ``namespace/name``."""
        credential = Credential(username=USER, password=password, secret=secret)
        return Credentials(entries=((self.registry.host, credential),))


@pytest_asyncio.fixture(params=[False, True], ids=["htpasswd", "tokens"])
async def shop(request: pytest.FixtureRequest, registry: Registry, service: MakeService, tmp_path: Path) -> Shop:
    return Shop(registry, service, tmp_path, tokens=request.param)


async def test_a_private_image_is_not_for_whoever_asks(shop: Shop) -> None:
    images = await shop.service()
    await images.ensure(NAME, PRESENT, credentials=shop.key("a/pull"))
    for policy in (PRESENT, ALWAYS):
        for stranger in (None, Credentials(), shop.key("b/pull", "guessed")):
            with pytest.raises(ImageError, match="401") as caught:
                await images.ensure(NAME, policy, credentials=stranger)
            assert PASSWORD not in f"{caught.value} {caught.value.hint}"
    with pytest.raises(ImageError) as never:
        await images.ensure(NAME, NEVER)
    assert never.value.reason == "ErrImageNeverPull"


async def test_whoever_has_the_secret_needs_no_registry(shop: Shop) -> None:
    """Also after nsrun was started anew, and when what the secret says has changed."""
    await (await shop.service()).ensure(NAME, PRESENT, credentials=shop.key("a/pull"))
    shop.registry.stop()
    images = await shop.service()
    for policy in (PRESENT, NEVER):
        await images.ensure(NAME, policy, credentials=shop.key("a/pull", "changed"))
    with pytest.raises(ImageError, match="cannot be reached"):
        await images.ensure(NAME, PRESENT, credentials=shop.key("b/pull"))


async def test_whom_the_registry_lets_in_may_use_it_from_then_on(shop: Shop) -> None:
    images = await shop.service()
    first = await images.ensure(NAME, PRESENT, credentials=shop.key("a/pull"))
    asked: list[str] = []
    again = await images.ensure(NAME, PRESENT, credentials=shop.key("b/pull"), pulling=lambda: asked.append("registry"))
    assert again == first
    assert asked == ["registry"]
    shop.registry.stop()
    for secret in ("a/pull", "b/pull"):
        await images.ensure(NAME, PRESENT, credentials=shop.key(secret))


async def test_what_this_machine_may_have_is_everybodys(shop: Shop) -> None:
    images = await shop.service()
    await images.ensure(NAME, PRESENT, credentials=shop.key("a/pull"))
    shop.registry.stop()
    with pytest.raises(ImageError):
        await images.ensure(NAME, PRESENT)
    shop.registry.start(
        tls=shop.registry.scheme == "https", port=int(shop.registry.host.rpartition(":")[2])
    )  # it is public now
    await images.ensure(NAME, PRESENT)
    shop.registry.stop()
    await images.ensure(NAME, PRESENT)


async def test_a_new_image_of_the_name_is_its_pullers(shop: Shop) -> None:
    images = await shop.service()
    await images.ensure(NAME, PRESENT, credentials=shop.key("a/pull"))
    await images.ensure(NAME, PRESENT, credentials=shop.key("b/pull"))
    shop.push(b"2")
    await images.ensure(NAME, ALWAYS, credentials=shop.key("b/pull"))
    shop.registry.stop()
    await images.ensure(NAME, PRESENT, credentials=shop.key("b/pull"))
    with pytest.raises(ImageError, match="cannot be reached"):
        await images.ensure(NAME, PRESENT, credentials=shop.key("a/pull"))


async def test_several_credentials_are_tried_in_turn(shop: Shop) -> None:
    images = await shop.service()
    wrong, right = shop.key("a/wrong", "wrong"), shop.key("a/right")
    await images.ensure(NAME, PRESENT, credentials=Credentials(entries=(*wrong.entries, *right.entries)))
    own = await shop.make(
        registries=load_registries(shop.registry.registries_conf(), {}),
        certificates=shop.certificates,
        credentials=right,
    )
    await own.ensure(NAME, ALWAYS, credentials=wrong)


async def test_who_comes_at_the_same_time_gets_nothing_by_it(shop: Shop) -> None:
    images = await shop.service()
    results = await asyncio.gather(
        images.ensure(NAME, PRESENT, credentials=shop.key("a/pull")),
        images.ensure(NAME, PRESENT, credentials=shop.key("b/pull", "guessed")),
        images.ensure(NAME, PRESENT),
        return_exceptions=True,
    )
    assert [isinstance(result, ImageError) for result in results] == [False, True, True]


@pytest.mark.parametrize("shop", [True], ids=["tokens"], indirect=True)
async def test_an_identity_token_does_instead_of_a_password(shop: Shop) -> None:
    images = await shop.service()
    assert shop.registry.tokens is not None
    for token in ("a-guess", shop.registry.tokens.identity):
        known = Credentials(entries=((shop.registry.host, Credential(identity_token=token)),))
        if token == "a-guess":
            with pytest.raises(ImageError, match="answered 401"):
                await images.ensure(NAME, PRESENT, credentials=known)
        else:
            await images.ensure(NAME, PRESENT, credentials=known)
    assert set(shop.registry.tokens.asked) == {"repository:team/app:pull", "repository:team/app:pull,push"}


@pytest.mark.parametrize("shop", [True], ids=["tokens"], indirect=True)
async def test_a_login_asks_the_token_service(shop: Shop, tmp_path: Path) -> None:
    known = Logins(
        files=(tmp_path / "auth.json",),
        registries=Registries(verify=False),
        certificates=Certificates(),
        environment={},
    )
    account = parse_account(shop.registry.host)
    await asyncio.to_thread(known.verify, account, Credential(username=USER, password=PASSWORD))
    with pytest.raises(ImageError, match="the user or the password is wrong"):
        await asyncio.to_thread(known.verify, account, Credential(username=USER, password="guessed"))
