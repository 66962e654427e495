"""The world as fixtures, for every directory of tests that wants one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from nsrun.support.layout import Layout
from tests.system.network.world import World, make_service, make_uplink, remove_uplink

__all__ = ["world"]


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A started service and a neighbour; at the end every pod is detached, and nothing may be left."""
    layout = Layout(root=tmp_path / "root", run_dir=Path("/run/nsrun-test"), log_dir=tmp_path / "log")
    make_uplink()
    made = World(layout=layout, service=make_service(layout))
    try:
        await made.service.start()
        yield made
        async with asyncio.TaskGroup() as group:
            for name, uid in await made.service.owners():
                group.create_task(made.service.detach(name, uid))
        assert made.leftovers() == []
    finally:
        await made.service.tear_down()
        remove_uplink()
    assert not layout.run_dir.exists() or list(layout.run_dir.rglob("*")) == []
