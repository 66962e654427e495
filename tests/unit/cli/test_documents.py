"""What the columns of `nsrun pods` and `nsrun ps` say about a v1.Pod."""

from __future__ import annotations

import pytest

from nsrun.cli.documents import at, containers, find_pod, pod_status, ready, render, restarts, text_at
from nsrun.cli.looking.ps import status
from nsrun.errors import NotFoundError, NsrunError

Document = dict[str, object]


def pod(name: str = "web", namespace: str = "default", *statuses: Document, phase: str = "Running") -> Document:
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"containers": [{"name": s["name"], "image": "busybox"} for s in statuses]},
        "status": {"phase": phase, "containerStatuses": list(statuses)},
    }


def container(name: str, state: Document, *, ready: bool = False, restarts: int = 0) -> Document:
    return {"name": name, "state": state, "ready": ready, "restartCount": restarts, "containerID": f"nsrun://{name}id"}


RUNNING: Document = {"running": {"startedAt": "1970-01-01T00:00:10Z"}}
BACKOFF: Document = {"waiting": {"reason": "CrashLoopBackOff"}}
ENDED: Document = {"terminated": {"reason": "Completed", "exitCode": 0, "finishedAt": "1970-01-01T00:00:10Z"}}


@pytest.mark.parametrize(
    ("states", "phase", "said"),
    [
        ([RUNNING], "Running", "Running"),
        ([BACKOFF, RUNNING], "Running", "CrashLoopBackOff"),
        ([ENDED], "Succeeded", "Completed"),
        ([ENDED, RUNNING], "Running", "Running"),
        ([], "Pending", "Pending"),
    ],
)
def test_status_is_what_kubectl_would_say(states: list[Document], phase: str, said: str) -> None:
    assert (
        pod_status(pod("web", "default", *(container(f"c{n}", s) for n, s in enumerate(states)), phase=phase)) == said
    )


def test_a_pod_that_is_being_removed_is_terminating() -> None:
    document = pod("web", "default", container("c", RUNNING))
    document["metadata"] = {"name": "web", "deletionTimestamp": "1970-01-01T00:00:10Z"}
    assert pod_status(document) == "Terminating"


def test_ready_and_restarts_are_added_up() -> None:
    document = pod(
        "web", "default", container("a", RUNNING, ready=True, restarts=2), container("b", RUNNING, restarts=1)
    )
    assert ready(document) == "1/2"
    assert restarts(document) == 3


def test_a_pod_is_found_by_its_name() -> None:
    pods = [pod("web", "default"), pod("web", "other"), pod("db", "default")]
    assert find_pod(pods, "db", None) is pods[2]
    assert find_pod(pods, "other/web", None) is pods[1]
    assert find_pod(pods, "web", "other") is pods[1]
    with pytest.raises(NsrunError, match="several namespaces: default, other"):
        find_pod(pods, "web", None)
    with pytest.raises(NotFoundError, match='cannot find pod "nobody"'):
        find_pod(pods, "nobody", None)


@pytest.mark.parametrize(
    ("state", "said"),
    [(RUNNING, "Up 5s"), (ENDED, "Exited (0) 5s ago"), (BACKOFF, "CrashLoopBackOff"), ({}, "Waiting")],
)
def test_the_status_of_a_container_is_dockers(state: Document, said: str) -> None:
    (row,) = containers([pod("web", "default", container("c", state))])
    assert status(row, 15.0) == said
    assert row.id == "cid"


def test_paths_into_nothing_are_nothing() -> None:
    assert at({"a": [1]}, "a", 1) is None
    assert at("text", "a") is None
    assert text_at({}, "a", 0) == ""


def test_documents_are_rendered() -> None:
    assert render({"a": [1]}, "json") == '{\n    "a": [\n        1\n    ]\n}'
    assert render({"a": [1]}, "yaml") == "a:\n- 1"
    assert render(["n", "Y", "no", "yes", "name"], "yaml") == "- \"n\"\n- \"Y\"\n- 'no'\n- 'yes'\n- name"


# --- init containers


def studio(*statuses: Document, initialized: bool = False, app: Document | None = None) -> Document:
    """A pod with the init container ``i`` and the sidecar ``s``."""
    document = dict(pod("web", "default", app or container("a", {"waiting": {"reason": "PodInitializing"}})))
    spec, status = dict(document["spec"]), dict(document["status"])  # type: ignore[call-overload]
    spec["initContainers"] = [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}]
    status["initContainerStatuses"] = list(statuses)
    status["conditions"] = [{"type": "Initialized", "status": str(initialized)}]
    return {**document, "spec": spec, "status": status}


def init(name: str, state: Document, *, started: bool = False, ready: bool = False, restarts: int = 0) -> Document:
    return {**container(name, state, ready=ready, restarts=restarts), "started": started}


WAITS: Document = {"waiting": {"reason": "PodInitializing"}}
FAILED: Document = {"terminated": {"reason": "Error", "exitCode": 1}}


@pytest.mark.parametrize(
    ("statuses", "said"),
    [
        ([init("i", RUNNING), init("s", WAITS)], "Init:0/2"),
        ([init("i", BACKOFF), init("s", WAITS)], "Init:CrashLoopBackOff"),
        ([init("i", FAILED), init("s", WAITS)], "Init:Error"),
        ([init("i", ENDED), init("s", RUNNING)], "Init:1/2"),
        ([init("i", ENDED), init("s", RUNNING, started=True)], "PodInitializing"),
    ],
)
def test_status_says_how_far_a_pod_is_initialized(statuses: list[Document], said: str) -> None:
    assert pod_status(studio(*statuses)) == said


def test_sidecars_count_and_init_containers_that_are_done_do_not() -> None:
    done, side = init("i", ENDED, ready=True, restarts=5), init("s", RUNNING, started=True, ready=True, restarts=2)
    document = studio(done, side, initialized=True, app=container("a", RUNNING, ready=True, restarts=1))
    assert (pod_status(document), ready(document), restarts(document)) == ("Running", "2/2", 3)
    failing = studio(init("i", BACKOFF, restarts=5), init("s", WAITS))
    assert (ready(failing), restarts(failing)) == ("0/2", 5)


def test_every_container_has_a_row() -> None:
    rows = containers([studio(init("i", ENDED), init("s", RUNNING), initialized=True)])
    assert [(text_at(row.spec, "name"), row.init, row.state) for row in rows] == [
        ("a", False, "waiting"),
        ("i", True, "terminated"),
        ("s", True, "running"),
    ]


def test_why_a_pod_failed_goes_before_how_its_containers_ended() -> None:
    document = dict(pod("web", "default", container("c", FAILED), phase="Failed"))
    status = {**dict(document["status"]), "reason": "Evicted"}  # type: ignore[call-overload]
    assert pod_status({**document, "status": status}) == "Evicted"
