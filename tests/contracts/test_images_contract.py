"""What every ``Images`` keeps to. The real one is asked for what its store holds, and for what no registry has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from nsrun.assembly import image_service
from nsrun.errors import ImageError
from nsrun.model.container import PullPolicy
from nsrun.model.credentials import Credential, Credentials
from nsrun.supervisor.ports import Images
from nsrun.support.layout import Layout
from tests.contracts.fakes import FakeImages, FakeMachine, Life, fake_image
from tests.contracts.virtualclock import VirtualClock

UNREACHABLE = "127.0.0.1:1/nobody/home"


@pytest_asyncio.fixture(params=["fake", pytest.param("real", marks=pytest.mark.root)])
async def images(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Images]:
    """``busybox`` is there; nothing answers for ``UNREACHABLE``."""
    if request.param == "fake":
        machine = FakeMachine(VirtualClock())
        machine.images["busybox"] = fake_image("busybox")
        machine.registry[UNREACHABLE] = ImageError("cannot pull: connection refused")
        machine.registry["No Image!"] = ImageError("cannot read it", reason="InvalidImageName")
        yield FakeImages(machine, Life(machine))
        return
    layout = Layout(root=tmp_path / "root", run_dir=tmp_path / "run")
    async with image_service(layout) as service:
        await service.load(request.getfixturevalue("demo_images"))
        yield service


async def test_what_is_there_is_not_pulled(images: Images) -> None:
    asked: list[str] = []
    for policy in (PullPolicy.IF_NOT_PRESENT, PullPolicy.NEVER):
        image = await images.ensure("busybox", policy, pulling=lambda: asked.append("registry"))
        assert image.reference == "docker.io/library/busybox:latest"
        assert image.digest.startswith("sha256:")
        assert image.layers
    assert asked == []


async def test_asking_twice_gives_the_same(images: Images) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(images.ensure("busybox", PullPolicy.IF_NOT_PRESENT)) for _ in range(3)]
    assert len({task.result().digest for task in tasks}) == 1


async def test_never_is_never(images: Images) -> None:
    asked: list[str] = []
    with pytest.raises(ImageError) as caught:
        await images.ensure(UNREACHABLE, PullPolicy.NEVER, pulling=lambda: asked.append("registry"))
    assert caught.value.reason == "ErrImageNeverPull"
    assert asked == []


async def test_what_cannot_be_pulled_says_so_and_was_asked_for(images: Images) -> None:
    asked: list[str] = []
    with pytest.raises(ImageError) as caught:
        await images.ensure(UNREACHABLE, PullPolicy.IF_NOT_PRESENT, pulling=lambda: asked.append("registry"))
    assert caught.value.reason == "ErrImagePull"
    assert asked == ["registry"]


async def test_credentials_are_for_registries_alone(images: Images) -> None:
    """What is here is given without them, and what cannot be had is told without them."""
    known = Credential(username="user", password="s3cret", secret="default/pull")
    credentials = Credentials(entries=(("docker.io", known), ("127.0.0.1:1", known)))
    asked: list[str] = []
    image = await images.ensure(
        "busybox", PullPolicy.IF_NOT_PRESENT, pulling=lambda: asked.append("registry"), credentials=credentials
    )
    assert image.layers
    assert asked == []
    with pytest.raises(ImageError) as caught:
        await images.ensure(UNREACHABLE, PullPolicy.IF_NOT_PRESENT, credentials=credentials)
    assert "s3cret" not in f"{caught.value!r} {caught.value.hint}"


async def test_what_is_no_name_says_so(images: Images) -> None:
    with pytest.raises(ImageError) as caught:
        await images.ensure("No Image!", PullPolicy.IF_NOT_PRESENT)
    assert caught.value.reason == "InvalidImageName"


async def test_how_much_disk_images_take(images: Images) -> None:
    space = await images.filesystem()
    assert 0 < space.used <= space.capacity
    assert space.inodes_used > 0
    assert space.available <= space.capacity
    again = await images.filesystem()
    assert again.used == space.used
