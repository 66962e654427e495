"""Does a pod's steps: each is one call of a mechanism, and one fold of what came of it.

A step may fail, be tried again, or be cut off at any point by the end of this process without anything being lost: the
next supervisor finds the rest on the machine.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from nsrun.errors import ImageError, InternalError, LaunchError, NsrunError, RuntimeFailure
from nsrun.model.container import Container, PullPolicy
from nsrun.model.image import Image
from nsrun.model.node import Node
from nsrun.model.objects import Objects
from nsrun.model.pod import Pod
from nsrun.model.running import ContainerId, ContainerRequest
from nsrun.model.status import Waiting
from nsrun.model.volume import ImageVolume
from nsrun.supervisor import events, fold, hooks, runs, steps, stopping
from nsrun.supervisor.backoff import BackoffSettings
from nsrun.supervisor.board import StatusBoard
from nsrun.supervisor.counts import Counts
from nsrun.supervisor.environment import resolved
from nsrun.supervisor.events import Notice
from nsrun.supervisor.facts import PodFacts
from nsrun.supervisor.lifecycle import ContainerState, PodState
from nsrun.supervisor.podjson import pod_document
from nsrun.supervisor.ports import Images, Network, Probes, Runtime, Volumes
from nsrun.supervisor.probing import Probing
from nsrun.supervisor.pull_secrets import pull_secrets
from nsrun.supervisor.status import pod_status
from nsrun.supervisor.stepcounts import count_step
from nsrun.supervisor.steps import Step
from nsrun.support.clock import Clock

__all__ = ["Mechanisms", "Performer"]

logger = logging.getLogger(__name__)


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
    counts: Counts = field(default_factory=Counts)


class Performer:
    """Does the steps of one pod. ``read`` and ``know`` give and take what is known of it; ``say`` records an event;
    ``lose_sandbox`` is told why it died."""

    def __init__(
        self,
        mechanisms: Mechanisms,
        *,
        read: Callable[[], PodFacts],
        know: Callable[[PodFacts], None],
        say: Callable[[Notice], None],
        lose_sandbox: Callable[[str], None],
    ) -> None:
        self._with = mechanisms
        self._read = read
        self._know = know
        self._say = say
        self._lose_sandbox = lose_sandbox
        self._withheld: set[str] = set()  # what the host withholds, as far as it was said

    async def perform(self, step: Step) -> None:
        """Never raises but for a cancellation: what goes wrong becomes events, and another try."""
        facts, began, failure = self._facts, self._with.clock.monotonic(), None
        try:
            await self._do(step)
        except NsrunError as error:
            failure = error
        except Exception as error:
            logger.exception("Internal error in step %r of pod %s", step.key, self._facts.label)
            failure = InternalError(str(error))
        count_step(self._with.counts, step, facts, self._with.clock.monotonic() - began, failure)
        if failure is not None:
            self._failed(step, failure)
        else:
            self._know(fold.step_done(self._facts, step.key))

    async def _do(self, step: Step) -> None:
        match step:
            case steps.AttachNetwork():
                attachment = await self._with.network.attach(self._pod)
                self._say_withheld(attachment.warnings, notice=events.dns_cut)
                self._know(fold.attached(self._facts, attachment))
            case steps.EnsureVolumeImage():
                await self._ensure_volume_image(step.volume)
            case steps.PrepareVolumes():
                await self._prepare_volumes()
            case steps.RefreshVolumes():
                await self._refresh_volumes()
            case steps.Record():
                await self._record()
            case steps.StartSandbox():
                await self._start_sandbox()
            case steps.EnsureImage():
                await self._ensure_image(step.container)
            case steps.StartContainer():
                await self._start_container(step.container)
            case _:
                await self._end(step)

    async def _end(self, step: Step) -> None:
        runtime = self._with.runtime
        match step:
            case steps.PostStart():
                await self._post_start(step.id)
            case steps.PreStop():
                await self._pre_stop(step.id)
            case steps.Ask():
                await runtime.signal(step.id, runtime.stop_signal(step.id))
                self._know(runs.asked(self._facts, step.id.name, self._now()))
            case steps.Kill():
                await runtime.kill(step.id)
                self._know(runs.killed(self._facts, step.id.name, self._with.backoffs, self._now()))
            case steps.RemoveContainer():
                await runtime.remove_container(step.id)
                self._know(runs.run_removed(self._facts, step.id))
            case steps.RemoveSandbox() | steps.DetachNetwork() | steps.ClearVolumes() | steps.RemoveVolumes():
                await self._unmake(step)
            case _:
                raise InternalError(f"nobody knows how to do step {step.key!r}")

    # --- volumes, sandbox, document

    async def _prepare_volumes(self) -> None:
        facts, objects = self._facts, self._facts.objects
        stale = facts.stale
        volumes = await self._with.volumes.prepare(self._pod, objects or Objects(), facts.images, facts.attachment)
        self._say_withheld([text for volume in volumes.values() for text in volume.warnings])
        self._know(fold.volumes_refreshed(fold.prepared(self._facts, volumes), stale))

    async def _refresh_volumes(self) -> None:
        facts = self._facts
        await self._with.volumes.refresh(self._pod, facts.objects or Objects(), facts.attachment)
        self._know(fold.volumes_refreshed(self._facts, facts.stale))

    async def _start_sandbox(self) -> None:
        pod, attachment = self._pod, self._facts.attachment
        assert attachment is not None
        try:
            sandbox = await self._with.runtime.start_sandbox(pod, attachment, self._document())
            self._say_withheld(sandbox.warnings)
            self._know(fold.withheld(fold.sandbox_started(self._facts, sandbox), sandbox.warnings))
            if self._facts.sandbox_died:
                self._lose_sandbox("it died while it was being started")
        finally:
            self._know(fold.sandbox_told(self._facts))

    async def _record(self) -> None:
        written = fold.marks(self._facts)
        await self._with.runtime.record(self._facts.uid, self._document())
        self._know(fold.recorded(self._facts, written))

    def _document(self) -> Mapping[str, object]:
        before = self._with.board.status(self._facts.uid)
        status = pod_status(self._facts, before=before, now=self._now(), settings=self._with.backoffs)
        return pod_document(self._pod, status, held=fold.marks(self._facts).held, withheld=self._facts.withheld)

    # --- images

    async def _ensure_image(self, name: str) -> None:
        container = self._pod.container(name)
        image = await self._ensure(container.image, container.image_pull_policy, name)
        self._know(runs.pulled(self._facts, name, image))

    async def _ensure_volume_image(self, volume: str) -> None:
        source = self._image_volume(volume)
        image = await self._ensure(source.reference, PullPolicy(source.pull_policy))
        self._know(fold.image_there(self._facts, volume, image))

    async def _ensure(self, reference: str, policy: PullPolicy, container: str = "") -> Image:
        clock = self._with.clock
        began, asked = clock.monotonic(), False

        def pulling() -> None:
            nonlocal asked
            asked = True
            self._say(events.image_pulling(reference, container))

        secrets = pull_secrets(self._pod, self._facts.objects or Objects())
        if secrets.unusable:
            self._say(events.pull_secrets_unusable(secrets.unusable))
        image = await self._with.images.ensure(reference, policy, pulling=pulling, credentials=secrets.credentials)
        took = clock.monotonic() - began
        if asked:
            self._with.counts.pulled(image.size, took)
        pulled = events.image_pulled(reference, image, took, container)
        self._say(pulled if asked else events.image_present(reference, container))
        return image

    def _image_volume(self, name: str) -> ImageVolume:
        for volume in self._pod.spec.volumes:
            if volume.name == name and isinstance(volume.source, ImageVolume):
                return volume.source
        raise InternalError(f"the pod has no image volume {name!r}")

    # --- containers

    async def _start_container(self, name: str) -> None:
        pod, runtime = self._pod, self._with.runtime
        container = self._resolved(name)
        known = self._facts.container(name)
        assert known is not None
        if known.state is ContainerState.READY:
            # A number may have been used by a run of which only the log is left.
            attempt = max(await runtime.next_attempt(pod, name), known.attempt + 1)
            self._know(runs.starting(self._facts, name, attempt))
        request = self._request(pod, container)
        running = await runtime.start_container(request)
        self._say(events.container_created(name))
        self._say(events.container_started(name))
        started = runs.started(self._facts, running, request.image, self._now(), self._with.backoffs)
        self._know(fold.withheld(started, running.warnings))
        self._say_withheld(running.warnings, name)

    def _resolved(self, name: str) -> Container:
        facts = self._facts
        return resolved(
            self._pod,
            self._pod.container(name),
            objects=facts.objects or Objects(),
            node=self._with.node,
            attachment=facts.attachment,
        )

    def _request(self, pod: Pod, container: Container) -> ContainerRequest:
        facts = self._facts
        known = facts.container(container.name)
        assert known is not None
        assert known.image is not None
        assert facts.attachment is not None
        return ContainerRequest(
            id=ContainerId(uid=facts.uid, name=container.name, attempt=known.attempt),
            pod=pod,
            container=container,
            image=known.image,
            attachment=facts.attachment,
            volumes=facts.volumes or {},
        )

    # --- hooks

    async def _post_start(self, id: ContainerId) -> None:
        try:
            await self._hook(id, pre_stop=False, timeout=None)
        except NsrunError as error:
            logger.info("The postStart hook of %r failed: %s", id.name, events.with_hint(error))
            self._say(events.post_start_failed(id.name))
            self._know(runs.hook_failed(self._facts, id, events.with_hint(error), self._now()))
        else:
            self._know(runs.post_started(self._facts, id))

    async def _pre_stop(self, id: ContainerId) -> None:
        known = self._facts.container(id.name)
        assert known is not None
        left = stopping.hook_deadline(self._facts, known) - self._now()
        try:
            await self._hook(id, pre_stop=True, timeout=max(left, 0.0))
        except NsrunError as error:
            logger.info("The preStop hook of %r failed: %s", id.name, events.with_hint(error))
            self._say(events.pre_stop_failed(id.name))
        except asyncio.CancelledError:
            known = self._facts.container(id.name)
            if known is not None and known.live is not None and known.state is not ContainerState.PRE_STOP:
                self._say(events.pre_stop_failed(id.name))  # its time was over
            raise
        self._know(runs.pre_stopped(self._facts, id))

    async def _hook(self, id: ContainerId, *, pre_stop: bool, timeout: float | None) -> None:
        pod, attachment = self._pod, self._facts.attachment
        lifecycle = pod.container(id.name).lifecycle
        hook = lifecycle.pre_stop if pre_stop else lifecycle.post_start
        if hook is None:
            return
        if self._with.probes is None:
            raise InternalError("there is nothing to run hooks with")
        await hooks.run(
            hook,
            id,
            pod=pod,
            address=attachment.address if attachment is not None else "",
            runtime=self._with.runtime,
            probes=self._with.probes,
            clock=self._with.clock,
            timeout=timeout,
            say=self._say,
        )

    # --- unmaking

    async def _unmake(
        self, step: steps.RemoveSandbox | steps.DetachNetwork | steps.ClearVolumes | steps.RemoveVolumes
    ) -> None:
        facts = self._facts
        match step:
            case steps.RemoveSandbox():
                # Without a name the logs stay, and with them the number of the last attempt.
                name = facts.name if facts.state is PodState.REMOVING else None
                await self._with.runtime.remove_sandbox(name, facts.uid)
            case steps.DetachNetwork():
                assert facts.name is not None
                await self._with.network.detach(facts.name, facts.uid)
            case steps.ClearVolumes():
                await self._with.volumes.clear(facts.uid)
            case steps.RemoveVolumes():
                await self._with.volumes.remove(facts.uid)
        if self._facts.state is PodState.RESETTING:
            self._know(fold.sandbox_removed(self._facts))
        elif self._facts.state in (PodState.FINISHED, PodState.REMOVING):
            self._know(fold.unmade(self._facts, step.key))

    # --- what goes wrong

    def _failed(self, step: Step, error: NsrunError) -> None:
        # Once more, and only for whoever asked for every step: the events below tell it.
        logger.info("Cannot complete step %r of pod %s: %s", step.key, self._facts.label, events.with_hint(error))
        match step:
            case steps.EnsureImage():
                self._pull_failed(step.container, error)
            case steps.EnsureVolumeImage():
                self._volume_pull_failed(step, error)
            case steps.StartContainer():
                self._start_failed(step, error)
            case steps.RemoveContainer():
                self._removal_failed(step, error)
            case steps.AttachNetwork() | steps.StartSandbox():
                self._try_again(step, events.sandbox_failed(error))
            case steps.PrepareVolumes() | steps.RefreshVolumes():
                self._try_again(step, events.volumes_failed(error))
            case steps.Record():
                self._try_again(step, events.record_failed(error))
            case _:
                self._try_again(step, events.unmaking_failed(error))

    def _try_again(self, step: Step, notice: Notice) -> None:
        self._say(notice)
        self._know(fold.step_failed(self._facts, step.key, self._now(), self._with.backoffs.step, notice.message))

    def _pull_failed(self, name: str, error: NsrunError) -> None:
        container = self._pod.container(name)
        failure = _image_error(error)
        problem, notices = events.image_failed(container.image, container.image_pull_policy, failure, name)
        for notice in notices:
            self._say(notice)
        self._know(runs.pull_failed(self._facts, name, problem, self._now(), self._with.backoffs.image))

    def _volume_pull_failed(self, step: steps.EnsureVolumeImage, error: NsrunError) -> None:
        source = self._image_volume(step.volume)
        policy = PullPolicy(source.pull_policy)
        problem, notices = events.image_failed(source.reference, policy, _image_error(error))
        for notice in notices:
            self._say(notice)
        schedule = self._with.backoffs.image
        self._know(
            fold.step_failed(self._facts, step.key, self._now(), schedule, problem.message, reason=problem.reason)
        )

    def _start_failed(self, step: steps.StartContainer, error: NsrunError) -> None:
        name, message = step.container, events.with_hint(error)
        notice = events.start_failed(name, error)
        known = self._facts.container(name)
        assert known is not None
        known_to_fail = isinstance(error, RuntimeFailure)
        if known.state not in (ContainerState.READY, ContainerState.STARTING) or not known_to_fail:
            # Nobody knows how far it came: the same run is asked for again.
            self._try_again(step, notice)
            return
        assert isinstance(error, RuntimeFailure)
        self._say(notice)
        if isinstance(error, LaunchError):
            self._know(runs.never_ran(self._facts, name, message, self._now(), self._with.backoffs))
        else:
            problem = Waiting(reason=error.reason, message=message)
            self._know(runs.refused(self._facts, name, problem, self._now(), self._with.backoffs))

    def _removal_failed(self, step: steps.RemoveContainer, error: NsrunError) -> None:
        known = self._facts.container(step.id.name)
        trace = known is not None and known.refused == step.id
        if trace or self._facts.state is PodState.REMOVING:
            # A trace only costs a number. Taking down the sandbox and the volumes takes all of it along, or says why
            # it cannot.
            self._know(runs.run_removed(self._facts, step.id))
        else:
            self._try_again(step, events.cleaning_failed(step.id.name, error))

    # --- small change

    @property
    def _facts(self) -> PodFacts:
        return self._read()

    @property
    def _pod(self) -> Pod:
        facts = self._facts
        if facts.pod is None:
            raise InternalError(f"a pod {facts.label} without a manifest cannot be started")
        return facts.pod

    def _now(self) -> float:
        return self._with.clock.now()

    def _say_withheld(
        self,
        texts: Iterable[str],
        container: str = "",
        *,
        notice: Callable[[str, str], Notice] = events.host_withholds,
    ) -> None:
        """Each thing once for a pod: it will not have changed at the next restart."""
        for text in texts:
            if text not in self._withheld:
                self._withheld.add(text)
                self._say(notice(container, text))


def _image_error(error: NsrunError) -> ImageError:
    return error if isinstance(error, ImageError) else ImageError(error.message, hint=error.hint)
