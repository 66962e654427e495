"""Pods that are taken back once they have ended."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from nsrun.errors import NsrunError
from nsrun.model.pod import Pod
from nsrun.model.resources import QosClass
from nsrun.model.status import Phase, PodStatus
from nsrun.supervisor.autoremove import AUTO_REMOVE, LINGER, AutoRemoval
from nsrun.supervisor.board import StatusBoard
from nsrun.support.layout import PodName
from tests.contracts.virtualclock import VirtualClock
from tests.unit.supervisor.world import pod


def wanted(name: str) -> Pod:
    made = pod(name)
    return replace(made, metadata=replace(made.metadata, annotations={AUTO_REMOVE: "true"}))


def status(phase: Phase) -> PodStatus:
    return PodStatus(phase=phase, qos_class=QosClass.BEST_EFFORT)


async def test_what_has_ended_is_taken_back_after_a_while() -> None:
    board, clock, removed = StatusBoard(), VirtualClock(), list[str]()

    async def remove(name: PodName) -> bool:
        removed.append(name.name)
        if name.name == "stuck":
            raise NsrunError("cannot forget it")
        return True

    async with asyncio.TaskGroup() as group:
        task = group.create_task(AutoRemoval(board, clock, remove).run())
        for name in ("ended", "stuck", "runs"):
            board.put(wanted(name), status(Phase.RUNNING))
        board.put(pod("other"), status(Phase.SUCCEEDED))
        await clock.advance(2 * LINGER)
        assert removed == []
        board.put(wanted("ended"), status(Phase.SUCCEEDED))
        board.put(wanted("stuck"), status(Phase.FAILED))
        await clock.advance(LINGER)
        assert removed == [], "there is time to look at it"
        await clock.advance(LINGER)
        assert sorted(removed) == ["ended", "stuck"]
        board.remove("uid-ended")
        await clock.advance(LINGER)
        assert sorted(removed) == ["ended", "stuck", "stuck"]
        task.cancel()
