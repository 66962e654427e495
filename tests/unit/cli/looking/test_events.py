"""Events in kubectl's columns."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from nsrun.cli.looking.events import command, parse_types
from nsrun.errors import ApiError, SettingsError
from nsrun.model.encode_event import encode_event
from nsrun.model.status import Event, EventSeries, EventType
from tests.unit.cli.imagined import Api, invoke

NOW = 1_700_000_000.0


@pytest.fixture(autouse=True)
def _stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nsrun.cli.looking.events.time", SimpleNamespace(time=lambda: NOW))


def happened(message: str, number: int, *, pod: str = "web", count: int = 1, **more: Any) -> dict[str, Any]:
    values = {"type": EventType.NORMAL, "reason": "Started", "namespace": "default", "uid": "u", **more}
    event = Event(time=NOW - 330, message=message, pod=pod, **values)
    return encode_event(EventSeries(event=event, number=number, last=NOW - 60, count=count), node_name="node")


BACK_OFF = happened("Back-off", 2, count=4, type=EventType.WARNING, reason="BackOff", container="main")
EVENTS = (
    happened("Started container main", 1),
    BACK_OFF,
    happened("Started container x", 3, pod="app", namespace="team"),
    happened("The disk is full", 4, pod="", namespace="", uid="", type=EventType.WARNING, reason="DiskPressure"),
)


def lines(*words: str) -> list[str]:
    done = invoke(command, Api(happened=EVENTS), *words)
    assert done.exit_code == 0, done.exception
    return [" ".join(line.split()) for line in str(done.stdout).splitlines()]


def test_the_columns_are_kubectls() -> None:
    table = lines()
    assert table[0] == "LAST SEEN TYPE REASON OBJECT MESSAGE"
    assert table[1].endswith("Normal Started pod/web Started container main")
    assert table[2].startswith("60s (x4 over 5m30s) Warning BackOff")
    assert table[4].endswith("Warning DiskPressure node/node The disk is full")


def test_more_columns_and_none() -> None:
    assert lines("-A")[0].startswith("NAMESPACE LAST SEEN")
    wide = lines("-o", "wide", "--no-headers")
    assert "pod/web spec.containers{main} nsrun, node Back-off 5m30s 4" in wide[1]


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        (("web",), [1, 2]),
        (("pod/web",), [1, 2]),
        (("--for", "pod/app"), [3]),
        (("team/app",), [3]),
        (("app", "-n", "default"), []),
        (("-n", "team"), [3]),
        (("--types", "warning"), [2, 4]),
        (("--types=Warning, Normal",), [1, 2, 3, 4]),
    ],
)
def test_which_are_meant(words: tuple[str, ...], numbers: list[int]) -> None:
    expected = [f"event/{event['metadata']['name']}" for n, event in enumerate(EVENTS, 1) if n in numbers]
    assert lines("-o", "name", *words) == expected


def test_nothing_happened() -> None:
    done = invoke(command, Api(), "web")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "No events found.\n")


def test_as_json_it_is_a_list() -> None:
    done = invoke(command, Api(happened=EVENTS), "-o", "json")
    assert json.loads(done.stdout)["items"] == list(EVENTS)


@pytest.mark.parametrize(
    "words", [("-n", "a", "-A"), ("web", "--for", "web"), ("--types", "Fatal"), ("-o", "jsonpath={.a}")]
)
def test_what_makes_no_sense_is_said(words: tuple[str, ...]) -> None:
    assert isinstance(invoke(command, Api(), *words).exception, SettingsError)


def test_no_types_are_all() -> None:
    assert parse_types(None) == parse_types("") == {"Normal", "Warning"}


# --- following


WATCHED = (
    {"type": "ADDED", "object": EVENTS[0]},
    {"type": "ADDED", "object": EVENTS[2]},
    {"type": "BOOKMARK", "object": {}},
    {"type": "MODIFIED", "object": BACK_OFF},
    {"type": "ADDED", "object": EVENTS[3]},
)


def follow(*words: str) -> str:
    """Until nsrun ends, which is said."""
    done = invoke(command, Api(lines=WATCHED), "-f", *words)
    assert isinstance(done.exception, ApiError)
    assert "nsrun has ended" in str(done.exception)
    return str(done.stdout)


def test_what_comes_later_stands_in_the_same_columns() -> None:
    header, first, *rest = follow("-n", "default").splitlines()
    assert len(rest) == 2, "the node's events are in default"
    assert header.index("REASON") == first.index("Started")
    assert header.index("OBJECT") == first.index("pod/web")
    assert follow("--no-headers", "-o", "wide").splitlines()[0].split()[-1].startswith("web.")


def test_documents_one_by_one() -> None:
    assert [json.loads(line)["message"] for line in follow("-o", "json", "web").splitlines()] == [
        "Started container main",
        "Back-off",
    ]
    assert follow("-o", "yaml", "web").count("---\n") == 2
    assert len(follow("-o", "name").splitlines()) == 4
