"""Corners of the fold that nothing but bad luck reaches; the rest is told by what happens in ``test_supervisor``."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from nsrun.model.running import Attachment, ContainerId, Exit, ExitReason, RunningContainer, SandboxInfo
from nsrun.model.status import Waiting
from nsrun.supervisor import agenda, fold, runs, steps
from nsrun.supervisor.backoff import BackoffSettings
from nsrun.supervisor.facts import PodFacts
from nsrun.supervisor.lifecycle import ContainerState, PodState
from nsrun.supervisor.podjson import ended_before, pod_document, read_pod
from nsrun.supervisor.status import pod_status
from tests.contracts.fakes import fake_image
from tests.unit.supervisor.world import pod

SETTINGS = BackoffSettings()
WEB = pod()
SANDBOX = SandboxInfo(uid=WEB.uid, shim_pid=1, pause_pid=2, started_at=1.0)
PLACE = Attachment(netns="n", address="a", gateway="g", host_ip="h")
ID = ContainerId(uid=WEB.uid, name="main", attempt=0)
RUNNING = RunningContainer(id=ID, hash="abc", pid=3, started_at=10.0)
END = Exit(code=4, reason=ExitReason.ERROR, started_at=10.0, finished_at=11.0)


def ready() -> PodFacts:
    """The sandbox stands, the image is there."""
    known = fold.attached(fold.accepted(WEB, 1.0), PLACE)
    known = fold.prepared(fold.sandbox_started(known, SANDBOX), {})
    return runs.pulled(known, "main", fake_image("busybox"))


def running() -> PodFacts:
    return runs.started(runs.starting(ready(), "main", 0), RUNNING, fake_image("busybox"), 10.0, SETTINGS)


def test_an_end_can_be_told_before_its_beginning() -> None:
    known = runs.exited(runs.starting(ready(), "main", 0), ID, END, SETTINGS)
    assert known.containers[0].state is ContainerState.STARTING
    known = runs.started(known, RUNNING, fake_image("busybox"), 10.0, SETTINGS)
    (container,) = known.containers
    assert container.state is ContainerState.CRASH_BACKOFF
    assert container.run is not None
    assert container.run.exit == END


def test_or_instead_of_it() -> None:
    """The start was cut off after it had worked, and asking again came after the end."""
    known = runs.exited(runs.starting(ready(), "main", 0), ID, END, SETTINGS)
    known = runs.refused(known, "main", Waiting(reason="CreateContainerError"), 12.0, SETTINGS)
    (container,) = known.containers
    assert container.state is ContainerState.CRASH_BACKOFF
    assert container.run is not None
    assert container.run.exit == END
    assert container.problem is None


def test_an_end_is_told_once_and_only_of_our_runs() -> None:
    known = runs.exited(running(), ID, END, SETTINGS)
    assert runs.exited(known, ID, replace(END, code=9), SETTINGS) == known
    assert runs.exited(known, replace(ID, attempt=7), END, SETTINGS) == known
    assert runs.exited(known, replace(ID, name="nobody"), END, SETTINGS) == known


def test_a_pod_is_terminated_once() -> None:
    known = fold.terminating(running(), 50.0)
    assert (known.state, known.stopping_since) == (PodState.STOPPING, 50.0)
    assert fold.terminating(known, 60.0) == known


def test_a_sandbox_that_comes_too_late_changes_nothing() -> None:
    known = fold.terminating(fold.accepted(WEB, 1.0), 2.0)
    assert fold.sandbox_started(known, SANDBOX) == known


def test_a_sandbox_that_dies_where_there_is_none_is_no_news() -> None:
    known = fold.accepted(WEB, 1.0)
    assert fold.sandbox_lost(known, "gone", 2.0, SETTINGS) == known


def test_pulls_are_hurried_only_where_one_is_waited_for() -> None:
    assert runs.pulls_due(running(), 0.0) == running()
    known = fold.accepted(WEB, 1.0)
    known = runs.pull_failed(known, "main", Waiting(reason="ErrImagePull"), 1.0, SETTINGS.image)
    assert runs.pulls_due(known, 2.0).containers[0].until == 2.0
    assert runs.pulls_due(known, 99.0).containers[0].until == 11.0


def test_one_ended_run_is_kept_besides_the_newest() -> None:
    known = running()
    for attempt in range(1, 4):
        known = runs.exited(known, replace(ID, attempt=attempt - 1), END, SETTINGS)
        known = fold.advanced(known, (), 10_000.0 * attempt, SETTINGS)
        known = runs.pulled(known, "main", fake_image("busybox"))
        known = runs.starting(known, "main", attempt)
        again = replace(RUNNING, id=replace(ID, attempt=attempt))
        known = runs.started(known, again, fake_image("busybox"), 10.0, SETTINGS)
        expired = [
            step.id.attempt for step in agenda.next_steps(known, (), 0.0) if isinstance(step, steps.RemoveContainer)
        ]
        assert expired == list(range(attempt - 1))
    for attempt in (0, 1):
        known = runs.run_removed(known, replace(ID, attempt=attempt))
    assert known.containers[0].expired == ()


@given(st.lists(st.sampled_from(["exit", "lose", "terminate", "advance", "settle"]), max_size=12))
def test_no_order_of_events_is_a_bug(order: list[str]) -> None:
    """The tables refuse what must not happen; nothing that can happen may be refused."""
    known, now = running(), 100.0
    for event in order:
        now += 1.0
        match event:
            case "exit":
                known = runs.exited(known, ID, END, SETTINGS)
            case "lose":
                known = fold.sandbox_lost(known, "gone", now, SETTINGS)
            case "terminate":
                known = fold.terminating(known, now)
            case "advance":
                known = fold.advanced(known, (), now, SETTINGS)
            case _:
                known = fold.advanced(known, ("start main",), now, SETTINGS)
        agenda.next_steps(known, (), now)
        agenda.next_alarm(known, (), now)
        pod_status(known, before=None, now=now, settings=SETTINGS)


def test_the_document_says_what_ended_for_good() -> None:
    never = pod("web", policy=WEB.spec.restart_policy.NEVER)
    known = runs.exited(replace(running(), pod=never), ID, END, SETTINGS)
    document = pod_document(never, pod_status(known, before=None, now=20.0, settings=SETTINGS))
    assert read_pod(document) == never
    remembered = ended_before(document, never.uid)["main"]
    assert remembered.exit is not None
    assert (remembered.exit.code, remembered.exit.finished_at) == (4, 11.0)
    assert (remembered.hash, remembered.image_digest) == ("abc", fake_image("busybox").digest)
    assert remembered.removed


def test_what_the_document_does_not_say_is_not_known() -> None:
    assert read_pod(None) is None
    assert read_pod({"kind": "Pod"}) is None
    for document in (None, {}, {"status": 3}, {"status": {"containerStatuses": [3, {}, {"name": "a", "state": {}}]}}):
        assert ended_before(document, "u") == {}
    running_then = pod_document(WEB, pod_status(running(), before=None, now=20.0, settings=SETTINGS))
    assert ended_before(running_then, WEB.uid) == {}


def test_steps_have_names_of_their_own() -> None:
    ids = [ContainerId(uid="u", name=name, attempt=attempt) for name in ("a", "b") for attempt in (0, 1)]
    made = [
        *(kind() for kind in (steps.AttachNetwork, steps.PrepareVolumes, steps.StartSandbox)),
        *(kind() for kind in (steps.RemoveSandbox, steps.DetachNetwork, steps.RemoveVolumes)),
        *(kind(container=name) for kind in (steps.EnsureImage, steps.StartContainer) for name in ("a", "b")),
        *(kind(id=id) for kind in (steps.Ask, steps.Kill) for id in ids[::2]),
        *(steps.RemoveContainer(id=id) for id in ids),
    ]
    assert len({step.key for step in made}) == len(made)


def test_a_removed_pod_needs_nothing() -> None:
    known = replace(fold.orphan("u", None, 0.0), state=PodState.REMOVED)
    assert agenda.next_steps(known, (), 0.0) == ()
    assert agenda.next_alarm(known, (), 0.0) is None
