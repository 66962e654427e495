"""`ps`, `pods` and `inspect` over pods that nobody runs: every format, selector and filter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from nsrun.api.client import ApiClient
from nsrun.cli.main import cli
from nsrun.cli.output import parse_output
from nsrun.errors import NsrunError, SettingsError

Document = dict[str, object]

RUNNING: Document = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
ENDED: Document = {"terminated": {"exitCode": 3, "reason": "Error", "finishedAt": "2026-01-01T00:00:00Z"}}
WAITS: Document = {"waiting": {"reason": "CrashLoopBackOff"}}


def pod(name: str, namespace: str, number: int, *states: Document, **labels: str) -> Document:
    containers = [{"name": f"c{index}", "image": f"docker.io/library/img{index}"} for index, _ in enumerate(states)]
    statuses = [
        {
            "name": f"c{index}",
            "state": state,
            "restartCount": number,
            "containerID": f"nsrun://{number}{index}{'f' * 62}",
        }
        for index, state in enumerate(states)
    ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "uid": f"uid{number}", "labels": labels},
        "spec": {"containers": containers, "nodeName": "node"},
        "status": {
            "phase": "Running",
            "podIP": f"10.0.0.{number}",
            "containerStatuses": statuses,
            "qosClass": "Burstable",
        },
    }


PODS = [
    pod("web-10", "default", 1, RUNNING, ENDED, app="web", tier="front", n="10"),
    pod("web-9", "default", 2, RUNNING, app="web", tier="back", n="9"),
    pod("db", "data", 3, WAITS),
]


@pytest.fixture(autouse=True)
def daemon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    places = {
        "root": str(tmp_path),
        "runDir": str(tmp_path),
        "logDir": str(tmp_path),
        "problems": ["bad.yaml: is empty"],
    }
    monkeypatch.setattr(ApiClient, "pods", lambda _self: PODS)
    monkeypatch.setattr(ApiClient, "info", lambda _self: places)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def text(*arguments: str) -> str:
    done = run(*arguments)
    if done.exception is not None:
        raise done.exception
    return done.stdout


def names(*arguments: str) -> list[str]:
    return text("pods", "-o", "name", *arguments).split()


# --- formats


def test_tables() -> None:
    assert text("pods", "--no-headers", "-n", "data", "-o", "wide") == (
        "data   db   0/1   CrashLoopBackOff   3   <none>   10.0.0.3   node   Burstable   uid3\n"
    )
    assert text("pods").splitlines()[0].split() == ["NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP"]
    assert text("pods", "--show-labels", "--no-headers").splitlines()[0].endswith("app=web,tier=front,n=10")


def test_several_are_a_list_and_one_is_itself() -> None:
    several = json.loads(text("pods", "-o", "json"))
    assert several == {"apiVersion": "v1", "items": PODS, "kind": "List", "metadata": {"resourceVersion": ""}}
    assert json.loads(text("pods", "web-10", "-o", "json")) == PODS[0]
    assert yaml.safe_load(text("pods", "web-10", "db", "-o", "yaml"))["items"] == [PODS[0], PODS[2]]


def test_jsonpath() -> None:
    assert text("pods", "-o", "jsonpath={.items[*].metadata.name}") == "web-10 web-9 db"
    assert text("pods", "db", "-o", "jsonpath={.metadata.name}") == "db"
    assert json.loads(text("pods", "-o", "jsonpath-as-json={.items[*].metadata.name}")) == ["web-10", "web-9", "db"]


def test_custom_columns() -> None:
    columns = "NAME:.metadata.name,IMAGES:.spec.containers[*].image,X:{.no.where},L:.metadata.labels['app','n']"
    assert [line.split() for line in text("pods", "web-10", "-o", f"custom-columns={columns}").splitlines()] == [
        ["NAME", "IMAGES", "X", "L"],
        ["web-10", "docker.io/library/img0,docker.io/library/img1", "<none>", "web,10"],
    ]


@pytest.mark.parametrize(
    ("path", "order"),
    [
        ("{.metadata.name}", "db web-9 web-10"),
        (".status.containerStatuses[0].restartCount", "web-10 web-9 db"),
        (".metadata.labels.n", "db web-9 web-10"),
    ],
)
def test_sorted(path: str, order: str) -> None:
    assert names("--sort-by", path) == [f"pod/{name}" for name in order.split()]


@pytest.mark.parametrize(
    ("format", "told"),
    [
        ("jsn", 'cannot use -o "jsn": did you mean "json"?'),
        ("go-template={{.x}}", "nsrun has no Go templates"),
        ("jsonpath", "what to show is missing"),
        ("custom-columns=", "what to show is missing"),
        ("custom-columns=NAME", '"NAME" is no column'),
        ("custom-columns=N:.a[", '"N:.a[" is no column'),
        ("custom-columns=N:.a[]", "must be a number"),
        ("json=x", "json takes nothing after it"),
        ("jsonpath={.a", 'must be "}"'),
    ],
)
def test_formats_that_are_none(format: str, told: str) -> None:
    error = run("pods", "-o", format).exception
    assert isinstance(error, NsrunError)
    assert told in error.message


def test_formats_are_read() -> None:
    assert parse_output("jsonpath={.a}={.b}") == ("jsonpath", "{.a}={.b}")
    with pytest.raises(SettingsError, match='cannot use -o "wide"'):
        parse_output("wide", allowed=("json",))


def test_nothing_found() -> None:
    done = run("pods", "-l", "app=nobody")
    assert (done.stdout, done.stderr) == ("", "No pods found.\nbad.yaml: is empty\n")
    assert json.loads(text("pods", "-l", "app=nobody", "-o", "json"))["items"] == []
    assert text("pods", "-l", "app=nobody", "-o", "name") == ""


# --- which


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("app=web", "web-10 web-9"),
        ("app==web,tier=front", "web-10"),
        ("tier!=front", "web-9 db"),
        ("tier in (front, back)", "web-10 web-9"),
        ("tier notin (front)", "web-9 db"),
        ("app", "web-10 web-9"),
        ("!app", "db"),
        ("n>9", "web-10"),
        ("n < 10", "web-9"),
        ("app<3", ""),
        ("app=", ""),
        ("", "web-10 web-9 db"),
        (" app = web , tier in (back) ", "web-9"),
    ],
)
def test_labels(selector: str, found: str) -> None:
    assert names("-l", selector) == [f"pod/{name}" for name in found.split()]


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("metadata.name=db", "db"),
        ("metadata.namespace!=data", "web-10 web-9"),
        ("status.phase==Running,metadata.name!=db", "web-10 web-9"),
        ("status.phase=Failed", ""),
    ],
)
def test_fields(selector: str, found: str) -> None:
    assert names("--field-selector", selector) == [f"pod/{name}" for name in found.split()]


def test_namespaces() -> None:
    assert names("-n", "data") == ["pod/db"]
    assert names("-A") == names() == ["pod/web-10", "pod/web-9", "pod/db"]
    assert isinstance(run("pods", "-A", "-n", "data").exception, SettingsError)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("-l", "a in (b"), '"(" at column 6 has no partner'),
        (("-l", "a=b)"), '")" at column 4 has no partner'),
        (("-l", "a=b c"), '"a=b c" is no requirement of a label'),
        (("-l", "-a"), '"-a" is no requirement of a label'),
        (("--field-selector", "metadata.nam=x"), 'did you mean "metadata.name"?'),
        (("--field-selector", "x"), '"x" is no requirement of a field'),
    ],
)
def test_selectors_that_are_none(flags: tuple[str, ...], told: str) -> None:
    error = run("pods", *flags).exception
    assert isinstance(error, SettingsError)
    assert told in error.message


# --- ps


def test_ps_shows_what_runs() -> None:
    lines = text("ps", "--no-headers").splitlines()
    assert [line.split()[2:4] for line in lines] == [["web-10", "c0"], ["web-9", "c0"]]
    assert text("ps", "-a", "-o", "name").split() == ["web-10/c0", "web-10/c1", "web-9/c0", "db/c0"]


def test_ps_ids() -> None:
    assert text("ps", "-q") == f"10{'f' * 10}\n20{'f' * 10}\n"
    assert text("ps", "-q", "--no-trunc", "-n", "data", "-a") == f"30{'f' * 62}\n"
    assert text("ps", "--no-trunc", "--no-headers", "-l", "tier=back").split()[0] == f"20{'f' * 62}"


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (("status=exited",), "web-10/c1"),
        (("status=waiting", "status=terminated"), "web-10/c1 db/c0"),
        (("pod=web-1",), "web-10/c0"),
        (("name=c0", "namespace=default"), "web-10/c0 web-9/c0"),
        (("image=img1", "status=exited"), "web-10/c1"),
        (("id=20",), "web-9/c0"),
    ],
)
def test_ps_filters(filters: tuple[str, ...], found: str) -> None:
    flags = [part for one in filters for part in ("--filter", one)]
    assert text("ps", "-o", "name", *flags).split() == found.split()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("name", "it must be KEY=VALUE"),
        ("nam=x", 'there is no "nam" to filter by: did you mean "name"?'),
        ("status=runing", 'no container is "runing": did you mean "running"?'),
    ],
)
def test_ps_filters_that_are_none(given: str, told: str) -> None:
    error = run("ps", "--filter", given).exception
    assert isinstance(error, SettingsError)
    assert told in error.message


def test_ps_documents() -> None:
    listed = json.loads(text("ps", "-o", "json"))
    assert (listed["kind"], listed["items"][0]["pod"], listed["items"][0]["restartCount"]) == ("List", "web-10", 1)
    assert "app=web,tier=front,n=10" in text("ps", "--show-labels")


# --- inspect


def test_inspect_is_a_list_with_what_nsrun_knows(tmp_path: Path) -> None:
    (found,) = json.loads(text("inspect", "web-10"))
    assert {key: found[key] for key in PODS[0]} == PODS[0]
    assert found["nsrun"]["containers"]["c1"]["logPath"] == f"{tmp_path}/pods/default_web-10_uid1/c1/1.log"


def test_inspect_a_container() -> None:
    for wanted in ("web-10/c1", "default/web-10/c1", "11ff", f"11{'f' * 62}"):
        (found,) = json.loads(text("inspect", wanted))
        assert (found["pod"], found["name"], found["config"]) == ("web-10", "c1", None)
        assert found["spec"] == {"name": "c1", "image": "docker.io/library/img1"}


def test_inspect_formats() -> None:
    assert text("inspect", "web-9", "db", "-f", "{.status.podIP}") == "10.0.0.2\n10.0.0.3\n"
    assert text("inspect", "web-9", "-o", "jsonpath={.status.podIP}") == "10.0.0.2"
    assert yaml.safe_load(text("inspect", "db", "-o", "yaml"))[0]["metadata"]["name"] == "db"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("web",), 'cannot find pod "web"'),
        (("web-10/c3",), 'cannot find container "c3" in pod "web-10"'),
        (("web-11/c0",), 'cannot find pod "web-11/c0"'),
        (("ff",), 'cannot find pod "ff"'),
        (("db", "-f", "{{.State}}"), "nsrun has no Go templates"),
        (("db", "-f", "x", "-o", "json"), "--format and --output together"),
        (("db", "-o", "wide"), 'cannot use -o "wide"'),
    ],
)
def test_inspect_what_is_not_there(arguments: tuple[str, ...], told: str) -> None:
    error = run("inspect", *arguments).exception
    assert isinstance(error, NsrunError)
    assert told in error.message


def test_verbs_that_are_none_have_neighbours() -> None:
    done = run("pss")
    assert done.exit_code == 2
    assert "No such command 'pss': did you mean \"ps\"?" in done.output


# --- watching


def test_what_changes_is_one_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = {**PODS[1], "metadata": {"name": "web-9", "namespace": "default", "deletionTimestamp": "x"}}
    said = [
        *({"type": "ADDED", "object": pod} for pod in PODS),
        {"type": "BOOKMARK", "object": {}},
        {"type": "MODIFIED", "object": changed},
        {"type": "MODIFIED", "object": PODS[2]},
    ]
    monkeypatch.setattr(ApiClient, "watch", lambda _self, what: iter(said if what == "pods" else ()))
    done = run("pods", "-w", "-n", "default")
    assert "nsrun has ended" in str(done.exception)
    rows = done.stdout.splitlines()
    assert [row.split()[1:4] for row in rows] == [
        ["NAME", "READY", "STATUS"],
        ["web-10", "0/2", "Error"],
        ["web-9", "0/1", "Running"],
        ["web-9", "0/1", "Terminating"],
    ]
    assert {row.index("0/") for row in rows[1:]} == {rows[0].index("READY")}
    assert run("pods", "-w", "db", "-o", "name").stdout == "pod/db\npod/db\n"
    assert run("pods", "-w", "db", "-o", "jsonpath={.metadata.name};").stdout == "db;db;"
    lines = run("pods", "-w", "--no-headers", "data/db").stdout.splitlines()
    assert len(lines) == 2


def test_the_first_that_comes_brings_the_titles(monkeypatch: pytest.MonkeyPatch) -> None:
    said = [{"type": "BOOKMARK", "object": {}}, *({"type": "ADDED", "object": pod} for pod in PODS[:2])]
    monkeypatch.setattr(ApiClient, "watch", lambda _self, _what: iter(said))
    assert [row.split()[1] for row in run("pods", "-w").stdout.splitlines()] == ["NAME", "web-10", "web-9"]
