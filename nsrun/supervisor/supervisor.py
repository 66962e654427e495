"""Keeps the machine as the manifests say: finds what is there, hears what is wanted, and employs one worker per pod.

In this order: the runtime tells what an earlier supervisor left (``recovery``), and those pods are looked after at
once; the manifests' source tells what is wanted; only then is anything ended, or removed that belongs to no pod
(``collect``); from then on every change on either side is a new comparison of all that is wanted with all that is there
(``reconciler``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from nsrun.errors import NotFoundError, NsrunError
from nsrun.model.node import Node
from nsrun.model.objects import Objects
from nsrun.model.pod import Pod
from nsrun.model.probe import ProbeKind
from nsrun.model.running import AdoptedPod, ContainerExit, SandboxExit
from nsrun.model.status import Event, EventType
from nsrun.model.update import SourceUpdate
from nsrun.supervisor import events, fold
from nsrun.supervisor.admission import Admission
from nsrun.supervisor.backoff import BackoffSettings
from nsrun.supervisor.board import StatusBoard
from nsrun.supervisor.claims import ClaimKeeper
from nsrun.supervisor.collect import leftovers, owners
from nsrun.supervisor.commanding import Command, commanded
from nsrun.supervisor.control import Verb
from nsrun.supervisor.counts import Counts
from nsrun.supervisor.eviction import Evictions
from nsrun.supervisor.facts import PodFacts
from nsrun.supervisor.housekeeping import Housekeeping, HousekeepingSettings
from nsrun.supervisor.lifecycle import PodState
from nsrun.supervisor.outside import Outside
from nsrun.supervisor.podjson import read_pod
from nsrun.supervisor.ports import Images, Manifests, Network, Probes, Runtime, Volumes
from nsrun.supervisor.probecounts import ProbeCounts
from nsrun.supervisor.probing import Probing
from nsrun.supervisor.reconciler import Decision, Incumbent, reconcile
from nsrun.supervisor.recovery import adopted_facts, orphaned_facts
from nsrun.supervisor.steps import DetachNetwork
from nsrun.supervisor.worker import Mechanisms, Worker
from nsrun.support.clock import Clock
from nsrun.support.layout import PodName

__all__ = ["Supervisor", "SupervisorSettings"]

logger = logging.getLogger(__name__)

AGAIN = 10.0
"""Seconds until something of the supervisor's own that did not work is tried again."""

