"""The status board: the one place that holds what is true now, for whoever looks (API, command line, log)."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import AsyncIterator, Sequence

from nsrun.model.pod import Pod
from nsrun.model.status import Event, EventType, PodStatus
from nsrun.supervisor.repetition import Repetitions
from nsrun.support.layout import PodName

__all__ = ["StatusBoard"]

logger = logging.getLogger(__name__)

EVENTS_KEPT = 1000


class StatusBoard:
    """What is true of every pod, the last events, and what the manifests' source complains about.

    Belongs to one event loop. The supervisor writes, everybody else reads; what is read are values that never change.
    """

    def __init__(self, *, events_kept: int = EVENTS_KEPT) -> None:
        self._pods: dict[str, tuple[Pod, PodStatus]] = {}  # by UID, oldest first
        self._events: deque[Event] = deque(maxlen=events_kept)
        self._repetitions = Repetitions()
        self._listeners: set[asyncio.Queue[Event]] = set()  # one per running ``subscribe``
        self._problems: tuple[str, ...] = ()
        self._warnings: tuple[str, ...] = ()

    # --- reading

    def pods(self) -> tuple[tuple[Pod, PodStatus], ...]:
        """Every pod with its status, by namespace and name."""
        return tuple(sorted(self._pods.values(), key=lambda entry: entry[0].name))

    def pod(self, namespace: str, name: str) -> tuple[Pod, PodStatus] | None:
        """The pod of that name; while one takes another's place, the one that is there already."""
        wanted = PodName(namespace=namespace, name=name)
        return next((entry for entry in self._pods.values() if entry[0].name == wanted), None)

    def status(self, uid: str) -> PodStatus | None:
        """The last status of a pod."""
        entry = self._pods.get(uid)
        return entry[1] if entry is not None else None

    def events(self, *, namespace: str | None = None, pod: str | None = None) -> tuple[Event, ...]:
        """The last events, oldest first: all, or those of one namespace or pod."""
        return tuple(
            event
            for event in self._events
            if (namespace is None or event.namespace == namespace) and (pod is None or event.pod == pod)
        )

    async def subscribe(self) -> AsyncIterator[Event]:
        """Every event from the first ``anext`` on. A listener that lags by a thousand events misses the oldest."""
        queue: asyncio.Queue[Event] = asyncio.Queue(maxsize=EVENTS_KEPT)
        self._listeners.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners.discard(queue)

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the manifests now: ``file:line:column: text``."""
        return self._problems

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is doubtful about the manifests now."""
        return self._warnings

    # --- writing: the supervisor only

    def put(self, pod: Pod, status: PodStatus) -> None:
        """This is true of the pod now."""
        self._pods[pod.uid] = (pod, status)

    def remove(self, uid: str) -> None:
        """The pod is gone; its events stay."""
        self._pods.pop(uid, None)
        self._repetitions.forget(uid)

    def record(self, event: Event) -> None:
        """Something happened: one line in the log (unless it was just told), one entry here, one message to each
        listener."""
        self._log(event)
        self._events.append(event)
        for queue in self._listeners:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)

    def report(self, *, problems: Sequence[str], warnings: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Takes all that is wrong with the manifests now; returns the problems and warnings that are new."""
        new_problems = tuple(line for line in dict.fromkeys(problems) if line not in self._problems)
        new_warnings = tuple(line for line in dict.fromkeys(warnings) if line not in self._warnings)
        self._problems, self._warnings = tuple(problems), tuple(warnings)
        return new_problems, new_warnings

    def _log(self, event: Event) -> None:
        remark = self._repetitions.remark(event)
        if remark is None:
            return
        level = logging.WARNING if event.type is EventType.WARNING else logging.INFO
        line = f"{_subject(event)}: {event.reason}: {event.message}" if event.pod else event.message
        logger.log(level, "%s", f"{line.rstrip()} {remark}".rstrip())


def _subject(event: Event) -> str:
    """The pod; and the container, when the message does not name it."""
    pod = f'Pod "{event.namespace}/{event.pod}"'
    named = not event.container or re.search(rf"(?<![\w-]){re.escape(event.container)}(?![\w-])", event.message)
    return pod if named else f'{pod} container "{event.container}"'
