"""From what is found on the machine to what is known: the facts of a pod that an earlier supervisor left. Pure.

Records tell almost everything: they are removed with their sandbox, so each is of a run in this one. An init container
after which another container has a record has done its part, whatever became of its own. The rest is in ``podjson``.

A postStart hook of which nobody wrote down that it was done is run again: hooks are promised to be run at least once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nsrun.model.container import Container
from nsrun.model.pod import Pod, RestartPolicy
from nsrun.model.running import AdoptedContainer, AdoptedPod, Exit, ExitReason
from nsrun.supervisor import restart
from nsrun.supervisor.backoff import BackoffSettings, Crashes
from nsrun.supervisor.facts import ContainerFacts, Failure, Hold, Marks, PodFacts, Role, Run, roles
from nsrun.supervisor.lifecycle import ContainerState, PodState
from nsrun.supervisor.order import is_up
from nsrun.supervisor.podjson import active_since, ended_before, read_marks
from nsrun.supervisor.restart import Outcome
from nsrun.support.layout import PodName

__all__ = ["adopted_facts", "orphaned_facts"]

LOST = "the pod's sandbox died while nsrun was not running"


def adopted_facts(found: AdoptedPod, pod: Pod, *, now: float, settings: BackoffSettings) -> PodFacts:
    """A pod that goes on: its runs as they are, those that ended meanwhile with their exits.

    The address and the volumes are asked for again; both are found where they are.
    """
    marks = read_marks(found.document)
    since = active_since(found.document)
    begun = found.sandbox.started_at if found.sandbox is not None else now
    facts = PodFacts(
        uid=pod.uid,
        name=pod.name,
        pod=pod,
        accepted_at=begun if since is None else since,
        containers=_containers(found, pod, marks, now, settings),
        sandbox=found.sandbox,
        failure=marks.failure,
        withheld=marks.withheld,
        recorded=marks,
    )
    containers = tuple(
        replace(c, initialized=c.initialized or (c.role is Role.SIDECAR and is_up(facts, c))) for c in facts.containers
    )
    return _in_state(replace(facts, containers=containers), now)


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


# --- the pod


def _in_state(facts: PodFacts, now: float) -> PodFacts:
    """Its state, which the machine does not tell either."""
    if facts.failure is not None:
        state = PodState.FINISHING if facts.sandbox is not None else PodState.FINISHED
        return replace(facts, state=state, stopping_since=now)
    if facts.sandbox is None:
        return _without_sandbox(facts)
    source = next((c.name for c in facts.containers if _outcome(facts, c) is Outcome.ALL_AGAIN), "")
    return replace(facts, state=PodState.RESTARTING if source else PodState.RUNNING, restarting=source)


def _without_sandbox(facts: PodFacts) -> PodFacts:
    """As ``fold.sandbox_lost`` has it."""
    if _is_over(facts):
        return replace(facts, state=PodState.FINISHED)
    never = facts.pod is not None and facts.pod.spec.restart_policy is RestartPolicy.NEVER
    if never and any(c.run is not None for c in facts.containers):
        failure = Failure(reason="SandboxChanged", message=f"Pod sandbox died: {LOST}")
        return replace(facts, state=PodState.FINISHED, failure=failure)
    return replace(facts, state=PodState.RESETTING)


def _is_over(facts: PodFacts) -> bool:
    """Whether nothing is to run any more in a pod whose sandbox died."""
    finished = [c for c in facts.containers if c.state is ContainerState.FINISHED]
    failed = any(c.role is Role.INIT and not c.initialized for c in finished)
    return failed or {c.name for c in facts.containers if c.role is Role.APP} <= {c.name for c in finished}


def _outcome(facts: PodFacts, container: ContainerFacts) -> Outcome:
    run, spec = container.run, facts.spec(container)
    if facts.pod is None or spec is None or run is None or run.exit is None or run.removed or container.hold:
        return Outcome.OVER
    return restart.outcome(facts.pod, spec, container.role, run.exit)


# --- containers


def _containers(
    found: AdoptedPod, pod: Pod, marks: Marks, now: float, settings: BackoffSettings
) -> tuple[ContainerFacts, ...]:
    remembered = ended_before(found.document, pod.uid)
    containers: list[ContainerFacts] = []
    passed = False  # whether a later one ran
    for name, role in reversed(list(roles(pod).items())):
        adopted = _runs(found, name, now)
        runs = adopted
        if not adopted and role is Role.APP and name in remembered:
            runs = [remembered[name]]
        container = _container(pod, pod.container(name), role, runs, settings)
        if role is not Role.APP:
            container = _passed(container, passed)
        container = _marked(container, pod.container(name), marks, passed)
        held = name in marks.held and not (passed and role is Role.INIT)
        containers.append(_held(container) if held else container)
        passed = passed or bool(adopted)
    return tuple(reversed(containers))


def _passed(container: ContainerFacts, passed: bool) -> ContainerFacts:
    """An init container after which another one ran is done, though its own record is gone or tells of a failure."""
    if not passed:
        return container
    live = container.live is not None
    finished = container.role is Role.INIT and not live
    state = ContainerState.FINISHED if finished else container.state
    return replace(container, initialized=True, state=state)


def _marked(container: ContainerFacts, spec: Container, marks: Marks, passed: bool) -> ContainerFacts:
    run = container.live
    if run is None:
        return container
    passed = passed and container.role is Role.SIDECAR and run.id.attempt == 0
    waits = spec.lifecycle.post_start is not None and run.hash not in marks.hooked and not passed
    state = ContainerState.POST_START if waits else container.state
    return replace(container, state=state, up=run.hash in marks.up or passed)


def _held(container: ContainerFacts) -> ContainerFacts:
    """A container that is to stay stopped: if it runs it is stopped; what became of its last run is not looked at."""
    if container.live is not None:
        return replace(container, hold=Hold())
    initialized = container.initialized and container.role is not Role.INIT
    return replace(container, state=ContainerState.STOPPED, initialized=initialized, until=0.0, hold=Hold())


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


def _container(pod: Pod, spec: Container, role: Role, runs: Sequence[Run], settings: BackoffSettings) -> ContainerFacts:
    """As its own records have it."""
    if not runs:
        return ContainerFacts(name=spec.name, role=role)
    *older, run = runs
    again = run.exit is not None and restart.outcome(pod, spec, role, run.exit) is not Outcome.OVER
    if run.removed and again:
        return ContainerFacts(name=spec.name, role=role)
    crashes = Crashes.rebuilt(restarts=run.id.attempt, started_at=run.started_at)
    state, until, kept = ContainerState.RUNNING, 0.0, 1
    if run.exit is not None:
        state = ContainerState.CRASH_BACKOFF if again else ContainerState.FINISHED
        until, kept = crashes.restart_at(run.exit.finished_at, settings), 0
    return ContainerFacts(
        name=spec.name,
        role=role,
        state=state,
        initialized=role is Role.INIT and run.exit is not None and restart.succeeded(run.exit),
        run=run,
        previous=older[-1] if older else None,
        attempt=run.id.attempt,
        until=until,
        crashes=crashes,
        expired=tuple(old.id for old in (older[:-1] if kept else older)),
    )
