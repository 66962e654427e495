"""Short names that two registries may have, for those who run pods: nobody can be asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsrun.errors import ImageError
from nsrun.images.policy import Demand, Policy
from nsrun.images.registries import Registries, load_registries
from nsrun.images.service import ImageService
from nsrun.model.container import PullPolicy
from nsrun.support.layout import Layout
from tests.layouts import ImageParts, LayoutBuilder, layer_tar
from tests.registry import Registry
from tests.system.images.conftest import MakeService

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

NAME = "docker.io/library/web:latest"


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Registry, Registry]]:
    made = (Registry(tmp_path / "first"), Registry(tmp_path / "second"))
    for one in made:
        one.start()
    yield made
    for one in made:
        one.stop()


def push(to: Registry, tmp_path: Path, content: bytes) -> str:
    """Puts ``web`` into the registry; its digest."""
    source = LayoutBuilder(tmp_path / f"source-{content.decode()}")
    digest = source.image(NAME, ImageParts.make([layer_tar({"who": content})]))
    to.push(source.path, NAME, "web:latest")
    return digest


def registries(tmp_path: Path, two: tuple[Registry, Registry], mode: str) -> Registries:
    tables = "".join(f'[[registry]]\nlocation = "{one.host}"\ninsecure = true\n' for one in two)
    path = tmp_path / f"{mode}.conf"
    hosts = json.dumps([one.host for one in two])
    path.write_text(f'unqualified-search-registries = {hosts}\nshort-name-mode = "{mode}"\n{tables}')
    return load_registries(path, {})


@pytest.mark.parametrize("mode", ["permissive", "disabled"])
async def test_the_first_registry_that_has_it_counts(
    two: tuple[Registry, Registry], tmp_path: Path, service: MakeService, mode: str
) -> None:
    images = await service(registries=registries(tmp_path, two, mode))
    second = push(two[1], tmp_path, b"second")
    found = await images.ensure("web", PullPolicy.IF_NOT_PRESENT)
    assert (found.reference, found.digest) == (f"{two[1].host}/web:latest", second)

    first = push(two[0], tmp_path, b"first")
    # What is here under one of its names counts; only Always looks again.
    assert (await images.ensure("web", PullPolicy.IF_NOT_PRESENT)).digest == second
    assert (await images.ensure("web", PullPolicy.NEVER)).digest == second
    newest = await images.ensure("web", PullPolicy.ALWAYS)
    assert (newest.reference, newest.digest) == (f"{two[0].host}/web:latest", first)
    assert (await images.ensure("web", PullPolicy.IF_NOT_PRESENT)).digest == first
    assert sorted(one.reference for one in await images.list()) == sorted(f"{one.host}/web:latest" for one in two)

    await images.remove("web")
    assert (await images.ensure("web", PullPolicy.NEVER)).digest == second


async def test_enforcing_finds_what_is_here_and_pulls_nothing(
    two: tuple[Registry, Registry], tmp_path: Path, service: MakeService
) -> None:
    images = await service(registries=registries(tmp_path, two, "enforcing"))
    digest = push(two[1], tmp_path, b"second")
    asked: list[str] = []
    for policy in (PullPolicy.IF_NOT_PRESENT, PullPolicy.ALWAYS):
        with pytest.raises(ImageError, match="short-name-mode is enforcing"):
            await images.ensure("web", policy, pulling=lambda: asked.append("registry"))
    assert asked == []
    await images.pull(f"{two[1].host}/web")
    assert (await images.ensure("web", PullPolicy.IF_NOT_PRESENT)).digest == digest


async def test_a_registry_that_is_down_does_not_hide_the_next(
    two: tuple[Registry, Registry], tmp_path: Path, service: MakeService
) -> None:
    images = await service(registries=registries(tmp_path, two, "permissive"))
    digest = push(two[1], tmp_path, b"second")
    two[0].stop()
    assert (await images.ensure("web", PullPolicy.ALWAYS)).digest == digest
    with pytest.raises(ImageError, match=r'cannot pull image "none" from any of its registries: .*refused.*; .*404'):
        await images.ensure("none", PullPolicy.ALWAYS)


async def test_what_a_policy_forbids_is_looked_for_in_the_next(
    two: tuple[Registry, Registry], tmp_path: Path, layout: Layout
) -> None:
    push(two[0], tmp_path, b"first")
    digest = push(two[1], tmp_path, b"second")
    policy = Policy(scopes={"docker": {two[0].host: (Demand.REJECT,)}})
    async with ImageService(layout=layout, registries=registries(tmp_path, two, "permissive"), policy=policy) as images:
        assert (await images.ensure("web", PullPolicy.IF_NOT_PRESENT)).digest == digest
        with pytest.raises(ImageError, match=r"policy\.json rejects it") as caught:
            await images.ensure(f"{two[0].host}/web", PullPolicy.IF_NOT_PRESENT)
        assert caught.value.reason == "SignatureValidationFailed"
