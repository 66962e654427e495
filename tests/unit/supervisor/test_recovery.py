"""From what is found to what is known."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from nsrun.model.pod import RestartPolicy
from nsrun.model.running import (
    AdoptedContainer,
    AdoptedPod,
    ContainerId,
    Exit,
    ExitReason,
    RunningContainer,
    SandboxInfo,
)
from nsrun.supervisor import fold
from nsrun.supervisor.backoff import BackoffSettings
from nsrun.supervisor.lifecycle import ContainerState, PodState
from nsrun.supervisor.recovery import adopted_facts, orphaned_facts
from tests.unit.supervisor.world import pod

SETTINGS = BackoffSettings()
SANDBOX = SandboxInfo(uid="uid-web", shim_pid=1, pause_pid=2, started_at=3.0)
ALWAYS, ON_FAILURE, NEVER = RestartPolicy.ALWAYS, RestartPolicy.ON_FAILURE, RestartPolicy.NEVER


def run(attempt: int, code: int | None = None, name: str = "main") -> AdoptedContainer:
    started_at = 100.0 * attempt
    exit = None
    if code is not None:
        exit = Exit(code=code, reason=ExitReason.ERROR, started_at=started_at, finished_at=started_at + 1)
    id = ContainerId(uid="uid-web", name=name, attempt=attempt)
    running = RunningContainer(id=id, hash=f"h{attempt}", pid=9, started_at=started_at)
    return AdoptedContainer(running=running, image_ref="i:latest", image_digest="sha256:1", exit=exit)


def found(
    *runs: AdoptedContainer, sandbox: SandboxInfo | None = SANDBOX, document: Mapping[str, object] | None = None
) -> AdoptedPod:
    return AdoptedPod(uid="uid-web", document=document, sandbox=sandbox, containers=runs)


@pytest.mark.parametrize(
    ("policy", "code", "state"),
    [
        (ALWAYS, None, ContainerState.RUNNING),
        (NEVER, None, ContainerState.RUNNING),
        (ALWAYS, 0, ContainerState.CRASH_BACKOFF),
        (ON_FAILURE, 0, ContainerState.FINISHED),
        (ON_FAILURE, 1, ContainerState.CRASH_BACKOFF),
        (NEVER, 1, ContainerState.FINISHED),
    ],
)
def test_a_run_is_taken_as_it_is(policy: RestartPolicy, code: int | None, state: ContainerState) -> None:
    known = adopted_facts(found(run(0, code)), pod(policy=policy), now=500.0, settings=SETTINGS)
    (container,) = known.containers
    assert (known.state, container.state, container.attempt) == (PodState.RUNNING, state, 0)
    assert known.accepted_at == SANDBOX.started_at
    assert container.run is not None
    assert (container.run.exit is None) == (code is None)


def test_of_many_runs_the_newest_counts_and_one_more_is_kept() -> None:
    runs = [run(2, 1), run(3), run(0, 1), run(1, 1)]
    (container,) = adopted_facts(found(*runs), pod(), now=500.0, settings=SETTINGS).containers
    assert container.run is not None
    assert container.previous is not None
    assert (container.run.id.attempt, container.previous.id.attempt) == (3, 2)
    assert [id.attempt for id in container.expired] == [0, 1]


def test_when_the_newest_ended_it_alone_is_kept() -> None:
    (container,) = adopted_facts(found(run(0, 1), run(1, 1)), pod(), now=500.0, settings=SETTINGS).containers
    assert [id.attempt for id in container.expired] == [0]
    assert container.until == 101.0 + 10.0


def test_a_container_that_never_ran_waits_for_its_image() -> None:
    (container,) = adopted_facts(found(), pod(), now=500.0, settings=SETTINGS).containers
    assert (container.state, container.attempt) == (ContainerState.WAITING, -1)


@pytest.mark.parametrize(
    ("policy", "state", "after"),
    [
        (ALWAYS, PodState.RESETTING, ContainerState.CRASH_BACKOFF),
        (ON_FAILURE, PodState.RESETTING, ContainerState.CRASH_BACKOFF),
        (NEVER, PodState.FINISHED, ContainerState.FINISHED),
    ],
)
def test_nothing_runs_in_a_dead_sandbox(policy: RestartPolicy, state: PodState, after: ContainerState) -> None:
    known = adopted_facts(found(run(0), sandbox=None), pod(policy=policy), now=500.0, settings=SETTINGS)
    (container,) = known.containers
    assert (known.state, container.state) == (state, after)
    assert container.run is not None
    assert container.run.exit is not None
    assert (container.run.exit.code, container.run.exit.reason) == (137, ExitReason.UNKNOWN)
    assert container.run.exit.finished_at == 500.0


def test_an_orphan_is_stopped_with_the_grace_that_pods_have() -> None:
    known = orphaned_facts(found(run(0, 1), run(1), run(0, 0, name="side")), None, now=500.0)
    assert known.state is PodState.STOPPING
    assert known.kill_at == 530.0
    assert [(c.name, c.state, c.attempt) for c in known.containers] == [
        ("main", ContainerState.RUNNING, 1),
        ("side", ContainerState.FINISHED, 0),
    ]
    over = fold.advanced(orphaned_facts(found(), None, now=500.0), (), 500.0, SETTINGS)
    assert over.state is PodState.REMOVING
