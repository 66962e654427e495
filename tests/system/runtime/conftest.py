"""Fixtures of the runtime's tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.system.runtime.world import WITHOUT, World, unpack_busybox, without_cgroups

# Not the tests' own /run: before Linux 6.3 a tmpfs has no idmapped mounts.
DISK = "/var/tmp"


@pytest.fixture(scope="session")
def busybox(demo_images: Path) -> Iterator[Path]:
    """The unpacked busybox image."""
    path = Path(tempfile.mkdtemp(dir=DISK, prefix="nsrun-busybox-"))
    path.chmod(0o755)
    unpack_busybox(demo_images, path)
    yield path
    shutil.rmtree(path)


@pytest.fixture
async def world(request: pytest.FixtureRequest, busybox: Path, cgroup_root: str) -> AsyncIterator[World]:
    """Everything a pod needs; every pod is removed at the end. ``with_and_without_cgroups`` asks for two of them."""
    root = Path(tempfile.mkdtemp(dir=DISK, prefix="nsrun-world-"))
    facts = without_cgroups() if getattr(request, "param", "") == WITHOUT else None
    world = World(root=root, cgroup_root=cgroup_root, busybox=busybox, facts=facts)
    try:
        yield world
        await world.close()
    finally:  # a pod that could not be started may not be ended either
        world.cgroups.close()
        shutil.rmtree(root)
