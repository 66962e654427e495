"""A layout and a volume service for one test; what it mounted is gone at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nsrun.support.layout import Layout
from nsrun.volumes.mounts import unmount_below
from nsrun.volumes.service import VolumeService
from tests.unit.volumes.world import volume_service


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    yield Layout(root=tmp_path / "root", run_dir=tmp_path / "run", log_dir=tmp_path / "log")
    unmount_below(tmp_path)


@pytest.fixture
def service(layout: Layout) -> VolumeService:
    return volume_service(layout)
