"""One pod's worker: performs the steps its facts ask for, folds what came of them, and waits for what happens next.

It never polls. It looks when a step ended, when a container or the sandbox did, when it was told what to do, and when a
backoff or a grace period is over. Steps run side by side; each is one call of a mechanism, and each may fail, be tried
again, or be cut off at any point by the end of this process without anything being lost: the next supervisor finds the
rest on the machine.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from nsrun.errors import ImageError, InternalError, LaunchError, NsrunError, RuntimeFailure
from nsrun.model.node import Node
from nsrun.model.objects import Objects
from nsrun.model.pod import Pod
from nsrun.model.running import ContainerExit, ContainerId, ContainerRequest, SandboxExit
from nsrun.model.status import Event, PodStatus, Waiting
from nsrun.supervisor import events, fold, steps
from nsrun.supervisor.backoff import BackoffSettings
from nsrun.supervisor.board import StatusBoard
from nsrun.supervisor.events import Notice
from nsrun.supervisor.facts import PodFacts
from nsrun.supervisor.lifecycle import ContainerState, PodState
from nsrun.supervisor.podjson import pod_document
from nsrun.supervisor.ports import Images, Network, Probes, Runtime, Volumes
from nsrun.supervisor.status import is_ready, pod_status
from nsrun.supervisor.steps import Step
from nsrun.support.clock import Clock

if TYPE_CHECKING:
    from nsrun.supervisor.probing import Probing

__all__ = ["Mechanisms", "Worker"]

logger = logging.getLogger(__name__)

AFTER_A_BUG = 10.0
"""Seconds before a worker goes on that met a bug of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mechanisms:
    """What the workers work with. ``node``: what fields that speak of the machine say; ``probing``: every pod's probes,
    ``probes`` and ``clock`` beside it for hooks."""

    images: Images
    volumes: Volumes
    network: Network
    runtime: Runtime
    board: StatusBoard
    clock: Clock
    backoffs: BackoffSettings
    node: Node = field(default_factory=lambda: Node(name="localhost"))
    probes: Probes | None = None
    probing: Probing | None = None


