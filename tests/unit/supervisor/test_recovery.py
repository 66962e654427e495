"""From what is found to what is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from nsrun.model.container import RestartAction, RestartRule
from nsrun.model.pod import Pod, RestartPolicy
from nsrun.model.probe import HttpGet, Lifecycle, Probe, Sleep
from nsrun.model.running import (
    AdoptedContainer,
    AdoptedPod,
    ContainerId,
    Exit,
    ExitReason,
    RunningContainer,
    SandboxInfo,
)
from nsrun.model.status import Terminated
from nsrun.supervisor import fold
from nsrun.supervisor.backoff import BackoffSettings
from nsrun.supervisor.facts import Failure, Marks, PodFacts
from nsrun.supervisor.lifecycle import ContainerState, PodState
from nsrun.supervisor.order import is_initialized, is_up
from nsrun.supervisor.podjson import active_since, read_marks
from nsrun.supervisor.recovery import adopted_facts, orphaned_facts
from nsrun.supervisor.status import pod_status
from tests.unit.supervisor.world import container, pod, sidecar

SETTINGS = BackoffSettings()
PROBE = Probe(action=HttpGet(port=80))
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


# --- init containers, sidecars, hooks, probes, failures


STUDIO = pod(
    "web",
    container("main", lifecycle=Lifecycle(post_start=Sleep(seconds=1)), startup_probe=PROBE),
    init=[container("one"), sidecar("side", startup_probe=PROBE), container("two")],
)


def states(known: PodFacts) -> dict[str, tuple[ContainerState, bool]]:
    return {c.name: (c.state, c.initialized) for c in known.containers}


def adopted(*runs: AdoptedContainer, of: Pod = STUDIO, **more: Any) -> PodFacts:
    return adopted_facts(found(*runs, **more), of, now=500.0, settings=SETTINGS)


def test_init_containers_go_on_where_they_were() -> None:
    waits = (ContainerState.WAITING, False)
    assert set(states(adopted()).values()) == {waits}
    assert states(adopted(run(0, 0, "one"))) == {
        "one": (ContainerState.FINISHED, True),
        "side": waits,
        "two": waits,
        "main": waits,
    }
    assert states(adopted(run(0, 1, "one")))["one"] == (ContainerState.CRASH_BACKOFF, False)
    assert states(adopted(run(0, None, "one")))["one"] == (ContainerState.RUNNING, False)
    side = states(adopted(run(0, 0, "one"), run(0, None, "side")))
    assert side["side"] == (ContainerState.RUNNING, False), "whether it was up is not known"
    assert side["two"] == waits


def test_what_ran_after_an_init_container_says_that_it_is_done() -> None:
    known = adopted(run(0, None, "two"), run(0, None, "side"))
    assert states(known) == {
        "one": (ContainerState.FINISHED, True),
        "side": (ContainerState.RUNNING, True),
        "two": (ContainerState.RUNNING, False),
        "main": (ContainerState.WAITING, False),
    }
    assert is_up(known, known.containers[1])
    shown = pod_status(known, before=None, now=500.0, settings=SETTINGS)
    done = shown.init_container_statuses[0].state
    assert isinstance(done, Terminated)
    assert (done.exit_code, done.reason) == (0, "Completed"), "its record is gone"


def test_a_sidecar_that_ended_is_run_again_though_others_ran_after_it() -> None:
    known = adopted(run(0, 0, "one"), run(0, 0, "side"), run(0, 0, "two"), run(3))
    assert states(known)["side"] == (ContainerState.CRASH_BACKOFF, True)
    assert is_initialized(known)


def test_a_sidecar_that_was_run_again_is_up_when_it_is_written_down() -> None:
    runs = [run(0, 0, "one"), run(1, None, "side"), run(0, 0, "two"), run(0)]
    assert not is_up(adopted(*runs), adopted(*runs).containers[1])
    known = adopted(*runs, document=marked("side", "h1", started=True))
    assert is_up(known, known.containers[1])


def marked(name: str, hash: str, *, started: bool) -> dict[str, object]:
    entry = {"name": name, "containerID": f"nsrun://{hash}", "state": {"running": {}}, "started": started}
    key = "containerStatuses" if name == "main" else "initContainerStatuses"
    return {"status": {key: [entry], "startTime": "1970-01-01T00:02:00Z"}}


def test_a_hook_of_which_nobody_knows_that_it_is_done_is_run_again() -> None:
    runs = [run(0, 0, "one"), run(0, None, "side"), run(0, 0, "two"), run(0)]
    known = adopted(*runs)
    assert states(known)["main"] == (ContainerState.POST_START, False)
    known = adopted(*runs, document=marked("main", "h0", started=False))
    assert (states(known)["main"][0], known.containers[3].up) == (ContainerState.RUNNING, False)
    known = adopted(*runs, document=marked("main", "h0", started=True))
    assert (states(known)["main"][0], known.containers[3].up) == (ContainerState.RUNNING, True)
    assert known.accepted_at == 120.0
    known = adopted(*runs, document=marked("main", "another", started=True))
    assert states(known)["main"][0] is ContainerState.POST_START


def test_a_failed_pod_stays_failed() -> None:
    document = {"status": {"phase": "Failed", "reason": "Evicted", "message": "why"}}
    known = adopted(run(0), of=pod(), document=document)
    assert (known.state, known.stopping_since) == (PodState.FINISHING, 500.0)
    assert known.failure == Failure(reason="Evicted", message="why")
    assert known.recorded.failure == known.failure
    gone = adopted(run(0), of=pod(), document=document, sandbox=None)
    assert gone.state is PodState.FINISHED


def test_an_init_container_that_failed_for_good_ends_a_pod_without_a_sandbox() -> None:
    never = replace(STUDIO, spec=replace(STUDIO.spec, restart_policy=NEVER))
    assert adopted(run(0, 1, "one"), of=never, sandbox=None).state is PodState.FINISHED
    cut = adopted(run(0, 0, "one"), of=never, sandbox=None)
    assert (cut.state, cut.failure and cut.failure.reason) == (PodState.FINISHED, "SandboxChanged")
    assert adopted(of=never, sandbox=None).state is PodState.RESETTING, "nothing ran yet"
    assert adopted(run(0, 0, "one"), sandbox=None).state is PodState.RESETTING


def test_a_restart_of_all_goes_on() -> None:
    rule = RestartRule(action=RestartAction.RESTART_ALL_CONTAINERS, exit_codes=(42,))
    ruled = pod("web", container("main", restart_policy=NEVER, restart_policy_rules=(rule,)), container("other"))
    known = adopted(run(0, 42), run(0, None, "other"), of=ruled)
    assert (known.state, known.restarting) == (PodState.RESTARTING, "main")
    assert adopted(run(0, 41), run(0, None, "other"), of=ruled).state is PodState.RUNNING
    assert adopted(run(0, 42), of=ruled, sandbox=None).state is PodState.RESETTING


def test_documents_that_nobody_can_understand_say_nothing() -> None:
    for document in (None, {}, {"status": 3}, {"status": {"startTime": "soon", "containerStatuses": [3, {}]}}):
        assert active_since(document) is None
        assert read_marks(document) == Marks()
