"""Mounts made in a container reach the host by ``Bidirectional`` only, whatever the container makes of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsrun.model.container import SecurityContext
from nsrun.model.volume import MountPropagation, RecursiveReadOnly
from nsrun.support import native
from tests.system.runtime.world import NO_APP_ARMOR, VolumeMount, World

pytestmark = pytest.mark.root

MOUNTING = SecurityContext(capabilities_add=("SYS_ADMIN",), app_armor_profile=NO_APP_ARMOR)


@pytest.fixture
def shared(world: World) -> Iterator[Path]:
    path = world.root / "shared"
    path.mkdir()
    native.mount("tmpfs", str(path), "tmpfs")
    native.mount("none", str(path), "none", native.MS_SHARED)
    (path / "dir").mkdir()
    yield path
    native.umount(str(path), native.MNT_DETACH)


def below(top: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4] for line in lines if line.split()[4].startswith(f"{top}/")]


def points(world: World) -> set[str]:
    """Where something is mounted, but for the pods' pinned network namespaces."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return {line.split()[4] for line in lines if not line.split()[4].startswith(str(world.layout.netns_dir))}


@pytest.mark.parametrize("propagation", [MountPropagation.NONE, MountPropagation.HOST_TO_CONTAINER])
async def test_a_container_that_shares_its_side_shares_it_with_nobody(
    world: World, shared: Path, propagation: MountPropagation
) -> None:
    mounts = (VolumeMount(name="v", mount_path="/x", propagation=propagation),)
    script = "mount --make-rshared /x; mount --make-rshared /; mount -t tmpfs t /x/dir && touch /x/dir/here && echo did"
    code, output = await world.run(script, volume_mounts=mounts, volumes={"v": shared}, security_context=MOUNTING)
    assert (code, output) == (0, "did\n")
    assert below(shared) == []
    assert os.listdir(shared / "dir") == []


async def test_mounts_outside_of_a_shared_volume_stay_inside(world: World, shared: Path) -> None:
    mounts = (VolumeMount(name="v", mount_path="/x", propagation=MountPropagation.BIDIRECTIONAL),)
    before = points(world)
    script = "mkdir /y && mount --make-rshared / ; mount -t tmpfs t /y && mount -t tmpfs t /tmp && echo did"
    code, output = await world.run(script, volume_mounts=mounts, volumes={"v": shared}, security_context=MOUNTING)
    assert (code, output) == (0, "did\n")
    assert points(world) == before


async def test_a_read_only_volume_is_so_below_too_when_that_is_asked(world: World, shared: Path) -> None:
    """What the host mounts there later is another matter: recursiveReadOnly is for a volume that does not propagate."""
    native.mount("tmpfs", str(shared / "dir"), "tmpfs")
    mounts = (VolumeMount(name="v", mount_path="/x", read_only=True, recursive_read_only=RecursiveReadOnly.ENABLED),)
    code, output = await world.run("touch /x/dir/f || echo no", volume_mounts=mounts, volumes={"v": shared})
    assert (code, output.splitlines()[-1]) == (0, "no")
    assert os.listdir(shared / "dir") == []
