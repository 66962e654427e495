"""Asks running containers how they are, and tells when it matters (prober/prober.go, prober/worker.go).

One task per probe. What it asks goes through the runtime (exec) or the network (everything else); when it asks, and
what counts, is in ``thresholds``.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from nsrun.errors import NetworkError, NsrunError
from nsrun.model.container import Container
from nsrun.model.pod import Pod
from nsrun.model.probe import Exec, Grpc, HttpGet, NetworkCheck, Probe, ProbeKind, TcpSocket
from nsrun.model.running import CheckResult, Command, ContainerId
from nsrun.supervisor.backoff import go_duration
from nsrun.supervisor.events import Notice
from nsrun.supervisor.ports import Probes, Runtime
from nsrun.supervisor.probecounts import Outcome, ProbeCounts
from nsrun.supervisor.status import full_name
from nsrun.supervisor.thresholds import DECIDING, EAGER, Streak, counted, eager_waits, first_wait, next_due
from nsrun.support.clock import Clock

__all__ = ["Probing", "Verdict", "resolved_port"]

logger = logging.getLogger(__name__)

ATTEMPTS = 3
"""How often in a row a probe is tried that cannot be tried (prober.go, maxProbeRetries)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A probe reached a threshold: another result than before, or a liveness or startup probe that failed, each time.
    ``message``: the last answer, in the kubelet's words."""

    id: ContainerId
    kind: ProbeKind
    success: bool
    message: str


@dataclass(slots=True, kw_only=True, eq=False)
class _Watch:
    """One run of a container that is asked."""

    id: ContainerId
    label: str
    container: Container
    address: str
    started_at: float
    started: bool
    tell: Callable[[Verdict], None]
    say: Callable[[Notice], None]
    deciding: bool = True
    tasks: dict[ProbeKind, asyncio.Task[None]] = field(default_factory=dict)

    def probe(self, kind: ProbeKind) -> Probe | None:
        match kind:
            case ProbeKind.STARTUP:
                return self.container.startup_probe
            case ProbeKind.LIVENESS:
                return self.container.liveness_probe
            case ProbeKind.READINESS:
                return self.container.readiness_probe

    def wanted(self) -> Mapping[ProbeKind, Probe]:
        """The probes that are to be asked now."""
        kinds = (ProbeKind.LIVENESS, ProbeKind.READINESS) if self.started else (ProbeKind.STARTUP,)
        found = {kind: self.probe(kind) for kind in kinds if self.deciding or kind not in DECIDING}
        return {kind: probe for kind, probe in found.items() if probe is not None}


