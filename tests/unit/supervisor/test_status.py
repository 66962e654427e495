"""Facts in, the kubelet's words out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from nsrun.model.container import RestartAction, RestartRule
from nsrun.model.node import Node
from nsrun.model.pod import Pod, RestartPolicy
from nsrun.model.probe import HttpGet, Probe
from nsrun.model.running import Attachment, ContainerId, Exit, ExitReason, SandboxInfo
from nsrun.model.status import Condition, ContainerStatus, Phase, PodStatus, Running, Terminated, Waiting
from nsrun.supervisor.backoff import BackoffSettings, Crashes
from nsrun.supervisor.facts import ContainerFacts, Failure, PodFacts, Role, Run, Stop, StopCause
from nsrun.supervisor.lifecycle import ContainerState, PodState
from nsrun.supervisor.status import full_name, image_id, is_reachable, pod_status, rejected_status
from tests.unit.supervisor.world import container, pod, sidecar

ALWAYS, ON_FAILURE, NEVER = RestartPolicy.ALWAYS, RestartPolicy.ON_FAILURE, RestartPolicy.NEVER
SETTINGS = BackoffSettings()
WEB = pod("web", container("a"), container("b"))
SANDBOX = SandboxInfo(uid="uid-web", shim_pid=1, pause_pid=2, started_at=1.0)
PLACE = Attachment(netns="/run/netns/x", address="10.0.0.2", gateway="10.0.0.1", host_ip="192.0.2.1")


def run(name: str, code: int | None = None, *, attempt: int = 0, reason: ExitReason = ExitReason.ERROR) -> Run:
    exit = None
    if code is not None:
        reason = ExitReason.COMPLETED if code == 0 and reason is ExitReason.ERROR else reason
        exit = Exit(code=code, reason=reason, started_at=10.0, finished_at=20.0, message="why")
    return Run(
        id=ContainerId(uid="uid-web", name=name, attempt=attempt),
        hash="abc",
        image_reference="docker.io/library/busybox:latest",
        image_digest="sha256:1",
        started_at=10.0,
        exit=exit,
    )


def waiting(name: str) -> ContainerFacts:
    return ContainerFacts(name=name)


def running(name: str) -> ContainerFacts:
    return ContainerFacts(name=name, state=ContainerState.RUNNING, run=run(name), attempt=0)


def finished(name: str, code: int, reason: ExitReason = ExitReason.ERROR) -> ContainerFacts:
    return ContainerFacts(name=name, state=ContainerState.FINISHED, run=run(name, code, reason=reason), attempt=0)


def crashing(name: str, code: int = 1, count: int = 2) -> ContainerFacts:
    return ContainerFacts(
        name=name,
        state=ContainerState.CRASH_BACKOFF,
        run=run(name, code, attempt=count),
        attempt=count,
        crashes=Crashes(count=count),
    )


def facts(*containers: ContainerFacts, of: Pod = WEB, state: PodState = PodState.RUNNING) -> PodFacts:
    return PodFacts(
        uid=of.uid,
        name=of.name,
        pod=of,
        accepted_at=5.0,
        state=state,
        containers=containers,
        sandbox=SANDBOX,
        attachment=PLACE,
    )


def status(known: PodFacts, *, before: PodStatus | None = None, now: float = 100.0) -> PodStatus:
    return pod_status(known, before=before, now=now, settings=SETTINGS)


def only(known: ContainerFacts) -> ContainerStatus:
    return status(facts(known, of=pod("web", container("a")))).container_statuses[0]


# --- phases


@pytest.mark.parametrize(
    ("containers", "phases"),
    [
        ((waiting("a"), waiting("b")), dict.fromkeys(RestartPolicy, Phase.PENDING)),
        ((running("a"), waiting("b")), dict.fromkeys(RestartPolicy, Phase.PENDING)),
        ((running("a"), running("b")), dict.fromkeys(RestartPolicy, Phase.RUNNING)),
        ((running("a"), finished("b", 1)), dict.fromkeys(RestartPolicy, Phase.RUNNING)),
        ((running("a"), crashing("b")), dict.fromkeys(RestartPolicy, Phase.RUNNING)),
        ((crashing("a"), crashing("b")), {ALWAYS: Phase.RUNNING, ON_FAILURE: Phase.RUNNING}),
        ((finished("a", 0), finished("b", 0)), {ON_FAILURE: Phase.SUCCEEDED, NEVER: Phase.SUCCEEDED}),
        ((finished("a", 0), finished("b", 1)), {NEVER: Phase.FAILED}),
        ((finished("a", 0), crashing("b")), {ON_FAILURE: Phase.RUNNING}),
        ((finished("a", 0), finished("b", 0, ExitReason.OOM_KILLED)), {NEVER: Phase.FAILED}),
    ],
)
def test_phases(containers: tuple[ContainerFacts, ...], phases: Mapping[RestartPolicy, Phase]) -> None:
    for policy, phase in phases.items():
        of = pod("web", container("a"), container("b"), policy=policy)
        assert status(facts(*containers, of=of)).phase is phase


@pytest.mark.parametrize(("code", "phase"), [(0, Phase.SUCCEEDED), (143, Phase.FAILED)])
def test_a_pod_on_its_way_out_counts_as_never_restarted(code: int, phase: Phase) -> None:
    known = facts(finished("a", code), finished("b", 0), state=PodState.REMOVING)
    assert status(known).phase is phase
    assert status(facts(running("a"), finished("b", 0), state=PodState.STOPPING)).phase is Phase.RUNNING


# --- conditions


def conditions(made: PodStatus) -> list[tuple[str, str, str, str]]:
    return [(c.type, c.status, c.reason, c.message) for c in made.conditions]


def test_conditions_of_a_ready_pod() -> None:
    made = status(facts(running("a"), running("b")))
    assert conditions(made) == [
        ("PodReadyToStartContainers", "True", "", ""),
        ("Initialized", "True", "", ""),
        ("Ready", "True", "", ""),
        ("ContainersReady", "True", "", ""),
        ("PodScheduled", "True", "", ""),
    ]
    assert is_reachable(made)
    assert not is_reachable(replace(made, pod_ip="")), "nobody knows where, yet"


def test_conditions_of_a_pod_that_starts() -> None:
    known = replace(facts(waiting("a"), running("b")), sandbox=None)
    made = status(known)
    unready = ("False", "ContainersNotReady", "containers with unready status: [a]")
    assert conditions(made)[0] == ("PodReadyToStartContainers", "False", "", "")
    assert conditions(made)[2:4] == [("Ready", *unready), ("ContainersReady", *unready)]
    assert not is_reachable(made)
    both = status(facts(waiting("a"), waiting("b"))).conditions[2]
    assert both.message == "containers with unready status: [a b]"


@pytest.mark.parametrize(("code", "reason", "init"), [(0, "PodCompleted", "PodCompleted"), (1, "PodFailed", "")])
def test_conditions_of_a_pod_that_ended(code: int, reason: str, init: str) -> None:
    of = pod("web", container("a"), policy=NEVER)
    made = status(facts(finished("a", code), of=of))
    assert conditions(made)[1:4] == [
        ("Initialized", "True", init, ""),
        ("Ready", "False", reason, ""),
        ("ContainersReady", "False", reason, ""),
    ]


def test_a_condition_keeps_its_time_until_it_changes() -> None:
    first = status(facts(waiting("a"), running("b")), now=100.0)
    second = status(facts(waiting("a"), waiting("b")), before=first, now=200.0)
    third = status(facts(running("a"), running("b")), before=second, now=300.0)

    def times(made: PodStatus) -> list[float]:
        return [condition.last_transition_time for condition in made.conditions]

    assert times(first) == [100.0] * 5
    assert times(second) == [100.0] * 5, "another message is no transition"
    assert times(third) == [100.0, 100.0, 300.0, 300.0, 100.0]


# --- containers


def test_a_running_container() -> None:
    assert only(running("a")) == ContainerStatus(
        name="a",
        image="docker.io/library/busybox:latest",
        state=Running(started_at=10.0),
        ready=True,
        started=True,
        image_id="docker.io/library/busybox@sha256:1",
        container_id="nsrun://abc",
    )


def test_a_container_that_is_being_created() -> None:
    assert only(waiting("a")) == ContainerStatus(name="a", image="busybox", state=Waiting(reason="ContainerCreating"))


def test_a_container_that_ended() -> None:
    made = only(finished("a", 3))
    assert made.state == Terminated(
        exit_code=3, reason="Error", started_at=10.0, finished_at=20.0, container_id="nsrun://abc", message="why"
    )
    assert (made.ready, made.started, made.last_state) == (False, False, None)


def test_a_container_that_runs_again_remembers_its_last_end() -> None:
    again = replace(running("a"), run=run("a", attempt=3), previous=run("a", 9, attempt=2), attempt=3)
    made = only(again)
    assert made.restart_count == 3
    assert made.last_state is not None
    assert made.last_state.exit_code == 9


@pytest.mark.parametrize(
    ("count", "delay"), [(0, "10s"), (1, "10s"), (2, "20s"), (3, "40s"), (4, "1m20s"), (5, "2m40s"), (6, "5m0s")]
)
def test_a_crash_loop(count: int, delay: str) -> None:
    made = only(crashing("a", 7, count))
    assert made.state == Waiting(
        reason="CrashLoopBackOff", message=f"back-off {delay} restarting failed container=a pod=web_default(uid-web)"
    )
    assert made.last_state is not None
    assert made.last_state.exit_code == 7
    assert made.restart_count == count


@pytest.mark.parametrize("state", [ContainerState.WAITING, ContainerState.READY, ContainerState.STARTING])
def test_between_two_runs_the_last_end_is_shown(state: ContainerState) -> None:
    made = only(replace(crashing("a", 7), state=state, previous=run("a", 6)))
    assert isinstance(made.state, Terminated)
    assert made.state.exit_code == 7
    assert made.last_state is not None
    assert made.last_state.exit_code == 6


def test_between_two_runs_after_a_start_error_its_sentence_is_shown() -> None:
    last = run("a", 128, reason=ExitReason.START_ERROR)
    made = only(replace(crashing("a"), state=ContainerState.WAITING, run=replace(last, hash="")))
    assert made.state == Waiting(reason="RunContainerError", message="why")
    assert made.last_state is not None
    assert (made.last_state.exit_code, made.last_state.reason) == (128, "StartError")
    assert made.container_id == ""


def test_an_image_that_cannot_be_had() -> None:
    problem = Waiting(reason="ErrImagePull", message="no route")
    known = ContainerFacts(name="a", state=ContainerState.PULL_BACKOFF, problem=problem)
    assert only(known).state == Waiting(
        reason="ImagePullBackOff", message='Back-off pulling image "busybox": ErrImagePull: no route'
    )
    assert only(replace(known, state=ContainerState.WAITING)).state == problem


@pytest.mark.parametrize("reason", ["ErrImageNeverPull", "InvalidImageName", "ImageInspectError"])
def test_an_image_that_no_pull_can_mend(reason: str) -> None:
    problem = Waiting(reason=reason, message="because")
    assert only(ContainerFacts(name="a", state=ContainerState.PULL_BACKOFF, problem=problem)).state == problem


def test_a_container_that_cannot_be_created_keeps_its_last_end() -> None:
    problem = Waiting(reason="CreateContainerError", message="because")
    made = only(replace(crashing("a", 7), state=ContainerState.START_BACKOFF, problem=problem))
    assert made.state == problem
    assert made.last_state is not None
    assert made.last_state.exit_code == 7


# --- the rest


def test_addresses_and_times() -> None:
    made = status(facts(running("a"), running("b")))
    assert (made.host_ip, made.pod_ip, made.start_time) == ("192.0.2.1", "10.0.0.2", 5.0)
    bare = status(replace(facts(running("a"), running("b")), attachment=None))
    assert (bare.host_ip, bare.pod_ip) == ("", "")
    assert bare.conditions[0] == Condition(type="PodReadyToStartContainers", status="False", last_transition_time=100.0)


@pytest.mark.parametrize(
    ("reference", "digest", "expected"),
    [
        ("docker.io/library/nginx:latest", "sha256:1", "docker.io/library/nginx@sha256:1"),
        ("localhost:5000/a/b", "sha256:1", "localhost:5000/a/b@sha256:1"),
        ("localhost:5000/a/b:v1", "sha256:1", "localhost:5000/a/b@sha256:1"),
        ("docker.io/library/nginx@sha256:1", "sha256:1", "docker.io/library/nginx@sha256:1"),
        ("nginx:1", "sha256:1", "nginx@sha256:1"),
        ("nginx:1", "", ""),
    ],
)
def test_image_ids(reference: str, digest: str, expected: str) -> None:
    assert image_id(reference, digest) == expected


def test_the_full_name() -> None:
    assert full_name(WEB) == "web_default(uid-web)"


def test_a_rejected_pod() -> None:
    made = rejected_status(WEB, reason="OutOfpods", message="no room", now=9.0)
    assert (made.phase, made.reason, made.message) == (Phase.FAILED, "OutOfpods", "Pod was rejected: no room")
    assert made.start_time == 9.0
    assert not is_reachable(made)


# --- init containers and sidecars


STUDIO = pod("web", container("a"), init=[container("i"), sidecar("s")])


def studio(i: ContainerFacts, s: ContainerFacts, a: ContainerFacts, *, policy: RestartPolicy = ALWAYS) -> PodFacts:
    of = replace(STUDIO, spec=replace(STUDIO.spec, restart_policy=policy))
    return facts(replace(i, role=Role.INIT), replace(s, role=Role.SIDECAR), a, of=of)


DONE = replace(finished("i", 0), initialized=True)


@pytest.mark.parametrize(
    ("i", "s", "a", "phase", "incomplete"),
    [
        (waiting("i"), waiting("s"), waiting("a"), Phase.PENDING, "[i s]"),
        (running("i"), waiting("s"), waiting("a"), Phase.PENDING, "[i s]"),
        (crashing("i"), waiting("s"), waiting("a"), Phase.PENDING, "[i s]"),
        (DONE, running("s"), waiting("a"), Phase.PENDING, ""),
        (DONE, running("s"), running("a"), Phase.RUNNING, ""),
        (DONE, crashing("s"), running("a"), Phase.RUNNING, ""),
        (DONE, running("s"), crashing("a"), Phase.RUNNING, ""),
        (DONE, finished("s", 143), finished("a", 0), Phase.SUCCEEDED, ""),
        (DONE, running("s"), finished("a", 0), Phase.RUNNING, ""),
        (DONE, finished("s", 143), finished("a", 1), Phase.FAILED, ""),
    ],
)
def test_phases_with_init_containers(
    i: ContainerFacts, s: ContainerFacts, a: ContainerFacts, phase: Phase, incomplete: str
) -> None:
    made = status(studio(i, s, a))
    assert made.phase is phase
    initialized = conditions(made)[1]
    if incomplete:
        message = f"containers with incomplete status: {incomplete}"
        assert initialized == ("Initialized", "False", "ContainersNotInitialized", message)
    else:
        assert initialized[:2] == ("Initialized", "True")


def test_an_init_container_that_failed_for_good() -> None:
    known = replace(studio(finished("i", 1), waiting("s"), waiting("a"), policy=NEVER), state=PodState.FINISHED)
    made = status(known)
    assert made.phase is Phase.FAILED
    assert made.init_container_statuses[0].ready is False
    assert made.container_statuses[0].state == Waiting(reason="PodInitializing")


def test_what_is_reachable() -> None:
    made = status(studio(DONE, running("s"), running("a")))
    assert [(c.ready, c.started) for c in (*made.init_container_statuses, *made.container_statuses)] == [
        (True, False),
        (True, True),
        (True, True),
    ]
    probe = Probe(action=HttpGet(port=80))
    of = pod("web", container("a", readiness_probe=probe, startup_probe=probe))

    def shown(**more: Any) -> tuple[bool, bool]:
        one = status(facts(replace(running("a"), **more), of=of)).container_statuses[0]
        return one.started, one.ready

    assert shown() == (False, False)
    assert shown(up=True) == (True, False)
    assert shown(up=True, ready=True) == (True, True)
    assert shown(ready=True) == (False, False)


@pytest.mark.parametrize("state", [ContainerState.PRE_STOP, ContainerState.STOPPING, ContainerState.ASKED])
def test_what_is_being_stopped_still_runs(state: ContainerState) -> None:
    stop = Stop(cause=StopCause.POD, until=200.0, message="why")
    made = only(replace(running("a"), state=state, stop=stop))
    assert (made.state, made.started, made.ready) == (Running(started_at=10.0), True, True)


def test_what_its_hook_failed_never_ran() -> None:
    problem = Waiting(reason="PostStartHookError", message="why")
    stop = Stop(cause=StopCause.HOOK, until=200.0, message="FailedPostStartHook")
    made = only(replace(running("a"), state=ContainerState.ASKED, stop=stop, problem=problem))
    assert (made.state, made.started, made.ready) == (problem, False, False)


def test_a_readiness_gate_that_nobody_opens() -> None:
    of = pod("web", container("a"), readiness_gates=("example.com/gate",))
    made = conditions(status(facts(running("a"), of=of)))
    message = 'corresponding condition of pod readiness gate "example.com/gate" does not exist.'
    assert made[2] == ("Ready", "False", "ReadinessGatesNotReady", message)
    assert made[3] == ("ContainersReady", "True", "", "")


@pytest.mark.parametrize(
    ("state", "container_facts", "expected"),
    [
        (PodState.RESTARTING, crashing("a"), ("True", "RestartAllContainersStarted")),
        (PodState.RUNNING, running("a"), ("False", "")),
        (PodState.FINISHED, finished("a", 0), ("False", "PodCompleted")),
        (PodState.FINISHED, finished("a", 1), ("False", "PodFailed")),
    ],
)
def test_pods_that_can_begin_again(state: PodState, container_facts: ContainerFacts, expected: tuple[str, str]) -> None:
    rule = RestartRule(action=RestartAction.RESTART_ALL_CONTAINERS, exit_codes=(42,))
    of = pod("web", container("a", restart_policy=NEVER, restart_policy_rules=(rule,)))
    made = status(facts(container_facts, of=of, state=state))
    found = next(c for c in made.conditions if c.type == "AllContainersRestarting")
    assert (found.status, found.reason) == expected


def test_a_pod_that_failed_says_why() -> None:
    known = replace(facts(running("a"), running("b")), failure=Failure(reason="Evicted", message="why"))
    made = status(known)
    assert (made.phase, made.reason, made.message) == (Phase.FAILED, "Evicted", "why")
    assert ("DisruptionTarget", "True", "TerminationByKubelet", "why") in conditions(made)


def test_the_hosts_address_is_known_before_the_pods() -> None:
    bare = replace(facts(running("a"), running("b")), attachment=None)
    node = Node(name="n", addresses=("192.0.2.9",))
    assert pod_status(bare, before=None, now=1.0, settings=SETTINGS, node=node).host_ip == "192.0.2.9"


def test_a_crash_loop_ends_with_its_pod() -> None:
    made = status(facts(crashing("a", 7), of=pod("web", container("a")), state=PodState.STOPPING))
    state = made.container_statuses[0].state
    assert isinstance(state, Terminated)
    assert state.exit_code == 7
