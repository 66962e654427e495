"""The status board: the one place that holds what is true now, for whoever looks (API, command line, log)."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from nsrun.model.pod import Pod
from nsrun.model.status import Event, EventSeries, EventType, PodStatus
from nsrun.supervisor.eventlog import EventLog
from nsrun.supervisor.feed import Feed
from nsrun.supervisor.repetition import Repetitions
from nsrun.support.layout import PodName

__all__ = ["PodChange", "StatusBoard"]

logger = logging.getLogger(__name__)

BEHIND = 10_000
"""So many changes a reader may be behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodChange:
    """A pod is like this now; or is ``gone``, and this was its last status."""

    pod: Pod
    status: PodStatus
    gone: bool = False


class StatusBoard:
    """What is true of every pod, the last events, and what the manifests' source complains about.

    Belongs to one event loop. The supervisor writes, everybody else reads; what is read are values that never change.
    """

    def __init__(self) -> None:
        self._pods: dict[str, tuple[Pod, PodStatus]] = {}  # by UID, oldest first
        self._events = EventLog()
        self._repetitions = Repetitions()
        self._event_feeds: set[Feed[int, EventSeries]] = set()
        self._pod_feeds: set[Feed[str, PodChange]] = set()
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

    def events(self, *, namespace: str | None = None, pod: str | None = None) -> tuple[EventSeries, ...]:
        """What happened since nsrun started, repeats merged, the last at the end: all, or of one namespace or pod."""
        return tuple(
            series
            for series in self._events.all()
            if (namespace is None or series.event.namespace == namespace) and (pod is None or series.event.pod == pod)
        )

    async def watch_events(self) -> AsyncGenerator[tuple[EventSeries, ...], None]:
        """All there are now, first; then what happened since, with how often it has. Of what changed several times
        meanwhile only the newest is told; for a listener who is thousands behind it ends."""
        feed: Feed[int, EventSeries] = Feed(most=BEHIND)
        self._event_feeds.add(feed)
        try:
            yield self._events.all()
            while news := await feed.take():
                yield news
        finally:
            self._event_feeds.discard(feed)

    async def watch_pods(self) -> AsyncGenerator[tuple[PodChange, ...], None]:
        """The same of pods."""
        feed: Feed[str, PodChange] = Feed(most=BEHIND)
        self._pod_feeds.add(feed)
        try:
            yield tuple(PodChange(pod=pod, status=status) for pod, status in self.pods())
            while news := await feed.take():
                yield news
        finally:
            self._pod_feeds.discard(feed)

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
        if self._pods.get(pod.uid) == (pod, status):
            return
        self._pods[pod.uid] = (pod, status)
        self._tell(PodChange(pod=pod, status=status))

    def remove(self, uid: str) -> None:
        """The pod is gone; its events stay."""
        last = self._pods.pop(uid, None)
        self._repetitions.forget(uid)
        if last is not None:
            self._tell(PodChange(pod=last[0], status=last[1], gone=True))

    def record(self, event: Event) -> None:
        """Something happened: one line in the log (unless it was just told), and told to each listener."""
        self._log(event)
        series = self._events.add(event)
        for feed in self._event_feeds:
            feed.put(series.number, series)

    def _tell(self, change: PodChange) -> None:
        for feed in self._pod_feeds:
            feed.put(change.pod.uid, change)

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
