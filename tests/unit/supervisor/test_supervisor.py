"""The supervisor over an imagined machine: what users see happen."""

from __future__ import annotations

from nsrun.model.status import Phase, Running
from tests.unit.supervisor.world import World, container, pod


async def test_a_pod_is_started_and_removed() -> None:
    world = World()
    web = pod("web", container("main", volumes=["logs"]), container("side"), volumes=["logs"])
    world.manifests.say(web)
    async with world.daemon() as daemon:
        status = daemon.status(web)
        assert status.phase is Phase.RUNNING
        assert status.pod_ip == "10.99.0.2"
        assert all(isinstance(c.state, Running) for c in status.container_statuses)
        assert daemon.reasons(web)[-1] == "Ready"
        world.manifests.say()
        await world.clock.settle()
        assert daemon.board.pods() == ()
        assert world.machine.owners() == set()
    assert world.machine.violations == []