BEAT = 60.0
"""Seconds until it compares again what is wanted with what is there, though nobody told it of a change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorSettings:
    """``admission``: which pods are taken. ``housekeeping``: when images go that nothing runs from."""

    admission: Admission = field(default_factory=Admission)
    backoffs: BackoffSettings = field(default_factory=BackoffSettings)
    housekeeping: HousekeepingSettings = field(default_factory=HousekeepingSettings)


class Supervisor:
    """Belongs to one event loop. ``run`` once; ``stop`` and ``down`` end it."""

    def __init__(
        self,
        *,
        manifests: Manifests,
        images: Images,
        volumes: Volumes,
        network: Network,
        runtime: Runtime,
        probes: Probes,
        board: StatusBoard,
        clock: Clock,
        node: Node | None = None,
        settings: SupervisorSettings | None = None,
        counts: Counts | None = None,
    ) -> None:
        """``node``: this machine, as fields that speak of it say it. ``counts``: where what happens is counted."""
        self._settings = settings if settings is not None else SupervisorSettings()
        self._manifests = manifests
        self._probing = Probing(runtime=runtime, probes=probes, clock=clock)
        self._with = Mechanisms(
            images=images,
            volumes=volumes,
            network=network,
            runtime=runtime,
            board=board,
            clock=clock,
            backoffs=self._settings.backoffs,
            node=node if node is not None else Node(name="localhost"),
            probes=probes,
            probing=self._probing,
            counts=counts if counts is not None else Counts(),
        )
        self._evictions = Evictions(
            volumes=volumes, runtime=runtime, clock=clock, pods=self._running_pods, evict=self._evict
        )
        self._housekeeping = Housekeeping(
            images=images,
            clock=clock,
            used=self._chosen_images,
            say=lambda notice: self._say(notice.reason, notice.message),
            settings=self._settings.housekeeping,
        )
        self._workers: dict[str, Worker] = {}  # by UID; each has a task in the group of ``run``
        self._unread: dict[str, AdoptedPod] = {}  # found, but nothing says what they are, until the manifests do
        self._unrouted: list[ContainerExit | SandboxExit] = []  # what was told of those
        self._update: SourceUpdate | None = None  # what is wanted; None: nobody said yet
        self._outside = Outside(board, clock, self._say)
        self._claims = ClaimKeeper()
        self._claims_due = asyncio.Event()
        self._retained: frozenset[PodName] = frozenset()  # whose broken manifest was talked of
        self._names: dict[str, PodName | None] = {}  # of what was found lying about
        self._remains: dict[str, PodName | None] = {}  # the same, of pods that were not here
        self._collected = False
        self._loop_entered_at: float | None = None
        self._known = asyncio.Event()
        self._going_down = self._is_down = False
        self._grace: float | None = None  # seconds for every pod, while going down
        self._chores: set[asyncio.Task[None]] = set()  # all that ``stop`` has to cut off
        self._asking: asyncio.Task[None] | None = None  # asks the probes' questions
        self._again: asyncio.Task[None] | None = None  # waits until remains are looked for again
        self._look = asyncio.Event()
        self._empty = asyncio.Event()
        self._stopped = asyncio.Event()

    # --- from outside

    async def run(self) -> None:
        """Runs until ``stop``, or until ``down`` is done. Cancelling it is a ``stop``: the pods run on.

        Raises NsrunError when the machine cannot even be looked at.
        """
        found = await self._with.runtime.adopt()
        async with asyncio.TaskGroup() as group:
            self._recover(group, found)
            if not self._going_down:
                self._asking = group.create_task(self._forever(self._probing.run))
                self._keep(self._asking)
            for chore in (
                self._evictions.run,
                self._housekeeping.run,
                self._hear_exits,
                self._hear_updates,
                self._tidy_claims,
                lambda: self._compare(group),
            ):
                self._keep(group.create_task(self._forever(chore)))
            await self._stopped.wait()
            for task in self._chores:
                task.cancel()
        logger.info("Stopped; %d pods run on", len(self._workers))

    def stop(self) -> None:
        """Ends ``run``; every pod runs on."""
        self._stopped.set()

    async def down(self, *, grace: float | None = None) -> None:
        """Terminates every pod, removes what belongs to one and what belongs to none, and ends ``run``, which must be
        running. ``grace``: seconds for every pod, instead of its own; asked for again, it takes the place of the first.

        Raises NetworkError when the bridge or the tables cannot be removed.
        """
        again, self._going_down = self._going_down, True
        self._grace = grace if grace is not None else self._grace
        self._look.set()
        if again:
            await self._stopped.wait()
            return
        if self._asking is not None:
            self._asking.cancel()  # that pods on their way out do not answer is no news
        await self._empty.wait()
        await self._with.network.tear_down()
        self._is_down = True
        self.stop()

    @property
    def is_down(self) -> bool:
        """Whether ``down`` came to its end: nothing runs, and nothing is left."""
        return self._is_down

    @property
    def loop_entered_at(self) -> float | None:
        """When it last came round to compare what is wanted with what is there (the clock's monotonic seconds): at most
        a minute ago unless something is wrong. None before the first time."""
        return self._loop_entered_at

    async def until_known(self) -> None:
        """Returns when what was found here and what is wanted were compared for the first time: from then on the board
        shows all of it."""
        await self._known.wait()

    def command(self, pod: PodName, verb: Verb, containers: Sequence[str], *, grace: float | None = None) -> Command:
        """Has containers of a pod stopped, started or restarted; none named: all. ``grace``: seconds that a stop may
        take, None for what the manifest says. Raises NotFoundError and ConflictError."""
        worker = next((worker for worker in self._workers.values() if worker.facts.name == pod), None)
        if worker is None:
            raise NotFoundError(f'cannot {verb} pod "{pod}": nothing of it runs here', hint="nsrun pods shows why")
        return commanded(worker, verb, containers, grace)

    def probe_counts(self) -> Mapping[tuple[str, str, ProbeKind], ProbeCounts]:
        """What probes have answered so far, by the pod's UID, the container and the kind."""
        return self._probing.counts()

    def retry_pulls(self) -> None:
        """Tell it that the image store has something new: whoever waits for an image tries again at once."""
        for worker in self._workers.values():
            worker.retry_pulls()

    # --- hearing

    async def _forever(self, chore: Callable[[], Awaitable[None]]) -> None:
        """A chore never takes the others down: what goes wrong in it is logged, and it begins anew."""
        while True:
            try:
                await chore()
            except NsrunError as error:
                logger.error("Cannot go on: %s; trying again in %g s", events.with_hint(error), AGAIN)
            except Exception:
                logger.exception("Internal error in the supervisor; trying again in %g s", AGAIN)
            await self._with.clock.sleep(AGAIN)

    async def _hear_exits(self) -> None:
        async for told in self._with.runtime.exits():
            self._route(told)

    def _route(self, told: ContainerExit | SandboxExit) -> None:
        uid = told.uid if isinstance(told, SandboxExit) else told.id.uid
        worker = self._workers.get(uid)
        if uid in self._unread:
            self._unrouted.append(told)
        elif worker is None:
            logger.debug("Nobody waits for %r", told)
        elif isinstance(told, SandboxExit):
            worker.sandbox_exited(told)
        else:
            worker.container_exited(told)

    async def _hear_updates(self) -> None:
        async for update in self._manifests.updates():
            before, self._update = self._objects, update
            if update.objects != before:
                for worker in self._workers.values():
                    worker.update_objects(update.objects)
            self._claims.heard(update, self._with.clock.monotonic())
            self._claims_due.set()
            problems, warnings = self._with.board.report(problems=update.problems, warnings=update.warnings)
            for line in problems:
                self._say("FailedValidation", line)
            for line in warnings:
                self._say("ManifestWarning", line)
            self._look.set()

    async def _tidy_claims(self) -> None:
        """Never on the way down: ``down`` removes what runs, not what was stored."""
        clock = self._with.clock
        self._claims_due.set()
        while True:
            await self._claims_due.wait()
            self._claims_due.clear()
            gone = self._claims.gone(clock.monotonic())
            if gone and not self._going_down:
                await self._with.volumes.delete_claims(gone)
            due = self._claims.next_due(clock.monotonic())
            if due is not None:
                await clock.sleep(due - clock.monotonic())
                self._claims_due.set()

    # --- comparing

    async def _compare(self, group: asyncio.TaskGroup) -> None:
        self._look.set()
        while True:
            self._loop_entered_at = self._with.clock.monotonic()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT):
                    await self._look.wait()
            self._look.clear()
            if self._update is None and not self._going_down:
                continue
            if not self._collected:
                await self._collect(group)
            update = SourceUpdate(pods=()) if self._going_down or self._update is None else self._update
            if self._collected:
                self._clear(group, update)
            self._recognise(group, update)
            self._apply(group, update, self._decide(update))
            self._known.set()
            if self._going_down and self._collected and not self._workers:
                self._empty.set()

    def _decide(self, update: SourceUpdate) -> Decision:
        incumbents = [
            Incumbent(
                uid=facts.uid,
                name=facts.name,
                pod=facts.pod,
                leaving=facts.state in (PodState.STOPPING, PodState.REMOVING, PodState.REMOVED),
                finished=facts.state is PodState.FINISHED,
                detached=DetachNetwork().key in facts.unmade,
            )
            for facts in (worker.facts for worker in self._workers.values())
        ]
        return reconcile(update.pods, incumbents, admission=self._settings.admission, keeps=update.keeps)

    def _apply(self, group: asyncio.TaskGroup, update: SourceUpdate, decision: Decision) -> None:
        for uid in self._workers if self._going_down else decision.terminate:
            self._workers[uid].terminate(self._grace)
        for pod in decision.refresh:
            self._workers[pod.uid].refresh(pod)
        self._outside.show(reject=decision.reject, queue=decision.queue, here=self._workers)
        # Until it is known what lies about, a new pod might move into the place of one that is not gone.
        for pod in decision.start if self._collected else ():
            self._employ(group, fold.accepted(pod, self._with.clock.now()))
        kept = {self._workers[uid].facts.name for uid in decision.keep}
        self._say_retained(update.retained | {name for name in kept if name is not None})

    def _say_retained(self, retained: frozenset[PodName]) -> None:
        for worker in self._workers.values():
            name = worker.facts.name
            if name in retained and name not in self._retained:
                worker.say(events.broken_manifest())
        self._retained = retained

    # --- finding

    def _recover(self, group: asyncio.TaskGroup, found: Sequence[AdoptedPod]) -> None:
        """Pods that can be read go on at once."""
        for adopted in found:
            pod = read_pod(adopted.document)
            if pod is not None and pod.uid == adopted.uid:
                self._adopt(group, adopted, pod)
            else:
                logger.warning('Cannot read what pod with UID "%s" is: waiting for its manifest', adopted.uid)
                self._unread[adopted.uid] = adopted

    def _adopt(self, group: asyncio.TaskGroup, adopted: AdoptedPod, pod: Pod) -> None:
        facts = adopted_facts(adopted, pod, now=self._with.clock.now(), settings=self._settings.backoffs)
        logger.info("Pod %s was found: %s, with %d runs", facts.label, facts.state, len(adopted.containers))
        self._employ(group, facts)

    def _recognise(self, group: asyncio.TaskGroup, update: SourceUpdate) -> None:
        """Pods that could not be read are what the manifests say, or nobody's."""
        wanted = {pod.uid: pod for pod in update.pods}
        for uid, adopted in tuple(self._unread.items()):
            if uid in wanted:
                self._adopt(group, adopted, wanted[uid])
            elif self._collected and not update.partial:
                name, now = self._names.get(uid), self._with.clock.now()
                self._employ(group, orphaned_facts(adopted, name, now=now))
            else:
                continue  # a source may know it; nor is its name known, without which it stays in the network
            del self._unread[uid]
        unrouted, self._unrouted = self._unrouted, []
        for told in unrouted:
            self._route(told)

    async def _collect(self, group: asyncio.TaskGroup) -> None:
        """Once: what lies about of pods that are not here."""
        try:
            owned = await owners(self._with.runtime, self._with.network, self._with.volumes)
        except NsrunError as error:
            logger.error("Cannot start new pods: %s; trying again in %g s", events.with_hint(error), AGAIN)
            if self._again is None or self._again.done():
                self._again = self._keep(group.create_task(self._look_again()))
            return
        self._names, self._collected = dict(owned), True
        self._remains = dict(leftovers(owned, known={*self._workers, *self._unread}))

    def _clear(self, group: asyncio.TaskGroup, update: SourceUpdate) -> None:
        """Remains of pods that nobody wants are removed: what is in the way of a wanted one at once, the others when
        every source has said what it wants."""
        wanted = {pod.uid: pod.name for pod in update.pods}
        for uid, name in tuple(self._remains.items()):
            # A UID that is to have another name now is taken apart under the old one first.
            if uid in wanted and name in (None, wanted[uid]):
                del self._remains[uid]
            elif not update.partial or uid in wanted or name in wanted.values():
                del self._remains[uid]
                logger.info('Remains of pod with UID "%s" are removed', uid)
                self._employ(group, fold.orphan(uid, name, self._with.clock.now()))

    async def _look_again(self) -> None:
        await self._with.clock.sleep(AGAIN)
        self._look.set()

    # --- employing

    def _employ(self, group: asyncio.TaskGroup, facts: PodFacts) -> None:
        worker = Worker(facts, self._with, changed=self._look.set, objects=self._objects)
        self._workers[facts.uid] = worker
        self._keep(group.create_task(self._work(worker), name=f"pod {facts.uid}"))

    def _keep(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)
        return task

    async def _work(self, worker: Worker) -> None:
        await worker.run()
        del self._workers[worker.facts.uid]
        self._probing.forget(worker.facts.uid)
        self._claims_due.set()
        self._look.set()

    @property
    def _objects(self) -> Objects | None:
        """What pods can refer to; None while nobody said."""
        return self._update.objects if self._update is not None else None

    # --- for those who look after the disk

    def _running_pods(self) -> list[Pod]:
        facts = [worker.facts for worker in self._workers.values()]
        return [found.pod for found in facts if found.pod is not None and found.state is PodState.RUNNING]

    def _evict(self, pod: Pod, reason: str, message: str, *, grace: float) -> None:
        worker = self._workers.get(pod.uid)
        if worker is not None:
            self._with.counts.evicted(message)
            worker.fail(reason, message, grace=grace)

    def _chosen_images(self) -> frozenset[str]:
        """Digests of what containers are to be made from, which may be long before they are."""
        facts = [worker.facts for worker in self._workers.values()]
        return frozenset(c.image.digest for found in facts for c in found.containers if c.image is not None)

    def _say(self, reason: str, message: str, pod: Pod | None = None) -> None:
        """An event of the node, or of a pod that has no worker."""
        self._with.board.record(
            Event(
                time=self._with.clock.now(),
                type=EventType.WARNING,
                reason=reason,
                message=message,
                namespace=pod.metadata.namespace if pod is not None else "",
                pod=pod.metadata.name if pod is not None else "",
                uid=pod.uid if pod is not None else "",
            )
        )
