"""Fixtures of the end-to-end tests."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.nsrunner import Nsrun
from tests.registry import registry

__all__ = ["loaded", "nsrun", "registry", "store"]


@pytest.fixture
def nsrun(tmp_path: Path, cgroup_root: str) -> Iterator[Nsrun]:
    """An nsrun that is not started yet; at the end ``nsrun down`` must leave nothing."""
    program = Nsrun(base=tmp_path, cgroup_root=cgroup_root, flags=("--verbose",))
    yield program
    if program.process is not None and program.process.poll() is None:
        program.kill()
    program.cli("down", "--time", "0")
    assert program.remains_of_all() == []


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, demo_images: Path) -> Path:
    """What ``nsrun load`` makes of the demo images, once."""
    program = Nsrun(base=tmp_path_factory.mktemp("store"), cgroup_root="nsrun-test-never-made")
    program.cli("load", str(demo_images))
    return program.root


@pytest.fixture
def loaded(nsrun: Nsrun, store: Path) -> Nsrun:
    """The same, with the demo images in its store."""
    subprocess.run(["cp", "-a", str(store), str(nsrun.root)], check=True)
    return nsrun
