"""Pods that are wanted and not here: turned away, or waiting for others to leave. The board shows them all the same."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from nsrun.model.pod import Pod
from nsrun.model.status import Phase, PodStatus
from nsrun.supervisor.board import StatusBoard
from nsrun.supervisor.reconciler import Rejection
from nsrun.supervisor.status import rejected_status
from nsrun.support.clock import Clock

__all__ = ["Outside"]


class Outside:
    """Keeps the board as the last decision says."""

    def __init__(self, board: StatusBoard, clock: Clock, say: Callable[[str, str, Pod], None]) -> None:
        """``say(reason, message, pod)`` records an event."""
        self._board = board
        self._clock = clock
        self._say = say
        self._rejected: dict[str, Rejection] = {}  # by UID
        self._queued: dict[str, Rejection] = {}  # by UID

    def show(self, *, reject: Sequence[Rejection], queue: Sequence[Rejection], here: Collection[str]) -> None:
        """Pods turned away are failed until there is room, those that wait are pending; neither when their UID is
        ``here``: then there is somebody on the board already."""
        rejected = {rejection.pod.uid: rejection for rejection in reject}
        queued = {waiting.pod.uid: waiting for waiting in queue}
        for uid in (self._rejected.keys() | self._queued.keys()) - rejected.keys() - queued.keys() - set(here):
            self._board.remove(uid)
        for uid, rejection in rejected.items():
            self._show_rejected(rejection, before=self._rejected.get(uid), here=uid in here)
        for uid, waiting in queued.items():
            if self._queued.get(uid) != waiting and uid not in here:
                self._board.put(waiting.pod, _pending(waiting))
        self._rejected, self._queued = rejected, queued

    def _show_rejected(self, rejection: Rejection, *, before: Rejection | None, here: bool) -> None:
        if before == rejection:
            return
        pod, now = rejection.pod, self._clock.now()
        if not here:
            self._board.put(pod, rejected_status(pod, reason=rejection.reason, message=rejection.message, now=now))
        if before is None:
            self._say(rejection.reason, f"Pod was rejected: {rejection.message}", pod)


def _pending(waiting: Rejection) -> PodStatus:
    return PodStatus(
        phase=Phase.PENDING,
        qos_class=waiting.pod.qos_class,
        message=f"Waits for pods that are being stopped: {waiting.message}",
    )
