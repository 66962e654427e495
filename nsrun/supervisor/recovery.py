"""From what is found on the machine to what is known: the facts of a pod that an earlier supervisor left. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from nsrun.model.pod import Pod
from nsrun.model.running import AdoptedContainer, AdoptedPod, Exit, ExitReason
from nsrun.supervisor.backoff import BackoffSettings, Crashes
from nsrun.supervisor.facts import ContainerFacts, PodFacts, Run
from nsrun.supervisor.lifecycle import ContainerState, PodState
from nsrun.supervisor.podjson import ended_before
from nsrun.supervisor.restart import runs_again
from nsrun.support.layout import PodName

__all__ = ["adopted_facts", "orphaned_facts"]

LOST = "the pod's sandbox died while nsrun was not running"


def adopted_facts(found: AdoptedPod, pod: Pod, *, now: float, settings: BackoffSettings) -> PodFacts:
    """A pod that goes on: its runs as they are, those that ended meanwhile with their exits.

    The address and the volumes are asked for again; both are found where they are.
    """
    remembered = ended_before(found.document, pod.uid)
    containers = tuple(
        _container(container.name, pod, _runs(found, container.name, now), remembered.get(container.name), settings)
        for container in pod.spec.containers
    )
    return PodFacts(
        uid=pod.uid,
        name=pod.name,
        pod=pod,
        accepted_at=found.sandbox.started_at if found.sandbox is not None else now,
        state=_state(found, containers),
        containers=containers,
        sandbox=found.sandbox,
    )


def orphaned_facts(found: AdoptedPod, name: PodName | None, *, now: float) -> PodFacts:
    """A pod that nobody can say anything about but that it is there: it is stopped and removed."""
    names = sorted({adopted.running.id.name for adopted in found.containers})
    containers = [(container, _runs(found, container, now)[-1]) for container in names]
    return PodFacts(
        uid=found.uid,
        name=name,
        pod=None,
        accepted_at=now,
        state=PodState.STOPPING,
        stopping_since=now,
        sandbox=found.sandbox,
        containers=tuple(
            ContainerFacts(
                name=container,
                state=ContainerState.RUNNING if run.exit is None else ContainerState.FINISHED,
                run=run,
                attempt=run.id.attempt,
            )
            for container, run in containers
        ),
    )


def _state(found: AdoptedPod, containers: Sequence[ContainerFacts]) -> PodState:
    if found.sandbox is not None:
        return PodState.RUNNING
    finished = all(container.state is ContainerState.FINISHED for container in containers)
    return PodState.FINISHED if finished else PodState.RESETTING


def _runs(found: AdoptedPod, name: str, now: float) -> list[Run]:
    """The container's runs, oldest first. Nothing runs in a sandbox that is dead."""
    adopted = sorted((c for c in found.containers if c.running.id.name == name), key=lambda c: c.running.id.attempt)
    return [_run(container, found, now) for container in adopted]


def _run(adopted: AdoptedContainer, found: AdoptedPod, now: float) -> Run:
    exit = adopted.exit
    if exit is None and found.sandbox is None:
        started_at = adopted.running.started_at
        exit = Exit(code=137, reason=ExitReason.UNKNOWN, started_at=started_at, finished_at=now, message=LOST)
    return Run(
        id=adopted.running.id,
        hash=adopted.running.hash,
        image_reference=adopted.image_ref,
        image_digest=adopted.image_digest,
        started_at=adopted.running.started_at,
        exit=exit,
    )


def _container(
    name: str, pod: Pod, runs: Sequence[Run], remembered: Run | None, settings: BackoffSettings
) -> ContainerFacts:
    if not runs:
        if remembered is None or remembered.exit is None or runs_again(pod.spec.restart_policy, remembered.exit):
            return ContainerFacts(name=name)
        runs = [remembered]
    *older, run = runs
    crashes = Crashes.rebuilt(restarts=run.id.attempt, started_at=run.started_at)
    state, until, kept = ContainerState.RUNNING, 0.0, 1
    if run.exit is not None:
        again = runs_again(pod.spec.restart_policy, run.exit)
        state = ContainerState.CRASH_BACKOFF if again else ContainerState.FINISHED
        until, kept = crashes.restart_at(run.exit.finished_at, settings), 0
    return ContainerFacts(
        name=name,
        state=state,
        run=run,
        previous=older[-1] if older else None,
        attempt=run.id.attempt,
        until=until,
        crashes=crashes,
        expired=tuple(old.id for old in (older[:-1] if kept else older)),
    )