class Probing:
    """Every probe of every pod. Belongs to one event loop; nothing is asked but while ``run`` runs."""

    def __init__(
        self, *, runtime: Runtime, probes: Probes, clock: Clock, chance: Callable[[], float] = random.random
    ) -> None:
        """``chance``: a number from 0 up to but not 1, another one each time."""
        self._runtime = runtime
        self._probes = probes
        self._clock = clock
        self._chance = chance
        self._began, self._began_at = clock.monotonic(), clock.now()
        self._watches: dict[ContainerId, _Watch] = {}
        self._counts: dict[tuple[str, str, ProbeKind], ProbeCounts] = {}  # by the pod's UID and the container
        self._group: asyncio.TaskGroup | None = None

    def begin(
        self,
        container: Container,
        id: ContainerId,
        *,
        pod: Pod,
        address: str,
        started_at: float,
        started: bool,
        tell: Callable[[Verdict], None],
        say: Callable[[Notice], None],
    ) -> None:
        """From now on this run is asked. ``container`` is resolved. ``address``: the pod's. ``started_at``: of the run,
        seconds since the epoch. ``started``: its startup probe has succeeded before; without one it has anyway.

        ``tell`` and ``say`` are called from the loop; both may call ``end``. A second call for one run is ignored."""
        if id in self._watches:
            return
        watch = _Watch(
            id=id,
            label=f"container {id.name} of pod {full_name(pod)}",
            container=container,
            address=address,
            started_at=started_at,
            started=started or container.startup_probe is None,
            tell=tell,
            say=say,
        )
        self._watches[id] = watch
        self._ask_on(watch)

    def end(self, id: ContainerId) -> None:
        """Nothing more is asked of this run, or told about it. Ending what never began is no error."""
        watch = self._watches.pop(id, None)
        if watch is not None:
            for task in watch.tasks.values():
                task.cancel()

    def end_deciding(self, id: ContainerId) -> None:
        """The pod stops: no probe has the container killed any more; whether it is ready is asked on."""
        watch = self._watches.get(id)
        if watch is not None:
            watch.deciding = False
            for kind in DECIDING & watch.tasks.keys():
                watch.tasks.pop(kind).cancel()

    def forget(self, uid: str) -> None:
        """The pod is gone, and with it what was counted."""
        self._counts = {key: counts for key, counts in self._counts.items() if key[0] != uid}

    def counts(self) -> Mapping[tuple[str, str, ProbeKind], ProbeCounts]:
        """By the pod's UID, the container's name and the kind of probe: all runs of a container together."""
        return dict(self._counts)

    async def run(self) -> None:
        """Asks, until it is cancelled. Called again after that, it goes on with what was not ended."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                for watch in self._watches.values():
                    self._ask_on(watch)
                await asyncio.get_running_loop().create_future()
            finally:
                self._group = None
                for watch in self._watches.values():
                    for task in watch.tasks.values():
                        task.cancel()
                    watch.tasks.clear()

    # --- one probe

    def _ask_on(self, watch: _Watch) -> None:
        for kind, probe in watch.wanted().items():
            if self._group is not None and kind not in watch.tasks:
                chore = self._ask_again(watch, kind, probe)
                watch.tasks[kind] = self._group.create_task(chore, name=f"{kind} probe of {watch.label}")

    async def _ask_again(self, watch: _Watch, kind: ProbeKind, probe: Probe) -> None:
        """Every period, until the probe is held or the task is cancelled."""
        clock, streak = self._clock, Streak()
        share = self._share(watch, probe)
        due = clock.monotonic() + first_wait(probe, kind, age=clock.now() - watch.started_at, share=share)
        if kind in EAGER and share is None:
            streak = await self._ask_eagerly(watch, kind, probe, due)
            due += probe.period_seconds
        while not streak.held:
            await self._until(due)
            try:
                streak = await self._turn(watch, kind, probe, streak, due)
            except Exception:
                logger.exception("Internal error in the %s probe of %s", kind, watch.label)
            due = next_due(due, probe.period_seconds, clock.monotonic())

    async def _ask_eagerly(self, watch: _Watch, kind: ProbeKind, probe: Probe, due: float) -> Streak:
        """In the first period after ``due``, until there is a success. Nothing else is said or counted."""
        clock, end, waits = self._clock, due + probe.period_seconds, eager_waits(probe)
        while due < end:
            await self._until(due)
            began = clock.monotonic()
            try:
                answer = await self._question(watch, probe)
                if answer.success:
                    return self._heard(watch, kind, probe, Streak(), answer, took=clock.monotonic() - began)
            except NsrunError:
                pass  # it will be said if it stays so
            except Exception:
                logger.exception("Internal error in the %s probe of %s", kind, watch.label)
            due = clock.monotonic() + next(waits, float(probe.period_seconds))
        return Streak()

    async def _until(self, due: float) -> None:
        wait = due - self._clock.monotonic()
        await (self._clock.sleep(wait) if wait > 0.0 else asyncio.sleep(0))

    def _share(self, watch: _Watch, probe: Probe) -> float | None:
        """Runs that were found when nsrun began would all be asked at once, and ever after: they are spread. Those that
        begin later are spread already."""
        if watch.started_at >= self._began_at:
            return None
        lately = self._clock.monotonic() - self._began < probe.period_seconds
        return self._chance() if lately else 0.0

    async def _turn(self, watch: _Watch, kind: ProbeKind, probe: Probe, streak: Streak, due: float) -> Streak:
        began = self._clock.monotonic()
        answer = await self._answer(watch, probe)
        took = self._clock.monotonic() - began
        return self._heard(watch, kind, probe, streak, answer, took=took, late=began - due)

    def _heard(
        self,
        watch: _Watch,
        kind: ProbeKind,
        probe: Probe,
        streak: Streak,
        answer: CheckResult | NsrunError,
        *,
        took: float,
        late: float = 0.0,
    ) -> Streak:
        outcome = Outcome.UNKNOWN
        if isinstance(answer, CheckResult):
            outcome = Outcome.SUCCESSFUL if answer.success else Outcome.FAILED
        self._count(watch, kind, outcome, took=took, late=late)
        self._say(watch, kind, answer)
        if not isinstance(answer, CheckResult):
            return streak
        streak, tell = counted(streak, probe, kind, answer.success)
        if tell:
            self._tell(watch, kind, answer)
        return streak

    def _count(self, watch: _Watch, kind: ProbeKind, outcome: Outcome, *, took: float, late: float) -> None:
        key = (watch.id.uid, watch.id.name, kind)
        self._counts[key] = self._counts.get(key, ProbeCounts()).observed(outcome, took=took, late=max(late, 0.0))

    def _tell(self, watch: _Watch, kind: ProbeKind, answer: CheckResult) -> None:
        if kind is ProbeKind.STARTUP and answer.success:
            watch.started = True
        watch.tell(Verdict(id=watch.id, kind=kind, success=answer.success, message=answer.message))
        if watch.id in self._watches:
            self._ask_on(watch)

    def _say(self, watch: _Watch, kind: ProbeKind, answer: CheckResult | NsrunError) -> None:
        if isinstance(answer, NsrunError):
            message = f"{kind} probe errored and resulted in unknown state: {answer}"
            watch.say(Notice(reason="Unhealthy", message=message, warning=True, container=watch.id.name))
        elif not answer.success:
            message = f"{kind} probe failed: {answer.message}"
            watch.say(Notice(reason="Unhealthy", message=message, warning=True, container=watch.id.name))
        elif answer.warning:
            message = f"{kind} probe warning: {answer.message}"
            watch.say(Notice(reason="ProbeWarning", message=message, warning=True, container=watch.id.name))

    # --- one question

    async def _answer(self, watch: _Watch, probe: Probe) -> CheckResult | NsrunError:
        """What came of it, or why it cannot be tried."""
        attempts = ATTEMPTS
        while True:
            try:
                return await self._question(watch, probe)
            except NsrunError as error:
                attempts -= 1
                if not attempts:
                    return error

    async def _question(self, watch: _Watch, probe: Probe) -> CheckResult:
        action, timeout = probe.action, float(probe.timeout_seconds)
        if isinstance(action, Exec):
            return await self._run(watch.id, action, timeout)
        return await self._probes.check(_numbered(action, watch.container), watch.address, timeout)

    async def _run(self, id: ContainerId, action: Exec, timeout: float) -> CheckResult:
        result = await self._runtime.run(id, Command(arguments=action.command, timeout=timeout))
        if result.timed_out:
            words = " ".join(action.command)
            message = f'command timed out: "{words}" timed out after {go_duration(timeout)}'
            return CheckResult(success=False, message=message)
        return CheckResult(success=result.code == 0, message=result.output.decode(errors="replace"))


def resolved_port(port: int | str, container: Container) -> int:
    """The number of a port that is given by number or by name. Raises NetworkError when no port has the name."""
    if isinstance(port, int):
        return port
    for known in container.ports:
        if known.name == port:
            return known.container_port
    if port.isascii() and port.isdigit() and 0 < int(port) < 65536:
        return int(port)
    raise NetworkError(f'cannot find port "{port}": container "{container.name}" has no port of that name')


def _numbered(action: NetworkCheck, container: Container) -> NetworkCheck:
    match action:
        case Grpc():
            return action
        case HttpGet() | TcpSocket():
            if isinstance(action.port, int):
                return action
            return replace(action, port=resolved_port(action.port, container))
