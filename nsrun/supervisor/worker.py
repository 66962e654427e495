"""One pod's worker: has the steps done that its facts ask for, and waits for what happens next.

It never polls. It looks when a step ended, when a container or the sandbox did, when a probe came to another result,
when it was told what to do, and when a backoff, a grace period or a deadline is over. Steps run side by side
(``performing``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from nsrun.model.objects import Objects
from nsrun.model.pod import Pod
from nsrun.model.running import ContainerExit, SandboxExit
from nsrun.model.status import Event
from nsrun.supervisor import agenda, control, events, fold, runs, steps
from nsrun.supervisor.control import Verb
from nsrun.supervisor.events import Notice
from nsrun.supervisor.facts import Failure, PodFacts, Role
from nsrun.supervisor.lifecycle import ContainerState, PodState
from nsrun.supervisor.performing import Mechanisms, Performer
from nsrun.supervisor.status import is_reachable, pod_status
from nsrun.supervisor.steps import Step
from nsrun.supervisor.watching import Watching

__all__ = ["Mechanisms", "Worker"]

logger = logging.getLogger(__name__)

AFTER_A_BUG = 10.0
"""Seconds before a worker goes on that met a bug of ours."""


class Worker:
    """Takes one pod from what it is to what it should be, and in the end to nothing. Belongs to one event loop."""

    def __init__(
        self, facts: PodFacts, mechanisms: Mechanisms, *, changed: Callable[[], None], objects: Objects | None = None
    ) -> None:
        """``changed`` is called whenever the pod's state is another one, or less of it is left. ``objects``: what pods
        can refer to, None while nobody said: then what refers to any of them waits."""
        self.facts = facts
        self._with = mechanisms
        self._tell = changed
        self._wake = asyncio.Event()
        self._next_change = asyncio.Event()
        self._under_way: dict[str, asyncio.Task[None]] = {}  # by the steps' keys; empty when nothing is being done
        self._performer = Performer(
            mechanisms, read=lambda: self.facts, know=self._know, say=self.say, lose_sandbox=self._lose_sandbox
        )
        self._watching = Watching(mechanisms, read=lambda: self.facts, know=self._know, say=self.say)
        if objects is not None:
            self.update_objects(objects)

    # --- what others tell it

    def refresh(self, pod: Pod) -> None:
        """The same pod with other labels or annotations."""
        self._know(fold.refreshed(self.facts, pod))

    def terminate(self, grace: float | None = None) -> None:
        """The pod is not wanted any more. There is no way back; a second time changes at most the ``grace``, seconds
        instead of what the manifest says."""
        self._know(fold.terminating(self.facts, self._now(), grace))

    def update_objects(self, objects: Objects) -> None:
        """What pods can refer to now: the pod's volumes follow, and what waited for any of it tries again at once."""
        self._know(fold.told_objects(self.facts, objects, self._now()))

    def fail(self, reason: str, message: str, *, grace: float | None = None) -> None:
        """The pod ends as Failed for this reason (``Evicted`` …): its containers are stopped, within ``grace`` seconds
        instead of what the manifest says, and never run again, also after a restart of nsrun. It stays on the board and
        keeps its records until it is terminated. A pod that ended already stays as it is."""
        self._know(fold.failed(self.facts, Failure(reason=reason, message=message), self._now(), grace))

    def retry_pulls(self) -> None:
        """The image store has something new."""
        self._know(runs.pulls_due(self.facts, self._now()))

    def order(self, name: str, verb: Verb, grace: float | None) -> None:
        """Somebody wants a container stopped, started or restarted. ``grace``: seconds that a stop may take, None for
        what the manifest says."""
        self._know(control.obeyed(self.facts, name, verb, self._now(), grace))

    def container_exited(self, told: ContainerExit) -> None:
        """A run of this pod ended."""
        logger.info(
            'Container "%s" of pod %s ended with code %d (%s)',
            told.id.name,
            self.facts.label,
            told.exit.code,
            told.exit.reason,
        )
        self._know(runs.exited(self.facts, told.id, told.exit, self._with.backoffs))

    def sandbox_exited(self, told: SandboxExit) -> None:
        """The sandbox of this pod died."""
        if self.facts.state is PodState.STARTING:
            self._know(fold.sandbox_died(self.facts, under_way=steps.StartSandbox().key in self._under_way))
            return
        self._lose_sandbox(told.message)

    def say(self, notice: Notice) -> None:
        """Records an event about this pod."""
        name = self.facts.name
        self._with.board.record(
            Event(
                time=self._now(),
                type=notice.type,
                reason=notice.reason,
                message=notice.message,
                namespace=name.namespace if name is not None else "",
                pod=name.name if name is not None else "",
                uid=self.facts.uid,
                container=notice.container,
                init=self._is_init(notice.container),
            )
        )

    def _is_init(self, container: str) -> bool:
        known = self.facts.container(container)
        return known is not None and known.role is not Role.APP

    @property
    def changed(self) -> asyncio.Event:
        """Set when something is known that is not known now. Every change has an event of its own."""
        return self._next_change

    @property
    def done(self) -> bool:
        """Whether nothing of the pod is left."""
        return self.facts.state is PodState.REMOVED

    # --- the loop

    async def run(self) -> None:
        """Returns when nothing of the pod is left. No error comes out of it."""
        while not self.done:
            try:
                await self._drive()
            except Exception:
                logger.exception("Internal error in the worker of pod %s", self.facts.label)
                self.say(events.internal())
                await self._with.clock.sleep(AFTER_A_BUG)
        self._watching.forget()
        if self.facts.pod is not None:
            self._with.board.remove(self.facts.uid)
            self.say(events.pod_removed(self._now() - self.facts.stopping_since))
        logger.info("Pod %s is gone", self.facts.label)

    async def _drive(self) -> None:
        async with asyncio.TaskGroup() as group:
            try:
                while not self.done:
                    await self._turn(group)
            finally:
                for task in self._under_way.values():
                    task.cancel()

    async def _turn(self, group: asyncio.TaskGroup) -> None:
        """Does all that can be done now, and waits for something to happen."""
        now = self._now()
        self._know(fold.settled(self.facts, self._under_way, now, self._with.backoffs))
        self._publish(now)
        self._wake.clear()
        if self.done:
            return
        self._watching.look()
        for key in agenda.cut_off(self.facts, self._under_way):
            self._under_way[key].cancel()
        for step in agenda.next_steps(self.facts, self._under_way, now):
            self._under_way[step.key] = group.create_task(self._perform(step), name=f"{self.facts.uid} {step.key}")
        alarm = agenda.next_alarm(self.facts, self._under_way, now)
        waker = group.create_task(self._alarm(alarm - now)) if alarm is not None else None
        try:
            await self._wake.wait()
        finally:
            if waker is not None:
                waker.cancel()

    async def _alarm(self, seconds: float) -> None:
        await self._with.clock.sleep(seconds)
        self._wake.set()

    async def _perform(self, step: Step) -> None:
        try:
            await self._performer.perform(step)
        finally:
            del self._under_way[step.key]
            self._wake.set()

    def _publish(self, now: float) -> None:
        facts = self.facts
        if facts.pod is None or self.done:
            return
        before = self._with.board.status(facts.uid)
        status = pod_status(facts, before=before, now=now, settings=self._with.backoffs, node=self._with.node)
        self._with.board.put(facts.pod, status)
        self._with.counts.published(before, status, now)
        if is_reachable(status) and not (before is not None and is_reachable(before)):
            self.say(events.pod_ready(status.pod_ip))

    # --- knowing

    def _know(self, facts: PodFacts) -> None:
        before, self.facts = self.facts, facts
        self._wake.set()
        if facts != before:
            change, self._next_change = self._next_change, asyncio.Event()
            change.set()
        for notice in events.stops(before, facts):
            self.say(notice)
        if facts.state is not before.state:
            logger.info("Pod %s: %s, was %s", facts.label, facts.state, before.state)
            self._say_end(before)
        if (facts.state, facts.unmade) != (before.state, before.unmade):
            self._tell()
        self._say_crash_loops(before)

    def _say_end(self, before: PodFacts) -> None:
        failure = self.facts.failure
        if failure is not None and before.failure is None:
            self.say(events.pod_failed(failure.reason, failure.message))
        if self.facts.state is PodState.RESTARTING:
            self.say(events.restarting_all(self.facts.restarting))

    def _say_crash_loops(self, before: PodFacts) -> None:
        pod, known = self.facts.pod, {c.name: c for c in before.containers}
        for container in self.facts.containers:
            begun = container.name in known and known[container.name].state is not ContainerState.CRASH_BACKOFF
            crashed = container.state is ContainerState.CRASH_BACKOFF and container.until > self._now()
            if pod is not None and begun and crashed:
                self.say(events.crash_loop(pod, container.name))

    def _lose_sandbox(self, message: str) -> None:
        self._know(fold.sandbox_lost(self.facts, message, self._now(), self._with.backoffs))
        if self.facts.state is PodState.RESETTING:
            self.say(events.sandbox_changed(message))

    def _now(self) -> float:
        return self._with.clock.now()