class Worker:
    """Takes one pod from what it is to what it should be, and in the end to nothing. Belongs to one event loop."""

    def __init__(
        self, facts: PodFacts, mechanisms: Mechanisms, *, changed: Callable[[], None], objects: Objects | None = None
    ) -> None:
        """``changed`` is called whenever the pod's state is another one. ``objects``: what pods can refer to, None
        while nobody said: then what refers to any of them waits."""
        self.facts = facts
        self._objects = objects
        self._with = mechanisms
        self._changed = changed
        self._wake = asyncio.Event()
        self._under_way: dict[str, asyncio.Task[None]] = {}  # by the steps' keys; empty when nothing is being done
        self._withheld: set[str] = set()  # what the host withholds, as far as it was said

    # --- what others tell it

    def refresh(self, pod: Pod) -> None:
        """The same pod with other labels or annotations."""
        self._know(replace(self.facts, pod=pod))

    def terminate(self, grace: float | None = None) -> None:
        """The pod is not wanted any more. There is no way back; a second time changes at most the ``grace``, seconds
        instead of what the manifest says."""
        self._know(fold.terminating(self.facts, self._now(), grace))

    def update_objects(self, objects: Objects) -> None:
        """What pods can refer to now: the pod's volumes follow, and what waited for any of it tries again at once."""
        self._objects = objects

    def fail(self, reason: str, message: str, *, grace: float | None = None) -> None:
        """The pod ends as Failed for this reason (``Evicted``, ``DeadlineExceeded`` …): its containers are stopped,
        within ``grace`` seconds instead of what the manifest says, and never run again, also after a restart of nsrun.
        It stays on the board and keeps its records until it is terminated. A pod that ended already stays as it is."""

    def retry_pulls(self) -> None:
        """The image store has something new."""
        self._know(fold.pulls_due(self.facts, self._now()))

    def container_exited(self, told: ContainerExit) -> None:
        """A run of this pod ended."""
        self._know(fold.exited(self.facts, told.id, told.exit, self._with.backoffs))
        logger.info(
            'Container "%s" of pod %s ended with code %d (%s)',
            told.id.name,
            self.facts.label,
            told.exit.code,
            told.exit.reason,
        )
        self._say_crash_loop(told.id.name)

    def sandbox_exited(self, told: SandboxExit) -> None:
        """The sandbox of this pod died."""
        if self.facts.state is PodState.STARTING:
            self._know(replace(self.facts, sandbox_died=steps.StartSandbox().key in self._under_way))
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
            )
        )

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
        self._settle(now)
        self._publish(now)
        self._wake.clear()
        if self.done:
            return
        if self.facts.state is PodState.STOPPING:
            self._give_up_pulls()
        for step in steps.next_steps(self.facts, self._under_way, now):
            self._under_way[step.key] = group.create_task(self._perform(step), name=f"{self.facts.uid} {step.key}")
        alarm = steps.next_alarm(self.facts, self._under_way, now)
        waker = group.create_task(self._alarm(alarm - now)) if alarm is not None else None
        try:
            await self._wake.wait()
        finally:
            if waker is not None:
                waker.cancel()

    def _settle(self, now: float) -> None:
        """Lets the facts come to rest: one thing that follows by itself may let another follow."""
        while True:
            settled = fold.advanced(self.facts, self._under_way, now, self._with.backoffs)
            if settled == self.facts:
                return
            self._know(settled)

    async def _alarm(self, seconds: float) -> None:
        await self._with.clock.sleep(seconds)
        self._wake.set()

    def _give_up_pulls(self) -> None:
        """Pulls can take minutes and hold nothing of the pod; everything else is waited for."""
        for container in self.facts.containers:
            task = self._under_way.get(steps.EnsureImage(container=container.name).key)
            if task is not None:
                task.cancel()

    def _know(self, facts: PodFacts) -> None:
        before, self.facts = self.facts, facts
        self._wake.set()
        if facts.state is not before.state:
            logger.info("Pod %s: %s, was %s", facts.label, facts.state, before.state)
            self._changed()

    def _publish(self, now: float) -> None:
        facts = self.facts
        if facts.pod is None or self.done:
            return
        before = self._with.board.status(facts.uid)
        status = pod_status(facts, before=before, now=now, settings=self._with.backoffs)
        self._with.board.put(facts.pod, status)
        if _is_reachable(status) and not (before is not None and _is_reachable(before)):
            self.say(events.pod_ready(status.pod_ip))

    # --- steps

    async def _perform(self, step: Step) -> None:
        try:
            await self._do(step)
        except NsrunError as error:
            self._failed(step, error)
        except Exception as error:
            logger.exception("Internal error in step %r of pod %s", step.key, self.facts.label)
            self._failed(step, InternalError(str(error)))
        else:
            self._know(fold.step_done(self.facts, step.key))
        finally:
            del self._under_way[step.key]
            self._wake.set()

    async def _do(self, step: Step) -> None:
        runtime = self._with.runtime
        match step:
            case steps.AttachNetwork():
                attachment = await self._with.network.attach(self._pod)
                self._know(fold.attached(self.facts, attachment))
            case steps.PrepareVolumes():
                volumes = await self._with.volumes.prepare(self._pod, Objects(), {}, self.facts.attachment)
                self._say_withheld([text for volume in volumes.values() for text in volume.warnings])
                self._know(fold.prepared(self.facts, volumes))
            case steps.StartSandbox():
                await self._start_sandbox()
            case steps.EnsureImage():
                await self._ensure_image(step.container)
            case steps.StartContainer():
                await self._start_container(step.container)
            case steps.Ask():
                self.say(events.container_killing(step.id.name))
                await runtime.signal(step.id, runtime.stop_signal(step.id))
                self._know(fold.asked(self.facts, step.id.name))
            case steps.Kill():
                await self._kill(step.id)
            case steps.RemoveContainer():
                await runtime.remove_container(step.id)
                self._know(fold.run_removed(self.facts, step.id))
            case steps.RemoveSandbox() | steps.DetachNetwork() | steps.RemoveVolumes():
                await self._unmake(step)

    async def _start_sandbox(self) -> None:
        pod, attachment = self._pod, self.facts.attachment
        assert attachment is not None
        try:
            document = pod_document(pod, self._with.board.status(pod.uid))
            sandbox = await self._with.runtime.start_sandbox(pod, attachment, document)
            self._say_withheld(sandbox.warnings)
            self._know(fold.sandbox_started(self.facts, sandbox))
            if self.facts.sandbox_died:
                self._lose_sandbox("it died while it was being started")
        finally:
            self._know(replace(self.facts, sandbox_died=False))

    async def _ensure_image(self, name: str) -> None:
        container, clock = self._pod.container(name), self._with.clock
        began, asked = clock.monotonic(), False

        def pulling() -> None:
            nonlocal asked
            asked = True
            self.say(events.image_pulling(container))

        image = await self._with.images.ensure(container.image, container.image_pull_policy, pulling=pulling)
        took = clock.monotonic() - began
        self.say(events.image_pulled(container, image, took) if asked else events.image_present(container))
        self._know(fold.pulled(self.facts, name, image))

    async def _start_container(self, name: str) -> None:
        pod, runtime = self._pod, self._with.runtime
        known = self.facts.container(name)
        assert known is not None
        if known.state is ContainerState.READY:
            # A number may have been used by a run of which only the log is left.
            attempt = max(await runtime.next_attempt(pod, name), known.attempt + 1)
            self._know(fold.starting(self.facts, name, attempt))
        request = self._request(pod, name)
        running = await runtime.start_container(request)
        self.say(events.container_created(name))
        self.say(events.container_started(name))
        self._know(fold.started(self.facts, running, request.image, self._now(), self._with.backoffs))
        self._say_withheld(running.warnings, name)
        self._say_crash_loop(name)

    def _request(self, pod: Pod, name: str) -> ContainerRequest:
        facts = self.facts
        known = facts.container(name)
        assert known is not None
        assert known.image is not None
        assert facts.attachment is not None
        return ContainerRequest(
            id=ContainerId(uid=facts.uid, name=name, attempt=known.attempt),
            pod=pod,
            container=pod.container(name),
            image=known.image,
            attachment=facts.attachment,
            volumes=facts.volumes or {},
        )

    async def _kill(self, id: ContainerId) -> None:
        known = self.facts.container(id.name)
        if known is not None and not known.asked:
            self.say(events.container_killing(id.name))
        await self._with.runtime.kill(id)
        self._know(fold.killed(self.facts, id.name))

    async def _unmake(self, step: steps.RemoveSandbox | steps.DetachNetwork | steps.RemoveVolumes) -> None:
        facts = self.facts
        match step:
            case steps.RemoveSandbox():
                # Without a name the logs stay, and with them the number of the last attempt.
                name = facts.name if facts.state is PodState.REMOVING else None
                await self._with.runtime.remove_sandbox(name, facts.uid)
            case steps.DetachNetwork():
                assert facts.name is not None
                await self._with.network.detach(facts.name, facts.uid)
            case steps.RemoveVolumes():
                await self._with.volumes.remove(facts.uid)
        if self.facts.state is PodState.RESETTING:
            self._know(fold.sandbox_removed(self.facts))
        elif self.facts.state is PodState.REMOVING:
            self._know(fold.unmade(self.facts, step.key))

    # --- what goes wrong

    def _failed(self, step: Step, error: NsrunError) -> None:
        # Once more, and only for whoever asked for every step: the events below tell it.
        logger.info("Cannot complete step %r of pod %s: %s", step.key, self.facts.label, events.with_hint(error))
        match step:
            case steps.EnsureImage():
                self._pull_failed(step.container, error)
            case steps.StartContainer():
                self._start_failed(step, error)
            case steps.RemoveContainer() if self.facts.state is PodState.REMOVING:
                # Taking down the sandbox and the volumes takes all of it along, or says why it cannot.
                self._know(fold.run_removed(self.facts, step.id))
            case steps.AttachNetwork() | steps.StartSandbox():
                self._try_again(step, events.sandbox_failed(error))
            case steps.PrepareVolumes():
                self._try_again(step, events.volumes_failed(error))
            case steps.RemoveContainer():
                self._try_again(step, events.cleaning_failed(step.id.name, error))
            case _:
                self._try_again(step, events.unmaking_failed(error))

    def _try_again(self, step: Step, notice: Notice) -> None:
        self.say(notice)
        self._know(fold.step_failed(self.facts, step.key, self._now(), self._with.backoffs.step, notice.message))

    def _pull_failed(self, name: str, error: NsrunError) -> None:
        failure = error if isinstance(error, ImageError) else ImageError(error.message, hint=error.hint)
        problem, notices = events.image_failed(self._pod.container(name), failure)
        for notice in notices:
            self.say(notice)
        self._know(fold.pull_failed(self.facts, name, problem, self._now(), self._with.backoffs.image))

    def _start_failed(self, step: steps.StartContainer, error: NsrunError) -> None:
        name, message = step.container, events.with_hint(error)
        notice = events.start_failed(name, error)
        known = self.facts.container(name)
        assert known is not None
        if known.state is not ContainerState.STARTING or not isinstance(error, RuntimeFailure):
            # Nobody knows how far it came: the same run is asked for again.
            self._try_again(step, notice)
            return
        self.say(notice)
        if isinstance(error, LaunchError):
            self._know(fold.never_ran(self.facts, name, message, self._now(), self._with.backoffs))
            self._say_crash_loop(name)
        else:
            problem = Waiting(reason=error.reason, message=message)
            self._know(fold.refused(self.facts, name, problem, self._now(), self._with.backoffs))

    def _lose_sandbox(self, message: str) -> None:
        self._know(fold.sandbox_lost(self.facts, message, self._now(), self._with.backoffs))
        if self.facts.state is PodState.RESETTING:
            self.say(events.sandbox_changed(message))

    # --- small change

    @property
    def _pod(self) -> Pod:
        if self.facts.pod is None:
            raise InternalError(f"a pod {self.facts.label} without a manifest cannot be started")
        return self.facts.pod

    def _now(self) -> float:
        return self._with.clock.now()

    def _say_withheld(self, texts: Iterable[str], container: str = "") -> None:
        """Each thing once for a pod: it will not have changed at the next restart."""
        for text in texts:
            if text not in self._withheld:
                self._withheld.add(text)
                self.say(events.host_withholds(container, text))

    def _say_crash_loop(self, name: str) -> None:
        known = self.facts.container(name)
        if known is not None and known.state is ContainerState.CRASH_BACKOFF and known.until > self._now():
            self.say(events.crash_loop(self._pod, name))


def _is_reachable(status: PodStatus) -> bool:
    """Ready, and it is known where: a pod that was adopted is ready before its address is looked up again."""
    return is_ready(status) and status.pod_ip != ""
