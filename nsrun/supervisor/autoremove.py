"""Pods that are taken back once they have ended, because whoever asked for them wanted it so."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from nsrun.errors import NsrunError
from nsrun.model.status import Phase
from nsrun.supervisor.board import StatusBoard
from nsrun.support.clock import Clock
from nsrun.support.layout import PodName

__all__ = ["AUTO_REMOVE", "AutoRemoval"]

AUTO_REMOVE = "nsrun/auto-remove"
"""The annotation that asks for it, with the value ``true``."""

LINGER = 3.0
"""Seconds between looks; a pod is taken back at the second look that finds it ended: there is time to read its exit
code and its last lines."""

ENDED = frozenset({Phase.SUCCEEDED, Phase.FAILED})

logger = logging.getLogger(__name__)


class AutoRemoval:
    """``remove`` takes a pod back; it raises NsrunError, and returns False for one that was not asked for."""

    def __init__(self, board: StatusBoard, clock: Clock, remove: Callable[[PodName], Awaitable[bool]]) -> None:
        self._board = board
        self._clock = clock
        self._remove = remove

    async def run(self) -> None:
        """Until it is cancelled."""
        ended_before: frozenset[str] = frozenset()
        while True:
            await self._clock.sleep(LINGER)
            ended = {
                pod.uid: pod.name
                for pod, status in self._board.pods()
                if status.phase in ENDED and pod.metadata.annotations.get(AUTO_REMOVE) == "true"
            }
            for uid in ended_before & ended.keys():
                await self._take_back(ended[uid])
            ended_before = frozenset(ended)

    async def _take_back(self, name: PodName) -> None:
        try:
            await self._remove(name)
        except NsrunError as error:
            logger.warning("%s", error)
