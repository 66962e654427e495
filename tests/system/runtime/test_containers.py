"""Containers for real: shim, namespaces, overlay, busybox."""

from __future__ import annotations

import pytest

from tests.system.runtime.world import World, pod, shell

pytestmark = pytest.mark.root


async def test_a_container_runs_and_its_end_is_known(world: World) -> None:
    one = pod(shell("main", "echo hello; exit 3"))
    started = await world.start(one)
    end = await world.end(started.id)
    assert (end.code, end.reason, end.signal) == (3, "Error", 0)
    assert world.output(one, started.id) == "hello\n"
