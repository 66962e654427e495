"""Fixtures of the runtime's tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.system.runtime.world import World, unpack_busybox


@pytest.fixture(scope="session")
def busybox(demo_images: Path) -> Iterator[Path]:
    """The unpacked busybox image. In /run, which is the test world's own."""
    path = Path(tempfile.mkdtemp(dir="/run", prefix="busybox-"))
    path.chmod(0o755)
    unpack_busybox(demo_images, path)
    yield path
    shutil.rmtree(path)


@pytest.fixture
async def world(busybox: Path, cgroup_root: str) -> AsyncIterator[World]:
    """Everything a pod needs; every pod is removed at the end."""
    root = Path(tempfile.mkdtemp(dir="/run", prefix="world-"))
    world = World(root=root, cgroup_root=cgroup_root, busybox=busybox)
    yield world
    await world.close()
    world.cgroups.close()
    shutil.rmtree(root)
